"""The offline functions of single observations whose gradients the curvature is of, by kernel."""

import numpy as np
import torch
from torch import Tensor

from probe.curvature import Objectives
from probe.outputs import discrete
from probe.policies import log_probabilities
from probe.regression import standardised
from probe.subject import Subject

NTK, FISHER = "ntk", "fisher"
"""The kernel of an output's gradients, and that of a loss's; the latter is missing without returns."""


def critic_objectives(
    subject: Subject, network: torch.nn.Module, observations: Tensor, width: int
) -> dict[str, Objectives]:
    """Returns V(s) and `(V(s) - return)^2`, by kernel; with a value for each action their mean and the stored one's.

    Args:
        subject: Has the columns of the observations.
        network: With an output `critic`.
        observations: Spread over the subject's set.
        width: Columns of the output.
    """
    made = {NTK: Objectives(network, observations, lambda outputs, _: outputs["critic"].mean(1))}
    known, returns = _returns(subject, len(observations))
    columns = _columns(subject, len(observations), width)
    if columns is not None and bool(known.any()):
        made[FISHER] = Objectives(
            network,
            observations[known],
            lambda outputs, data: (outputs["critic"].gather(1, data[1].unsqueeze(1)).squeeze(1) - data[0]).square(),
            (returns[known].float(), columns[known]),
        )
    return made


def actor_objectives(
    subject: Subject, network: torch.nn.Module, observations: Tensor, width: int
) -> dict[str, Objectives]:
    """Returns the stored action's logit and `-log pi(action)` times the standardised return, by kernel.

    Args:
        subject: Has the columns of the observations.
        network: With an output `actor`.
        observations: Spread over the subject's set.
        width: Columns of the output.
    """
    actions = _columns(subject, len(observations), width)
    if actions is None:
        return {}
    made = {
        NTK: Objectives(
            network,
            observations,
            lambda outputs, data: outputs["actor"].gather(1, data[0].unsqueeze(1)).squeeze(1),
            (actions,),
        )
    }
    known, returns = _returns(subject, len(observations))
    if bool(known.any()):
        made[FISHER] = Objectives(
            network,
            observations[known],
            lambda outputs, data: -log_probabilities(outputs["actor"], data[0]) * data[1],
            (actions[known], standardised(returns[known].unsqueeze(1)).squeeze(1)),
        )
    return made


def _columns(subject: Subject, count: int, width: int) -> Tensor | None:
    """Returns the column of an output that belongs to each stored action; of a single column, that one."""
    if width == 1:
        return torch.zeros(count, dtype=torch.int64)
    actions = discrete(subject.column("actions", count))
    return None if actions is None or int(actions.min()) < 0 or int(actions.max()) >= width else actions


def _returns(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    if not subject.has_returns:
        return torch.zeros(count, dtype=torch.bool), torch.zeros(count)
    returns = torch.from_numpy(subject.column("returns", count).astype(np.float64))
    return returns.isfinite(), returns
