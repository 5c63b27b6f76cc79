"""What runs of a network from a cut on, and the frozen copies of it that injection adds."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from probe.errors import ConfigurationError
from probe.networks.specification import NetworkSpec, Stage
from probe.networks.stages import Shape, build_stages

Parts = Mapping[str, Iterable[nn.Module]]
"""Stages in order, by module; what stands under `encoder` runs first and the others read it."""
ENCODER = "encoder"


def stages_from(spec: NetworkSpec, cut: str) -> dict[str, tuple[Stage, ...]]:
    """Returns the stages that run from a cut on, by module.

    From a stage of the encoder on, these are the rest of it and all modules that read it; from one of another module
    on, the rest of that module.

    Args:
        spec: The network's.
        cut: Path of a stage of a module, such as `encoder.dense`.

    Raises:
        ConfigurationError: there is no such stage.
    """
    module, _, name = cut.partition(".")
    names = [stage.name for stage in spec.modules[module].stages] if module in spec.modules else []
    if name not in names:
        raise ConfigurationError(f"'{cut}' is no stage to inject at. There are: {', '.join(spec.cuts())}.")
    found = {module: spec.modules[module].stages[names.index(name) :]}
    if module == ENCODER:
        found |= {each: listed.stages for each, listed in spec.modules.items() if listed.reads == ENCODER}
    return found


def build_branch(stages: Mapping[str, tuple[Stage, ...]], shape: Shape) -> nn.ModuleDict:
    """Builds what runs from a cut on.

    Args:
        stages: As `stages_from` gives them.
        shape: Of what the first stage reads, without the batch.
    """
    parts = nn.ModuleDict()
    for name, listed in stages.items():
        parts[name], out = build_stages(listed, shape)
        shape = out if name == ENCODER else shape
    return parts


def run(parts: Parts, features: Tensor) -> dict[str, Tensor]:
    """Returns the outputs of a branch from the features at its cut."""
    features = through(parts.get(ENCODER, ()), features)
    return {name: through(stages, features) for name, stages in parts.items() if name != ENCODER}


def through(stages: Iterable[nn.Module], features: Tensor) -> Tensor:
    """Returns what stages one after another make of features."""
    for stage in stages:
        features = stage(features)
    return features


class FrozenPair(nn.Module):
    """Two branches that learn in an ablation only: what learnt until an injection, and what is subtracted."""

    def __init__(self, stages: Mapping[str, tuple[Stage, ...]], shape: Shape, learns: bool) -> None:
        """Builds both, without values."""
        super().__init__()
        self.original = build_branch(stages, shape).requires_grad_(learns)
        self.subtracted = build_branch(stages, shape).requires_grad_(learns)


def parts_of(branch: nn.Module) -> Parts:
    """Returns the stages of a branch that `build_branch` built."""
    return {name: list(stages.children()) for name, stages in branch.named_children()}


def _tensors(parts: Parts) -> Iterator[Tensor]:
    """Yields all parameters and buffers of a branch, in the same order for every branch of one cut."""
    for stages in parts.values():
        for stage in stages:
            yield from stage.parameters()
            yield from stage.buffers()


@torch.no_grad()
def copy_values(source: Parts, target: Parts) -> None:
    """Gives a branch another's values, in place."""
    for tensor, wanted in zip(_tensors(target), _tensors(source), strict=True):
        tensor.copy_(wanted)


def copy_layout(source: Parts, target: Parts) -> None:
    """Gives a branch another's values, device and order of axes in memory, on which rounding depends."""
    for tensor, wanted in zip(_tensors(target), _tensors(source), strict=True):
        tensor.data = wanted.detach().clone()
