"""The native format: one safetensors file a step, holding the full state_dict and all that rebuilds the network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from probe.checkpoints.base import Checkpoint
from probe.checkpoints.tensor_files import opened, read_tensors
from probe.errors import FileError, ProbeError, ShapeError
from probe.files import tensor_digest, write_whole
from probe.models import FrozenModel, validated
from probe.modules import ModuleMap
from probe.networks import Network, NetworkSpec, build

FORMAT = "probe-checkpoint"
VERSION = 1
NAME = "step_{step:09d}.safetensors"


class CheckpointMetadata(FrozenModel):
    """What a checkpoint says about itself beside its tensors; a network can be rebuilt from it with no pickle."""

    format: Literal["probe-checkpoint"] = "probe-checkpoint"
    format_version: Literal[1] = 1
    step: int
    """Agent decisions, summed over the environments."""
    frames: int
    """Environment frames, summed over the environments."""
    updates: int
    algorithm: str
    network: NetworkSpec
    environment: dict[str, Any]
    acting: dict[str, Any]
    """In which mode and precision actions were computed."""
    run: str
    method: str
    seed: int
    task: int
    interventions: list[dict[str, Any]] = Field(default_factory=list)
    """What was injected or reset, and when."""
    versions: dict[str, str]


def checkpoint_name(step: int) -> str:
    """Returns the file name of a step; text order is step order."""
    return NAME.format(step=step)


def save(path: Path, network: nn.Module, metadata: CheckpointMetadata) -> str:
    """Writes the network's state_dict (parameters and buffers) and metadata, whole or not at all.

    Returns:
        The digest: SHA-256 over names, dtypes, shapes, bytes and metadata.

    Raises:
        FileError: the folder cannot be written or the disk is full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    text = {key: json.dumps(value) for key, value in metadata.model_dump(mode="json").items()}
    digest = _digest(tensors, text)
    write_whole(path, as_bytes(tensors, {**text, "digest": digest}))
    return digest


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    # View as bytes: NumPy has no bfloat16.
    arrays = {
        f"{name}|{tensor.dtype}|{tuple(tensor.shape)}": tensor.reshape(-1).view(torch.uint8).numpy()
        for name, tensor in tensors.items()
    }
    return tensor_digest(arrays, metadata)


class NativeCheckpoint(Checkpoint):
    """A checkpoint that `save` wrote."""

    def __init__(self, path: Path, modules: Mapping[str, Sequence[str]] | None = None) -> None:
        """Reads the header.

        Args:
            path: The file.
            modules: Globs on layer ids by module, asked before the specification's modules.

        Raises:
            FileError: the file is missing, truncated, or not of this format.
        """
        self.path, self._chosen = path, dict(modules or {})
        header = read_header(path)
        self._digest = header.pop("digest", "")
        try:
            data = {key: json.loads(value) for key, value in header.items()}
        except json.JSONDecodeError as error:
            raise FileError(f"{path}: its metadata is damaged ({error}). Copy the file again.") from error
        if data.get("format") != FORMAT:
            raise FileError(f"{path}: a safetensors file, but not a checkpoint of `probe train`.")
        if data.get("format_version") != VERSION:
            raise FileError(
                f"{path}: checkpoint format {VERSION} expected, the file has {data.get('format_version')}. "
                "Use the version of plasticity-probe that wrote it."
            )
        self.metadata = validated(CheckpointMetadata, data, str(path))

    @property
    def step(self) -> int:
        """Agent decisions, summed over the environments."""
        return self.metadata.step

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as stored; `verify` recomputes it."""
        return self._digest

    @property
    def description(self) -> dict[str, Any]:
        """Plain facts for tables."""
        keys = ("run", "method", "seed", "task", "step", "frames", "updates", "algorithm")
        return {**{key: getattr(self.metadata, key) for key in keys}, "format": FORMAT, "digest": self.digest}

    @property
    def modules(self) -> ModuleMap:
        """The specification's modules."""
        return self.metadata.network.module_map.with_chosen(self._chosen)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of a stored observation."""
        return self.metadata.network.observation_shape

    def facts(self) -> dict[str, Any]:
        """Returns what `probe inspect` shows of the network."""
        metadata, tensors = self.metadata, self.tensors()
        return {
            "network": metadata.network.name,
            "observation shape": metadata.network.observation_shape,
            "actions": metadata.network.actions.size,
            "environment": metadata.environment.get("id", ""),
            "acting": metadata.acting,
            "interventions": interventions(metadata.interventions),
            "tensors": len(tensors),
            "parameters and buffers": sum(tensor.numel() for tensor in tensors.values()),
            "versions": metadata.versions,
        }

    @property
    def exploration(self) -> float | None:
        """Of agents that learn values of actions, the last epsilon of training."""
        acting = self.metadata.acting
        return float(acting["epsilon"]) if acting.get("policy") == "epsilon-greedy" else None

    def tensors(self) -> dict[str, Tensor]:
        """Reads the state_dict."""
        return read_tensors(self.path)[0]

    def network(self) -> Network:
        """Rebuilds the network from the specification and loads the tensors, in eval mode."""
        network = build(self.metadata.network, torch.Generator().manual_seed(0))
        try:
            network.load_state_dict(self.tensors())
        except RuntimeError as error:
            raise FileError(f"{self.path}: its tensors do not fit its own network specification. {error}") from error
        return network.eval()

    def fresh(self, seed: int) -> Network:
        """Returns the same architecture newly initialised from `seed`, in eval mode."""
        return build(self.metadata.network, torch.Generator().manual_seed(seed)).eval()

    def prepare(self, batch: Tensor) -> Tensor:
        """Returns the batch as it is: the network scales inside.

        Raises:
            ShapeError: shape or dtype are not the network's.
        """
        spec = self.metadata.network
        dtype = torch.uint8 if spec.is_image else torch.float32
        if tuple(batch.shape[1:]) != spec.observation_shape or batch.dtype != dtype:
            raise ShapeError(
                f"{self.path}: the network takes {dtype} observations of shape {spec.observation_shape}, the set holds "
                f"{batch.dtype} of shape {tuple(batch.shape[1:])}. Collect a set with `--for` this run."
            )
        return batch

    def verify(self) -> bool:
        """Recomputes the digest from the tensors and the metadata; False where a byte has changed."""
        header = read_header(self.path)
        stored = header.pop("digest", "")
        return stored == _digest(self.tensors(), header)


def read_header(path: Path) -> dict[str, str]:
    """Returns a safetensors file's metadata without reading the tensors.

    Raises:
        FileError: the file is missing, truncated, or not safetensors.
    """
    with opened(path) as file:
        return dict(file.metadata() or {})


def is_native(path: Path) -> bool:
    """Whether a file's header says that `save` wrote it."""
    try:
        return bool(json.loads(read_header(path).get("format", "null")) == FORMAT)
    except (ProbeError, json.JSONDecodeError):
        return False


def interventions(done: Sequence[Mapping[str, Any]]) -> str:
    """Returns how often and when each method stepped in; the metadata have every unit and layer."""
    steps: dict[str, list[int]] = {}
    for each in done:
        steps.setdefault(each["method"], []).append(each["step"])
    parts = [
        f"{method} {len(at)} times, steps {at[0]:,} to {at[-1]:,}" if len(at) > 1 else f"{method} at step {at[0]:,}"
        for method, at in steps.items()
    ]
    return "; ".join(parts) or "none"
