"""The shipped architectures, each a function from shapes to a specification."""

from collections.abc import Callable

from probe.errors import ConfigurationError, UnknownNameError
from probe.networks.specification import (
    OUTPUT,
    ActionSpace,
    Initialisation,
    ModuleSpec,
    NetworkSpec,
    Stage,
    with_options,
)


def preset(
    name: str, observation_shape: tuple[int, ...], actions: int, hidden: int, width: int | float = 1, values: int = 1
) -> NetworkSpec:
    """Returns the specification of a shipped architecture.

    Args:
        name: `conv64`, `impala`, `mlp` or `nature`.
        observation_shape: (height, width, channel) of an image, or (feature,).
        actions: number of discrete actions.
        hidden: width of the last hidden layer.
        width: factor on every hidden width, the last one too.
        values: outputs of the critic: 1 for the state, or one for each action.

    Raises:
        UnknownNameError: no such architecture.
        ConfigurationError: it does not take observations of this shape.
    """
    if name not in _PRESETS:
        raise UnknownNameError("network", name, _PRESETS)
    encoder, head_gains, dimensions = _PRESETS[name]
    if len(observation_shape) not in dimensions or (name == "conv64" and observation_shape[:2] != (64, 64)):
        expected = {
            "conv64": "64 x 64 images",
            "impala": "images (height, width, channel)",
            "mlp": "vectors or images",
            "nature": "images (height, width, channel)",
        }[name]
        raise ConfigurationError(f"Network '{name}' takes {expected}, the environment gives {observation_shape}.")
    flattened = (Stage(name="flatten", kind="flatten"),) if name == "mlp" and len(observation_shape) == 3 else ()
    split = _dense(hidden) if name == "nature" else ()
    spec = NetworkSpec(
        name=name,
        observation_shape=observation_shape,
        actions=ActionSpace(size=actions),
        modules={
            "encoder": ModuleSpec(reads="observations", stages=(*flattened, *encoder(hidden))),
            "actor": ModuleSpec(reads="encoder", stages=(*split, _head(actions, head_gains[0]))),
            "critic": ModuleSpec(reads="encoder", stages=(*split, _head(values, head_gains[1]))),
        },
    )
    return spec.map_stages(lambda stage: _widened(stage, width))


def preset_names() -> dict[str, str]:
    """Returns the shipped architectures with a line on each."""
    return {name: (encoder.__doc__ or "").split("\n")[0] for name, (encoder, _, _) in _PRESETS.items()}


def _widened(stage: Stage, factor: int | float) -> Stage:
    width = stage.options.get("width")
    if width is None or stage.name == OUTPUT:
        return stage
    return with_options(stage, {"width": max(1, round(width * factor))})


def _head(width: int, gain: float | None) -> Stage:
    how = Initialisation() if gain is None else Initialisation(kind="orthogonal", gain=gain)
    return Stage(name=OUTPUT, kind="linear", options={"width": width}, initialisation=how)


def _relu(name: str) -> Stage:
    return Stage(name=name, kind="relu")


def _dense(width: int) -> tuple[Stage, ...]:
    return Stage(name="dense", kind="linear", options={"width": width}), _relu("relu_dense")


def conv64_encoder(hidden: int) -> tuple[Stage, ...]:
    """Four strided convolutions (32-64-128-128) and one linear layer, for 64 x 64 images; Juliani & Ash 2024."""
    stages: list[Stage] = []
    for index, width in enumerate((32, 64, 128, 128), start=1):
        options = {"width": width, "kernel": 4, "stride": 2, "padding": 1}
        stages += [Stage(name=f"conv{index}", kind="conv", options=options), _relu(f"relu{index}")]
    return (*stages, Stage(name="flatten", kind="flatten"), *_dense(hidden))


def nature_encoder(hidden: int) -> tuple[Stage, ...]:
    """Three strided convolutions (32-64-64), for images; each head has the linear layer itself; Mnih et al. 2015."""
    stages: list[Stage] = []
    for index, (width, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1)), start=1):
        options = {"width": width, "kernel": kernel, "stride": stride}
        stages += [Stage(name=f"conv{index}", kind="conv", options=options), _relu(f"relu{index}")]
    return (*stages, Stage(name="flatten", kind="flatten"))


def impala_encoder(hidden: int) -> tuple[Stage, ...]:
    """Residual IMPALA network (16-32-32) and one linear layer, for images; Espeholt et al. 2018, arXiv:1802.01561."""
    sequences = tuple(
        Stage(name=f"sequence{index}", kind="sequence", stages=_impala_sequence(width))
        for index, width in enumerate((16, 32, 32), start=1)
    )
    return (*sequences, Stage(name="flatten", kind="flatten"), _relu("relu_flat"), *_dense(hidden))


def _impala_sequence(width: int) -> tuple[Stage, ...]:
    same = {"width": width, "kernel": 3, "padding": 1}
    block = (
        _relu("relu1"),
        Stage(name="conv1", kind="conv", options=same),
        _relu("relu2"),
        Stage(name="conv2", kind="conv", options=same),
    )
    return (
        Stage(name="conv", kind="conv", options=same),
        Stage(name="pool", kind="max_pool", options={"kernel": 3, "stride": 2, "padding": 1}),
        Stage(name="residual1", kind="residual", stages=block),
        Stage(name="residual2", kind="residual", stages=block),
    )


def mlp_encoder(hidden: int) -> tuple[Stage, ...]:
    """Two linear layers with ReLU, for observations that are vectors, or for images as vectors of their pixels."""
    layers = [
        (Stage(name=f"dense{index}", kind="linear", options={"width": hidden}), _relu(f"relu{index}"))
        for index in (1, 2)
    ]
    return tuple(stage for pair in layers for stage in pair)


_Encoder = Callable[[int], tuple[Stage, ...]]
_PRESETS: dict[str, tuple[_Encoder, tuple[float | None, float | None], tuple[int, ...]]] = {
    # (encoder, initialisation gain of actor and critic, dimensions of an observation)
    "conv64": (conv64_encoder, (None, None), (3,)),
    "impala": (impala_encoder, (0.01, 1.0), (3,)),
    "mlp": (mlp_encoder, (0.01, 1.0), (1, 3)),
    "nature": (nature_encoder, (None, None), (3,)),
}
