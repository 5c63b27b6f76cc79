"""How stored observations reach a foreign network: the order of an image's axes and the scale of its values."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from probe.capture.trace import has_weights
from probe.errors import ShapeError

Shape = tuple[int, ...]
Inputs = tuple[Shape, int]
"""Shape of a stored observation, and numbers of the action that is given beside it; 0: none is."""
_WHITE = 255.0
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Layout:
    """What is done to stored images, uint8 (batch, height, width, channel); vectors stay as they are."""

    shape: Shape | None = None
    """Of a stored observation, where the file says it."""
    channels_first: bool = False
    divisor: float = 1.0
    assumed: tuple[str, ...] = ()
    """What was not known, as sentences."""

    def apply(self, batch: Tensor) -> Tensor:
        """Returns float32 (batch, channel, height, width), or (batch, height, width, channel), or (batch, feature)."""
        ordered = batch.permute(0, 3, 1, 2) if self.channels_first and batch.ndim == 4 else batch
        return ordered.float() / self.divisor if self.divisor != 1.0 else ordered.float()

    @property
    def taken(self) -> Shape:
        """Of an observation as the network takes it, where the stored one's is known."""
        shape = self.shape or ()
        return (*shape[2:], *shape[:2]) if self.channels_first else shape

    @property
    def words(self) -> str:
        """What a person reads."""
        order = "channels first" if self.channels_first else "as stored"
        return f"{order}, divided by {self.divisor:g}" if self.divisor != 1.0 else order


def stored_shape(shape: Shape, channels_first: bool) -> Shape:
    """Returns (height, width, channel) of an image that a network takes in either order."""
    return (*shape[1:], shape[0]) if channels_first else shape


def fitted(network: nn.Module, inputs: Inputs, candidates: Sequence[Layout], source: str) -> Layout:
    """Returns the one layout with which a network takes observations of a shape.

    Args:
        network: Any values.
        inputs: Of the set.
        candidates: Layouts that are possible.
        source: Begins the message.

    Raises:
        ShapeError: none runs, or several do.
    """
    shape, width = inputs
    blank = torch.zeros(1, *shape)
    running: list[Layout] = []
    errors: list[str] = []
    for each in candidates:
        problem = _trial(network, each.apply(blank), width)
        if problem is None:
            running.append(each)
        else:
            errors.append(problem)
    if len(running) == 1:
        return running[0]
    if running:
        raise ShapeError(
            f"{source}: the network takes images of {shape} in either order of axes, and which one it was trained on "
            "cannot be told. Give --layout chw (channels first) or --layout hwc."
        )
    raise ShapeError(
        f"{source}: the network cannot run on observations of {shape}{_beside(width)}: {errors[0]}. "
        f"{_cause(network, inputs)}"
    )


def scaled(network: nn.Module, inputs: Inputs, layout: Layout) -> Layout:
    """Returns the layout with the divisor that a network needs which takes images: 1 where it divides them itself.

    Runs a white image and looks at what reaches the first weight layer; actions beside it are zero.
    """
    shape, width = inputs
    seen = _first_input(network, layout.apply(torch.full((2, *shape), _WHITE)), width)
    if seen is not None and seen.abs().max() < _WHITE / 2:
        return layout
    what = (
        "the network does not scale its images"
        if seen is not None
        else "whether the network scales its images is not seen"
    )
    return replace(layout, divisor=_WHITE, assumed=(*layout.assumed, f"{what}: they are divided by 255 before it"))


def other_shape(source: str, wanted: Shape, shape: Shape) -> str:
    """Returns what keeps observations of a shape from being those that a file says its network takes."""
    said = f"{source}: its network takes observations of {wanted}, the set holds {shape}."
    if sorted(wanted) == sorted(shape) and len(shape) == 3:
        return f"{said} The order of axes differs: sets hold (height, width, channel)."
    if len(wanted) == len(shape) == 3 and wanted[:2] == shape[:2] and wanted[2] % shape[2] == 0:
        return f"{said} The frame stack differs: collect with a stack of {wanted[2] // shape[2]}."
    return f"{said} Collect them from the environment that it was trained in, with the same wrappers."


def required_inputs(network: nn.Module) -> tuple[str, ...]:
    """Returns the names of what a network must be given, as far as its `forward` or its exported graph says them."""
    graph = getattr(network, "graph", None)
    if isinstance(graph, fx.Graph):
        return tuple(node.name for node in graph.nodes if node.op == "placeholder" and not node.args)
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(each.name for each in parameters if each.kind in _POSITIONAL and each.default is each.empty)


@torch.no_grad()
def _trial(network: nn.Module, batch: Tensor, width: int) -> str | None:
    try:
        _run(network, batch, width)
    except Exception as error:  # the network is anyone's, and so is what goes wrong
        return str(error).strip().split("\n")[0][:160] or type(error).__name__
    return None


def _run(network: nn.Module, batch: Tensor, width: int) -> None:
    network(batch, *([torch.zeros(len(batch), width)] if width else []))


@torch.no_grad()
def _first_input(network: nn.Module, batch: Tensor, width: int) -> Tensor | None:
    """Returns what the weight layer that runs first, on more than zeros, is given."""
    given: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not given and inputs and isinstance(inputs[0], Tensor) and inputs[0].any():
            given.append(inputs[0].clone())

    handles = [each.register_forward_pre_hook(note) for each in network.modules() if has_weights(each)]
    try:
        _run(network, batch, width)
    finally:
        for handle in handles:
            handle.remove()
    return given[0] if given else None


def _beside(width: int) -> str:
    return f" with actions of {width}" if width else ""


def _cause(network: nn.Module, inputs: Inputs) -> str:
    """Returns the likeliest reason why a network does not run, and what to do."""
    shape, width = inputs
    names = required_inputs(network)
    if len(names) > 1 and not width:
        return (
            f"Its forward takes ({', '.join(names)}); one that takes observations, and may take a parameter named "
            "`action` beside them, can be run."
        )
    first = next((each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)), None)
    if isinstance(first, nn.Conv2d):
        wanted = first.in_channels
        if len(shape) != 3:
            return f"It takes images of {wanted} channels, the set holds vectors."
        if wanted != shape[2] and wanted % shape[2] == 0:
            return f"It takes {wanted} channels, a stack of {wanted // shape[2]} frames: collect with that frame stack."
        if wanted == shape[2]:
            return (
                "The number of channels fits, so height and width do not: collect frames of the size it was trained on."
            )
        return f"It takes {wanted} channels, the set has {shape[2]}: collect with its colours and frame stack."
    if isinstance(first, nn.Linear):
        return f"Its first layer takes {first.in_features} features, the set has {prod(shape)}{_beside(width)}."
    return "Collect observations from the environment that it was trained in."
