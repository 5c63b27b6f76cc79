from pathlib import Path

import pytest

from probe.trainers import machine

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
flags\t\t: fpu avx512_bf16

processor\t: 1
"""


def test_a_system_without_cpuinfo_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", Path("/nonexistent"))
    assert machine.computes_bfloat16("cpu") is False
    assert machine.processor_family()


def test_the_processor_is_named_by_its_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert machine.processor_family() == "AuthenticAMD family 25 model 17"
    assert machine.computes_bfloat16("cpu")


def test_versions_name_what_results_depend_on() -> None:
    assert {"python", "torch", "numpy"} <= set(machine.versions())
