"""Folders as the Hugging Face Hub and its libraries write them: weights beside a config.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from probe.checkpoints.content import Content
from probe.checkpoints.pickles import load_pickle
from probe.checkpoints.state_dicts import unwrapped
from probe.checkpoints.steps import step_of_content
from probe.checkpoints.tensor_files import read_tensors
from probe.errors import FileError

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
"""What makes a folder one of these, the safer first."""
_STATE = "trainer_state.json"


def weights_of(folder: Path) -> Path | None:
    """Returns the file that makes a folder a checkpoint; None where it is none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold the weights: one, or those that an index names.

    Raises:
        FileError: there is none, or one lies outside of the folder.
    """
    weights = weights_of(folder)
    if weights is None:
        raise FileError(f"{folder}: none of {', '.join(WEIGHTS[:2])} is in it.")
    return _shards(weights)


def read_hub(folder: Path, trust: bool) -> Content:
    """Reads the weights, and as arguments of the network the configuration.

    Raises:
        FileError: a file is missing, damaged, or lies outside of the folder.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors |= read_tensors(file)[0] if file.suffix == ".safetensors" else load_pickle(file, trust=trust)
    config, state = (_table(folder / name) for name in ("config.json", _STATE))
    return Content(
        format="hub",
        tensors=unwrapped(tensors),
        step=step_of_content(state),
        algorithm=str(config.get("model_type", "")),
        arguments=config,
    )


def _shards(weights: Path) -> list[Path]:
    if weights.suffix != ".json":
        return [weights]
    names = _table(weights).get("weight_map", {})
    shards = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
    outside = [name for name in shards if Path(name).name != name]
    if outside or not shards:
        raise FileError(f"{weights}: names {outside[0] if outside else 'no file'}; files beside it are expected.")
    return [weights.parent / name for name in shards]


def _table(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: cannot be read ({error}). Copy it again.") from error
    return held if isinstance(held, dict) else {}
