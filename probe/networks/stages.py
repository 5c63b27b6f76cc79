"""Builders: one stage of a specification -> one `nn.Module` and the shape that it gives out."""

from collections import OrderedDict
from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from probe.errors import ConfigurationError, UnknownNameError
from probe.networks.activations import CReLU, Fourier
from probe.networks.convolution import Convolution
from probe.networks.dense import Dense
from probe.networks.injected_linear import InjectedLinear
from probe.networks.max_pool import MaxPool
from probe.networks.mish import Mish
from probe.networks.rational import Rational
from probe.networks.rms_norm import RmsNorm
from probe.networks.specification import Stage
from probe.networks.spectral import add_spectral_norm

Shape = tuple[int, ...]
"""Without the batch axis: (channel, height, width) or (feature,)."""
Built = tuple[nn.Module, Shape]


class Residual(nn.Sequential):
    """Adds its input to the output of its stages."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns input + stages(input), of the input's shape."""
        output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return output + input


def build_stages(stages: tuple[Stage, ...], shape: Shape, container: type[nn.Sequential] = nn.Sequential) -> Built:
    """Builds stages one after another; returns their container and the shape of the output.

    Raises:
        UnknownNameError: a stage's kind has no builder.
        ConfigurationError: an option is missing, unknown or does not fit the shape.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for stage in stages:
        if stage.kind not in BUILDERS:
            raise UnknownNameError("network stage", stage.kind, BUILDERS)
        try:
            modules[stage.name], shape = BUILDERS[stage.kind](stage, shape)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"Network stage '{stage.name}' ({stage.kind}) on shape {shape}: {error}"
            ) from error
    return container(modules), shape


def _conv(stage: Stage, shape: Shape) -> Built:
    options = stage.options
    kernel, stride, padding = options["kernel"], options.get("stride", 1), options.get("padding", 0)
    channels, *space = shape
    layer = Convolution(channels, options["width"], kernel, stride, padding, bias=options.get("bias", True))
    out = tuple((side + 2 * padding - kernel) // stride + 1 for side in space)
    if len(space) != 2 or min(out, default=0) < 1:
        raise ValueError(f"a {kernel}x{kernel} convolution needs an image of at least that size")
    return (add_spectral_norm(layer) if options.get("spectral_norm") else layer), (options["width"], *out)


def _linear(stage: Stage, shape: Shape) -> Built:
    if len(shape) != 1:
        raise ValueError("a linear layer needs a vector; put a `flatten` stage before it")
    layer = Dense(shape[0], stage.options["width"], bias=stage.options.get("bias", True))
    return (add_spectral_norm(layer) if stage.options.get("spectral_norm") else layer), (stage.options["width"],)


def _injected_linear(stage: Stage, shape: Shape) -> Built:
    width = stage.options["width"]
    return InjectedLinear(shape[0], width, stage.options.get("bias", True)), (width,)


def _max_pool(stage: Stage, shape: Shape) -> Built:
    kernel, stride, padding = (stage.options[key] for key in ("kernel", "stride", "padding"))
    out = tuple((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    return MaxPool(kernel, stride, padding), (shape[0], *out)


def _residual(stage: Stage, shape: Shape) -> Built:
    module, out = build_stages(stage.stages, shape, Residual)
    if out != shape:
        raise ValueError(f"a residual block must keep its input's shape, its stages give {out}")
    return module, shape


def _layer_norm(stage: Stage, shape: Shape) -> Built:
    """Normalises each observation over all channels and places; the affine parameters are per channel or feature."""
    return (nn.GroupNorm(1, shape[0]) if len(shape) == 3 else nn.LayerNorm(shape[0])), shape


def _batch_norm(stage: Stage, shape: Shape) -> Built:
    return (nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])), shape


NONLINEARITIES: dict[str, Callable[[Stage], nn.Module]] = {
    "relu": lambda stage: nn.ReLU(),
    "leaky_relu": lambda stage: nn.LeakyReLU(stage.options["slope"]),
    "gelu": lambda stage: nn.GELU(),
    "mish": lambda stage: Mish(),
    "rational": lambda stage: Rational(),
    "silu": lambda stage: nn.SiLU(),
    "tanh": lambda stage: nn.Tanh(),
}
"""The stages that act on each element and keep the shape."""


PAIRS: dict[str, Callable[[], nn.Module]] = {"crelu": CReLU, "fourier": Fourier}
"""The stages that make two units or channels of each: what follows is built for twice the width."""


def _nonlinearity(stage: Stage, shape: Shape) -> Built:
    return NONLINEARITIES[stage.kind](stage), shape


def _pairs(stage: Stage, shape: Shape) -> Built:
    return PAIRS[stage.kind](), (2 * shape[0], *shape[1:])


BUILDERS: dict[str, Callable[[Stage, Shape], Built]] = {
    "conv": _conv,
    "linear": _linear,
    "injected_linear": _injected_linear,
    "max_pool": _max_pool,
    "residual": _residual,
    "sequence": lambda stage, shape: build_stages(stage.stages, shape),
    "flatten": lambda stage, shape: (nn.Flatten(), (prod(shape),)),
    "layer_norm": _layer_norm,
    "rms_norm": lambda stage, shape: (RmsNorm(shape[0]), shape),
    "batch_norm": _batch_norm,
    **dict.fromkeys(NONLINEARITIES, _nonlinearity),
    **dict.fromkeys(PAIRS, _pairs),
}
