"""Changes of a specification: another nonlinearity, a normalisation beside each, or other first weights."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from probe.errors import ConfigurationError
from probe.networks.specification import OUTPUT, Initialisation, NetworkSpec, Stage, with_options
from probe.networks.stages import NONLINEARITIES, PAIRS

_REPLACED = "relu"
_WEIGHTS = ("conv", "linear")
_ACTIVATIONS = {*NONLINEARITIES, *PAIRS}


def replace_relu(spec: NetworkSpec, kind: str, options: Mapping[str, Any] | None = None) -> NetworkSpec:
    """Returns a copy with every ReLU replaced; `relu1` becomes `<kind>1`.

    Raises:
        ConfigurationError: there is no ReLU, so that nothing would change.
    """
    replaced = 0

    def change(stage: Stage) -> Stage:
        nonlocal replaced
        if stage.kind != _REPLACED:
            return stage
        replaced += 1
        return Stage(name=stage.name.replace(_REPLACED, kind), kind=kind, options=dict(options or {}))

    changed = spec.map_stages(change)
    if not replaced:
        raise ConfigurationError(
            f"Network '{spec.name}' has no ReLU left that '{kind}' could replace. Combine methods with at most one "
            "that brings an activation."
        )
    return changed


def replace_relu_by_pairs(spec: NetworkSpec, kind: str) -> NetworkSpec:
    """Returns a copy with every ReLU replaced by a kind that gives two values for one, and half the hidden widths.

    What each layer gives to the next is then as wide as before.

    Raises:
        ConfigurationError: there is no ReLU, or a width is odd.
    """

    def halved(stage: Stage) -> Stage:
        if stage.kind not in _WEIGHTS or stage.name == OUTPUT:
            return stage
        width = stage.options["width"]
        if width % 2:
            raise ConfigurationError(
                f"Layer '{stage.name}' of network '{spec.name}' has {width} units; '{kind}' halves them, so give an "
                "even number."
            )
        return with_options(stage, {"width": width // 2})

    return replace_relu(spec, kind).map_stages(halved)


def normalise_activations(
    spec: NetworkSpec,
    kind: str,
    place: Literal["before", "after"] = "before",
    modules: tuple[str, ...] | None = None,
) -> NetworkSpec:
    """Returns a copy with a normalisation next to every nonlinearity; at `relu1` it is called `<kind>_relu1`.

    Args:
        spec: the network.
        kind: of the normalisation's stage.
        place: before the nonlinearity or after it.
        modules: whose nonlinearities; None for all.

    Raises:
        ConfigurationError: there is no nonlinearity, so that nothing would change, or there is such a normalisation.
    """

    def change(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        changed: list[Stage] = []
        if any(stage.kind == kind for stage in stages):
            raise ConfigurationError(f"Network '{spec.name}' has '{kind}' already. Leave out one of the two methods.")
        for stage in stages:
            added = [Stage(name=f"{kind}_{stage.name}", kind=kind)] if stage.kind in _ACTIVATIONS else []
            changed += [*added, stage] if place == "before" else [stage, *added]
        return tuple(changed)

    changed = spec.map_sequences(change, modules)
    if changed == spec:
        raise ConfigurationError(f"Network '{spec.name}' has no nonlinearity that '{kind}' could stand {place}.")
    return changed


def orthogonal_weights(spec: NetworkSpec, hidden: float | None, outputs: Mapping[str, float]) -> NetworkSpec:
    """Returns a copy whose weights start orthogonal, with biases of zero.

    Args:
        spec: the network.
        hidden: gain of every layer that is no output; None leaves them as they are.
        outputs: gain of the output by module; the other outputs stay as they are.

    Source: Saxe et al. 2014, arXiv:1312.6120.
    """
    for module in spec.modules:
        spec = spec.map_stages(partial(_orthogonal, hidden=hidden, output=outputs.get(module)), (module,))
    return spec


def _orthogonal(stage: Stage, hidden: float | None, output: float | None) -> Stage:
    gain = output if stage.name == OUTPUT else hidden
    if gain is None or stage.kind not in _WEIGHTS:
        return stage
    return stage.model_copy(update={"initialisation": Initialisation(kind="orthogonal", gain=gain)})
