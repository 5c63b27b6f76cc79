"""Stacks of layers, rebuilt from the shapes of their tensors under the paths that these are stored at."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
"""Parameters and buffers by name."""
NATURE = ((8, 4), (4, 2), (3, 1))
"""Kernel and stride of the convolutions of Mnih et al. 2015, doi:10.1038/nature14236."""
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}
"""Those that a network that is inferred may have, by name."""


def linear_stack(
    tensors: Tensors, path: str, activation: Callable[[], nn.Module], ends_active: bool, end: nn.Module | None = None
) -> nn.Sequential:
    """Returns the linear layers stored at `path.0`, `path.2`, ... with an activation after each.

    Args:
        tensors: The state_dict.
        path: Of the stack.
        activation: Makes an activation.
        ends_active: Whether one follows the last layer too.
        end: What stands after all.

    Raises:
        ValueError: there is something else in the stack than linear layers in every other place.
    """
    places = sorted({int(match[1]) for name in tensors if (match := re.match(rf"{re.escape(path)}\.(\d+)\.", name))})
    layers = [linear(tensors, f"{path}.{place}") for place in places]
    if places != list(range(0, 2 * len(places), 2)):
        raise ValueError(f"'{path}' holds more than linear layers and activations")
    if any(one.out_features != next_.in_features for one, next_ in pairwise(layers)):
        raise ValueError(f"the layers of '{path}' do not fit each other")
    modules = [module for layer in layers for module in (layer, activation())]
    if modules and not ends_active:
        modules.pop()
    return nn.Sequential(*modules, *([] if end is None else [end]))


def linear(tensors: Tensors, path: str) -> nn.Linear:
    """Returns a linear layer of the shape of the tensors at a path.

    Raises:
        ValueError: these are no linear layer's.
    """
    weight = tensors.get(f"{path}.weight")
    if weight is None or weight.ndim != 2:
        raise ValueError(f"'{path}' is no linear layer")
    return nn.Linear(weight.shape[1], weight.shape[0], bias=f"{path}.bias" in tensors)


def convolution(tensors: Tensors, path: str, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """Returns a convolution of the shape of the tensors at a path.

    Raises:
        ValueError: these are no convolution's.
    """
    weight = tensors.get(f"{path}.weight")
    if weight is None or weight.ndim != 4:
        raise ValueError(f"'{path}' is no convolution of images")
    out, channels, *sides = weight.shape
    return nn.Conv2d(channels, out, (sides[0], sides[1]), stride, padding, bias=f"{path}.bias" in tensors)
