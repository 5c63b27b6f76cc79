"""What a network is, as plain data: enough to rebuild the module with no pickle."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from probe.models import FrozenModel
from probe.modules import ModuleMap

OUTPUT = "output"
"""Name of a head's last stage."""


class Initialisation(FrozenModel):
    """How a weight layer's parameters are drawn; biases are zero with `orthogonal`."""

    kind: Literal["default", "orthogonal"] = "default"
    """`default` is PyTorch's own: uniform within 1/sqrt(fan in) for weight and bias."""
    gain: float = 1.0
    """Factor on the orthogonal matrix; unused by `default`."""


class Stage(FrozenModel):
    """One named step of a module: a layer, a nonlinearity, or a block of further stages."""

    name: str
    kind: str
    """A key of `probe.networks.stages.BUILDERS`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The kind's own settings, such as `width`, `kernel`, `stride`, `padding`, `bias`, `spectral_norm`."""
    stages: tuple["Stage", ...] = ()
    """The inner stages of a block (`sequence`, `residual`)."""
    initialisation: Initialisation = Initialisation()


class ModuleSpec(FrozenModel):
    """One module (encoder, actor, critic): what it reads and its stages in order."""

    reads: Literal["observations", "encoder"]
    stages: tuple[Stage, ...]


class ActionSpace(FrozenModel):
    """The actions that the actor chooses from."""

    kind: Literal["discrete"] = "discrete"
    size: int
    """Number of actions."""


class Injection(FrozenModel):
    """A plasticity injection that the network has behind it."""

    cut: str
    """Path of the stage from which on the network was frozen and given a new copy, such as `encoder.dense`."""
    step: int
    """When."""
    all_learn: bool = False
    """Whether the part that learnt until then and the one that is subtracted are not frozen."""


class NetworkSpec(FrozenModel):
    """A whole network. Observations: uint8 (height, width, channel) images or float32 (feature,) vectors."""

    name: str
    observation_shape: tuple[int, ...]
    actions: ActionSpace
    modules: dict[str, ModuleSpec]
    """By module name, in the order in which they run; `encoder` comes first."""
    injections: tuple[Injection, ...] = ()
    """In the order in which they were made; all at one cut."""

    @property
    def is_image(self) -> bool:
        """Whether observations are images."""
        return len(self.observation_shape) == 3

    def cuts(self) -> list[str]:
        """Returns the paths of the stages of every module, at each of which an injected part can begin."""
        return [f"{name}.{stage.name}" for name, module in self.modules.items() for stage in module.stages]

    @property
    def module_map(self) -> ModuleMap:
        """Which module a layer belongs to; frozen copies belong to none that learns."""
        return ModuleMap.of(tuple(self.modules), frozen=("frozen.*", "*.frozen", "*.frozen.*"))

    def layers(self) -> dict[str, Stage]:
        """Returns the stages that have no inner ones by dotted path, such as `encoder.sequence1.conv`, in order."""
        return {path: stage for name, module in self.modules.items() for path, stage in _flattened(module.stages, name)}

    def map_stages(self, change: Callable[[Stage], Stage], modules: tuple[str, ...] | None = None) -> "NetworkSpec":
        """Returns a copy with `change` applied to every stage, inner ones first, of the named modules or of all."""
        return self.map_sequences(lambda stages: tuple(change(stage) for stage in stages), modules)

    def map_sequences(
        self, change: Callable[[tuple[Stage, ...]], tuple[Stage, ...]], modules: tuple[str, ...] | None = None
    ) -> "NetworkSpec":
        """Returns a copy with `change` applied to the stages of each block and module, inner blocks first."""
        chosen = tuple(self.modules) if modules is None else modules
        changed = {
            name: module.model_copy(update={"stages": _mapped(module.stages, change)}) if name in chosen else module
            for name, module in self.modules.items()
        }
        return self.model_copy(update={"modules": changed})


def _flattened(stages: tuple[Stage, ...], prefix: str) -> Iterator[tuple[str, Stage]]:
    for stage in stages:
        path = f"{prefix}.{stage.name}"
        if stage.stages:
            yield from _flattened(stage.stages, path)
        else:
            yield path, stage


def _mapped(stages: tuple[Stage, ...], change: Callable[[tuple[Stage, ...]], tuple[Stage, ...]]) -> tuple[Stage, ...]:
    return change(
        tuple(
            stage.model_copy(update={"stages": _mapped(stage.stages, change)}) if stage.stages else stage
            for stage in stages
        )
    )


def with_options(stage: Stage, options: Mapping[str, Any]) -> Stage:
    """Returns a copy of `stage` with `options` added."""
    return stage.model_copy(update={"options": {**stage.options, **options}})
