"""How stored observations reach a foreign network: the order of an image's axes and the scale of its values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from probe.capture.trace import has_weights
from probe.errors import ShapeError

Shape = tuple[int, ...]
_WHITE = 255.0


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


def fitted(network: nn.Module, shape: Shape, candidates: Sequence[Layout], source: str) -> Layout:
    """Returns the one layout with which a network takes observations of a shape.

    Args:
        network: Any values.
        shape: Of a stored observation.
        candidates: Layouts that are possible.
        source: Begins the message.

    Raises:
        ShapeError: none runs, or several do.
    """
    blank = torch.zeros(1, *shape)
    running: list[Layout] = []
    errors: list[str] = []
    for each in candidates:
        problem = _trial(network, each.apply(blank))
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
        f"{source}: the network cannot run on observations of {shape}: {errors[0]}. {_cause(network, shape)}"
    )


def scaled(network: nn.Module, shape: Shape, layout: Layout) -> Layout:
    """Returns the layout with the divisor that a network needs which takes images: 1 where it divides them itself.

    Runs a white image and looks at what reaches the first weight layer.
    """
    seen = _first_input(network, layout.apply(torch.full((2, *shape), _WHITE)))
    if seen is not None and seen.abs().max() < _WHITE / 2:
        return layout
    what = (
        "the network does not scale its images"
        if seen is not None
        else "whether the network scales its images is not seen"
    )
    return replace(layout, divisor=_WHITE, assumed=(*layout.assumed, f"{what}: they are divided by 255 before it"))


@torch.no_grad()
def _trial(network: nn.Module, batch: Tensor) -> str | None:
    try:
        network(batch)
    except Exception as error:  # the network is anyone's, and so is what goes wrong
        return str(error).strip().split("\n")[0][:160] or type(error).__name__
    return None


@torch.no_grad()
def _first_input(network: nn.Module, batch: Tensor) -> Tensor | None:
    """Returns what the weight layer that runs first is given."""
    given: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not given and inputs and isinstance(inputs[0], Tensor):
            given.append(inputs[0].clone())

    handles = [each.register_forward_pre_hook(note) for each in network.modules() if has_weights(each)]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return given[0] if given else None


def _cause(network: nn.Module, shape: Shape) -> str:
    """Returns the likeliest reason why a network does not run, and what to do."""
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
        return f"Its first layer takes {first.in_features} features, the set has {prod(shape)}."
    return "Collect observations from the environment that it was trained in."
