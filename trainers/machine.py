"""The machine that training runs on: its processor and the packages installed."""

import platform
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("plasticity-probe", "torch", "numpy", "gymnasium", "procgen", "procgen-mirror", "ale-py")


def processor_family() -> str:
    """Returns vendor, family and model, such as `AuthenticAMD family 25 model 17`; results are bit-equal within it."""
    facts = _cpu_facts()
    if {"vendor_id", "cpu family", "model"} <= facts.keys():
        return f"{facts['vendor_id']} family {facts['cpu family']} model {facts['model']}"
    return platform.processor() or platform.machine()


def computes_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices by itself."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = _cpu_facts().get("flags", "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """Returns a context in which a network computes in `precision` (`bfloat16` or `float32`)."""
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_facts() -> dict[str, str]:
    try:
        lines = _CPUINFO.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
