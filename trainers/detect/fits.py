"""How fast an arm's network fits what no arm's own learning changes: new targets, and one frozen TD target."""

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from probe.networks import Network, build
from probe.outputs import named_outputs
from probe.regression import Budget, Curve, Task, fit, outputs_on, standardised
from probe.trainers.base import ValueTargets
from probe.trainers.detect.design import Design
from probe.trainers.streams import derived_seed

FITTING, TD_ERROR = "fitting", "td_error"
_CRITIC = "critic"


def fit_network(network: Network, values: ValueTargets, design: Design, seed: int) -> dict[str, Curve]:
    """Fits copies of a network with new moments in a fixed number of steps; by kind of target, the losses on the way.

    `fitting`: the network's own outputs plus those of a newly drawn one, of mean 0 and variance 1, of the modules that
    are asked about: every arm starts with a loss of 1 and learns a change, however large its outputs are.
    `td_error`: the critic's value targets as they stand at the fork, the same for all arms; none of the actor alone.

    Args:
        network: Left as it is.
        values: What the critic learns at the fork.
        design: Says which module, and how long.
        seed: Draws targets and the order of the observations, the same in all arms of a pair.
    """
    columns = _columns(network, values.observations)
    asked: list[str] = list(columns) if design.placement.module == "both" else [design.placement.module]
    whole = network.spec.model_copy(update={"injections": ()})
    drawn = build(whole, _generator(seed, "targets")).to(values.observations.device).eval()
    targets = outputs_on(copy.deepcopy(network).eval(), values.observations)
    targets = targets + standardised(outputs_on(drawn, values.observations))
    found = {
        FITTING: _fitted(network, values.observations, targets, _of_modules(targets, columns, asked), design, seed)
    }
    if _CRITIC in asked:
        found[TD_ERROR] = _fitted(network, values.observations, *_of_actions(values, targets, columns), design, seed)
    return found


def _fitted(
    network: Network,
    observations: Tensor,
    targets: Tensor,
    counted: Bool[Tensor, "batch out"],
    design: Design,
    seed: int,
) -> Curve:
    settings = design.settings
    budget = Budget(settings.fit_steps, settings.fit_batch, settings.fit_learning_rate)
    copied = copy.deepcopy(network).eval()
    return fit(Task(copied, observations, targets, budget, _generator(seed, "order"), counted))


def _columns(network: Network, observations: Tensor) -> dict[str, slice]:
    """Returns which columns of all outputs side by side are a module's."""
    columns, start = {}, 0
    with torch.no_grad():
        for name, output in named_outputs(network, observations[:1]).items():
            columns[name] = slice(start, start + output.shape[1])
            start += output.shape[1]
    return columns


def _of_modules(targets: Tensor, columns: Mapping[str, slice], asked: Sequence[str]) -> Bool[Tensor, "batch out"]:
    counted = torch.zeros_like(targets, dtype=torch.bool)
    for name in asked:
        counted[:, columns[name]] = True
    return counted


def _of_actions(
    values: ValueTargets, targets: Tensor, columns: Mapping[str, slice]
) -> tuple[Tensor, Bool[Tensor, "batch out"]]:
    """Returns value targets in the places of the outputs that they are for, and these places."""
    first = columns[_CRITIC].start
    places = torch.full((len(values), 1), first, device=targets.device)
    if values.actions is not None:
        places = first + values.actions.unsqueeze(1)
    counted = torch.zeros_like(targets, dtype=torch.bool).scatter(1, places, True)
    return torch.zeros_like(targets).scatter(1, places, values.targets.unsqueeze(1)), counted


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, purpose))
