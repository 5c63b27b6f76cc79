"""Nested state as one safetensors file: tensors and bytes as they are, everything else as JSON; no pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor

from probe.errors import FileError
from probe.files import reason, write_whole

FORMAT = "probe-state"
VERSION = 1
NAME = "step_{step:09d}.safetensors"
_REFERENCE, _BYTES = "__tensor__", "__bytes__"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes nested dicts and lists of tensors, bytes, numbers, strings, booleans and None, whole or not at all.

    Raises:
        FileError: the folder cannot be written or the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    plain = _plain(state, "", tensors)
    metadata = {"format": FORMAT, "format_version": str(VERSION), "state": json.dumps(plain)}
    write_whole(path, as_bytes(tensors, metadata))


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote.

    Raises:
        FileError: the file is damaged, or no state of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise FileError(f"{path}: not a whole state ({words}). Remove it to resume from the state before.") from error
    if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, str(VERSION)):
        raise FileError(f"{path}: a state of format {VERSION} is expected. Use the version that wrote it.")
    restored: dict[str, Any] = _restored(json.loads(metadata["state"]), tensors)
    return restored


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {_REFERENCE: name}
    if isinstance(value, bytes):
        tensors[name] = torch.frombuffer(bytearray(value), dtype=torch.uint8)
        return {_BYTES: name}
    if isinstance(value, dict):
        return {key: _plain(inner, f"{name}/{key}" if name else key, tensors) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{name}/{index}", tensors) for index, inner in enumerate(value)]
    return value


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_REFERENCE}:
            return tensors[value[_REFERENCE]]
        if value.keys() == {_BYTES}:
            return tensors[value[_BYTES]].numpy().tobytes()
        return {key: _restored(inner, tensors) for key, inner in value.items()}
    return [_restored(inner, tensors) for inner in value] if isinstance(value, list) else value
