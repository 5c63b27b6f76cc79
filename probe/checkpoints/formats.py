"""The formats of checkpoints: how a file is told, and what reads it."""

from pathlib import Path

from probe.checkpoints.archives import members
from probe.checkpoints.content import Content
from probe.checkpoints.hub import read_hub, weights_of
from probe.checkpoints.pickles import load_pickle
from probe.checkpoints.programs import read_program
from probe.checkpoints.sb3 import MEMBERS, read_sb3
from probe.checkpoints.state_dicts import read_state_dicts
from probe.checkpoints.tensor_files import read_safetensors
from probe.errors import FileError
from probe.files import reason

FORMATS = {
    "native": "safetensors files written by `probe train`: weights, buffers and the network's specification",
    "sb3": "zip files of Stable-Baselines3 and sb3-contrib, and folders of them; the policy is rebuilt",
    "state-dict": "state_dicts of CleanRL and any script (.pt, .pth, .ckpt, .bin, .cleanrl_model), bare or nested",
    "lightning": "checkpoints of Lightning (.ckpt); --model names the network or the LightningModule",
    "safetensors": "safetensors files of any library",
    "hub": "folders of the Hugging Face Hub: model.safetensors or pytorch_model.bin, config.json",
    "torchscript": "TorchScript archives (--trust-pickle): their tensors; --model names the network",
    "torch-export": "torch.export archives, .pt2 (--trust-pickle)",
}
SUFFIXES = (".safetensors", ".zip", ".pt", ".pth", ".ckpt", ".bin", ".pt2", ".cleanrl_model")
"""Of files that may be checkpoints."""
_ZIP = b"PK\x03\x04"


def read_content(path: Path, trust: bool) -> Content:
    """Reads one foreign checkpoint.

    Args:
        path: A file, or a folder of the Hub.
        trust: Whether files that can run code may be loaded.

    Raises:
        FileError: it is missing, damaged, hostile, or of no known format.
    """
    if path.is_dir():
        return read_hub(path, trust)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    kind = _kind(path)
    if kind == "sb3":
        return read_sb3(path, trust)
    if kind == "state-dict":
        return read_state_dicts(path, load_pickle(path, trust=trust), kind)
    return read_program(path, kind, trust)


def is_checkpoint(path: Path) -> bool:
    """Whether a path's name makes it one, or a folder's files do."""
    return weights_of(path) is not None if path.is_dir() else path.suffix in SUFFIXES


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
    if start != _ZIP:
        return "state-dict"
    names = {name for name in members(path)}
    inner = {name.partition("/")[2] for name in names}  # PyTorch's archives have one folder at the top
    if names >= MEMBERS:
        return "sb3"
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    if {"archive_format", "serialized_exported_program.json"} & (names | inner):
        return "torch-export"
    if "data.pkl" in inner:
        return "state-dict"
    raise FileError(f"{path}: a zip file, but no checkpoint of a known format (`probe list formats`).")
