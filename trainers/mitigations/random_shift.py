"""Random shifts of images while learning."""

from dataclasses import fields, replace

import torch
from jaxtyping import Int, UInt8
from pydantic import Field
from torch import Tensor

from probe.errors import ConfigurationError
from probe.models import FrozenModel
from probe.networks import NetworkSpec
from probe.trainers.mitigations.base import Mitigation, register
from probe.trainers.rollout import AnyBatch


def draw_shifts(images: int, pad: int, rng: torch.Generator) -> Int[Tensor, "image 2"]:
    """Draws for each image how far down and to the right it moves, -pad to pad pixels."""
    return torch.randint(-pad, pad + 1, (images, 2), generator=rng)


def shifted(
    images: UInt8[Tensor, "image row column channel"], shifts: Int[Tensor, "image 2"]
) -> UInt8[Tensor, "image row column channel"]:
    """Returns images moved by whole pixels; what comes in at an edge repeats the edge.

    The same as padding by repetition, then a bilinear sampling on a grid moved by whole pixels, which needs floats.
    """
    height, width = images.shape[1:3]
    rows = (torch.arange(height) - shifts[:, :1]).clamp(0, height - 1).to(images.device)
    columns = (torch.arange(width) - shifts[:, 1:]).clamp(0, width - 1).to(images.device)
    chosen = torch.arange(len(images), device=images.device)
    return images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


@register("augment")
class RandomShift(Mitigation):
    """Random shifts: in every pass of an update each image is moved by up to 4 pixels, its edges repeated.

    Actions and old probabilities are those of the images as they were, so the probability ratio differs from 1 before
    the first step already. Source: Kostrikov et al. 2021, arXiv:2004.13649.
    """

    class Settings(FrozenModel):
        """How far images move."""

        pad: int = Field(default=4, ge=1)
        """Largest shift in pixels, along each axis."""

    settings: Settings

    def specify(self, spec: NetworkSpec) -> NetworkSpec:
        """Refuses networks that do not read images.

        Raises:
            ConfigurationError: observations are vectors.
        """
        if not spec.is_image:
            raise ConfigurationError(
                f"Method 'augment' shifts images; network '{spec.name}' reads vectors. Leave it out."
            )
        return spec

    def batch(self, batch: AnyBatch, rng: torch.Generator) -> AnyBatch:
        """Shifts every image by itself, those that follow a decision too."""
        names = [each.name for each in fields(batch) if each.name.endswith("observations")]
        shifts = {name: draw_shifts(len(batch), self.settings.pad, rng) for name in names}
        return replace(batch, **{name: shifted(getattr(batch, name), each) for name, each in shifts.items()})
