"""What a network and its modules are given when it runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probe.arrays import NDArray
from probe.checkpoints.base import Checkpoint
from probe.errors import ShapeError, UnknownNameError
from probe.observations import ObservationSet


def blank_observation(shape: tuple[int, ...]) -> Tensor:
    """Returns a batch of one observation of zeros, as observation sets store them: uint8 images, float32 vectors."""
    return torch.zeros(1, *shape, dtype=torch.uint8 if len(shape) == 3 else torch.float32)


def network_inputs(
    checkpoint: Checkpoint, observations: ObservationSet, batch_size: int, samples: int | None = None
) -> Iterator[Tensor]:
    """Yields what a checkpoint's network is given of a set: `samples` observations, spread evenly, as it takes them.

    Critics of state and action get the stored actions where the set has such ones, else the actor's own.

    Raises:
        ShapeError: the network cannot run on what the set holds.
    """
    total = observations.samples if samples is None else min(samples, observations.samples)
    actions = _actions(checkpoint, observations)
    start = 0
    for batch in observations.batches(batch_size, total):
        rows = np.arange(start, start + len(batch)) * observations.samples // total
        start += len(batch)
        beside = None if actions is None else torch.from_numpy(actions[rows])
        yield checkpoint.prepare(batch) if beside is None else checkpoint.with_actions(batch, beside)


def blank_input(checkpoint: Checkpoint, observations: ObservationSet) -> Tensor:
    """Returns one observation of zeros of a set, and where it needs one an action, as a checkpoint's network takes it.

    Raises:
        ShapeError: the network cannot run on what the set holds.
    """
    blank = blank_observation(observations.observation_shape)
    if not checkpoint.needs_actions:
        return checkpoint.prepare(blank)
    actions = _actions(checkpoint, observations.of(checkpoint.digest))
    assert actions is not None  # they are needed
    return checkpoint.with_actions(blank, torch.zeros(1, *actions.shape[1:]))


def _actions(checkpoint: Checkpoint, observations: ObservationSet) -> NDArray[Any] | None:
    """Returns the stored actions that a checkpoint's network takes.

    Raises:
        ShapeError: it needs some, and the set has none that are continuous.
    """
    needed = checkpoint.needs_actions
    if checkpoint.action_shape is None and not needed:
        return None
    try:
        stored = observations.column("actions")
    except UnknownNameError:
        stored = None
    if stored is not None and stored.dtype.kind == "f" and (needed or stored.shape[1:] == checkpoint.action_shape):
        return stored.reshape(len(stored), -1).astype(np.float32) if needed else stored.astype(np.float32)
    if needed:
        held = "no actions" if stored is None else f"actions of {stored.dtype} {stored.shape[1:]}"
        raise ShapeError(
            f"{checkpoint.path}: its network takes a state and an action, and {observations.path} holds {held}. "
            "Continuous actions are expected, one for each observation: `probe collect`, or an .npz with `actions`."
        )
    return None


@torch.no_grad()
def input_shapes(
    network: nn.Module, modules: Mapping[str, nn.Module], batch: Tensor
) -> dict[str, set[tuple[int, ...]]]:
    """Runs a batch and returns every shape, without the batch axis, that each module is given."""
    shapes: dict[str, set[tuple[int, ...]]] = {name: set() for name in modules}

    def follow(name: str, module: nn.Module) -> RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            shapes[name].update(tuple(each.shape[1:]) for each in inputs[:1] if isinstance(each, Tensor))

        return module.register_forward_pre_hook(note)

    handles = [follow(name, module) for name, module in modules.items()]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


@torch.no_grad()
def module_inputs(network: nn.Module, module: nn.Module, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yields the first tensor that a module is given in each forward pass; nothing where it is given none."""
    given: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        given.extend(each.clone() for each in inputs[:1] if isinstance(each, Tensor))

    handle = module.register_forward_pre_hook(note)
    try:
        for batch in batches:
            network(batch)
            yield from given[:1]
            given.clear()
    finally:
        handle.remove()
