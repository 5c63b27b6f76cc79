"""A network's outputs by name, and how far two networks' outputs lie apart on the same observations."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probe.arrays import NDArray
from probe.policies import greedy
from probe.probes.base import Reading

POLICY = "actor"
"""The output whose columns are the logits of a policy."""


def named_outputs(network: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Runs a network and returns its outputs by name, as `by_name` does."""
    return by_name(network(batch))


def by_name(given: Any) -> dict[str, Tensor]:
    """Returns what a network returned as (batch, column), float32, by name.

    A network that returns one tensor has the output `output`; one that returns several without names has `output0`,
    `output1`, ... Values (batch,) become one column.
    """
    if isinstance(given, Tensor):
        given = {"output": given}
    elif not isinstance(given, dict):
        given = {f"output{index}": each for index, each in enumerate(given)}
    return {name: output.float().reshape(len(output), -1) for name, output in given.items()}


def returned_values(
    values: Float[Tensor, "batch column"], actions: Int[Tensor, "batch"] | None
) -> Float[Tensor, "batch"] | None:
    """Returns what a critic expects of what was done: V(s), or Q(s, a) where it has a value for each action.

    None where the values are of actions and the actions are not known, or are no columns.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    if actions is None or int(actions.min()) < 0 or int(actions.max()) >= values.shape[1]:
        return None
    return values.gather(1, actions.unsqueeze(1)).squeeze(1)


def discrete(actions: NDArray[Any]) -> Int[Tensor, "batch"] | None:
    """Returns stored actions as indices, or None where they are none."""
    if actions.ndim != 1 or not np.issubdtype(actions.dtype, np.integer):
        return None
    return torch.from_numpy(actions.astype(np.int64))


def stacked(outputs: dict[str, Tensor]) -> Float[Tensor, "batch out"]:
    """Returns all outputs side by side, in the network's order."""
    return torch.cat(list(outputs.values()), dim=1)


def divergence(earlier: Float[Tensor, "batch action"], later: Float[Tensor, "batch action"]) -> Float[Tensor, "batch"]:
    """Returns KL(softmax(earlier) || softmax(later)) of each row of logits, in nats."""
    first, second = earlier.double().log_softmax(dim=-1), later.double().log_softmax(dim=-1)
    # Where the earlier probability is 0, so is its term, also at a logit of minus infinity.
    return torch.where(first.exp() > 0, first.exp() * (first - second), 0.0).sum(dim=-1).clamp(min=0)


def disagreement(earlier: Float[Tensor, "batch action"], later: Float[Tensor, "batch action"]) -> int:
    """Returns on how many rows the greedy actions differ; of equals the first is greedy."""
    return int((greedy(earlier) != greedy(later)).sum())


@dataclass
class Difference:
    """How far one output of a network lies from the same output of another: sums over batches."""

    samples: int = 0
    values: int = 0
    columns: int = 0
    total: float = 0.0
    largest: float = 0.0
    disagreements: int = 0
    divergence: float = 0.0
    finite: bool = True

    def update(self, earlier: Float[Tensor, "batch out"], later: Float[Tensor, "batch out"]) -> None:
        """Adds a batch of outputs of both networks."""
        change = (later.double() - earlier.double()).abs()
        self.finite = self.finite and bool(change.isfinite().all())
        self.samples, self.values, self.columns = (
            self.samples + len(change),
            self.values + change.numel(),
            len(change.T),
        )
        self.total += change.sum().item()
        self.largest = max(self.largest, change.max().item())
        self.disagreements += disagreement(earlier, later)
        self.divergence += divergence(earlier, later).sum().item()


@dataclass
class Differences:
    """The differences of all outputs of two networks, by output."""

    outputs: dict[str, Difference] = field(default_factory=dict)

    def update(self, earlier: dict[str, Tensor], later: dict[str, Tensor]) -> None:
        """Adds a batch of outputs of both networks."""
        for name, output in earlier.items():
            self.outputs.setdefault(name, Difference()).update(output, later[name])

    def readings(self, exact_zero: bool = False) -> dict[str, list[Reading]]:
        """Returns, by output, `mean_change` and `max_change`, and where they mean something the two of a policy.

        `action_disagreement` is the share of observations whose greedy action differs, of outputs with at least two
        columns; `kl`, in nats, is the policy's. All are null and `nonfinite` where an output was.

        Args:
            exact_zero: Whether nothing was changed, so that the zeros are `degenerate`.
        """
        return {name: _readings(name, each, exact_zero) for name, each in self.outputs.items()}


def _readings(name: str, found: Difference, exact_zero: bool) -> list[Reading]:
    values = {"mean_change": found.total / max(found.values, 1), "max_change": found.largest}
    if found.columns > 1:
        values["action_disagreement"] = found.disagreements / found.samples
    if name == POLICY:
        values["kl"] = found.divergence / found.samples
    if not found.finite:
        return [Reading(metric, None, "nonfinite") for metric in values]
    return [Reading(metric, value, "degenerate" if exact_zero else "ok") for metric, value in values.items()]
