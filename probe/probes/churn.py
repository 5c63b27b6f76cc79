"""Churn: how much the policy and the values move between two checkpoints on the same observations."""

from dataclasses import dataclass

from torch import Tensor

from probe.outputs import Differences
from probe.pairs import PairObserver, pair_observed
from probe.probes.base import Finding, Findings, Probe, Reading, register
from probe.subject import Subject


class ChurnObserver(PairObserver):
    """Adds up the differences of the outputs that both networks have in one shape, and names the others."""

    reads_outputs = True

    def __init__(self) -> None:
        """Starts empty."""
        self.differences = Differences()
        self.odd: set[str] = set()

    def see_outputs(self, earlier: dict[str, Tensor], later: dict[str, Tensor]) -> None:
        """Adds a batch of outputs."""
        same = {name for name in earlier if name in later and earlier[name].shape == later[name].shape}
        self.odd |= (earlier.keys() | later.keys()) - same
        self.differences.update({name: earlier[name] for name in earlier if name in same}, later)


@register("churn", version=1)
@dataclass(frozen=True)
class Churn(Probe):
    """How much the policy and the values differ between two checkpoints on the same observations.

    Question: how far did training move the function, where nobody asked whether it should?
    Formula: of every output of the network, the earlier checkpoint against the later:
        - `action_disagreement` (share of observations): those whose greedy actions differ; of equal outputs the first
          is greedy
        - `kl` (nats): `mean KL(pi_earlier || pi_later)`, of the actor
        - `mean_change`, `max_change` (the output's own unit): mean and largest `|later - earlier|`, of the critic
          `|dV|`
    Axes: means run over observations, `mean_change` over an output's columns too; `module` names the output.
    Units: the share in [0, 1]; the divergence has no upper bound.
    Cost: the forward pass of both checkpoints that probes of a pair share, for each checkpoint against step 0 and
        against the one before.
    Status: `nonfinite` and null where an output is; `not_applicable` where the two networks' outputs differ in shape.
    Source: Tang & Berseth 2024, arXiv:2409.04792 (churn). C-CHAIN's cross-entropy holds the old policy's entropy, too,
        and so falls when that falls; the divergence here does not.
    Do not trust: rows with different `reference_step` beside each other, since the distance in steps counts; a high
        disagreement where the policy is nearly flat, which the divergence shows to be harmless.
    """

    needs = "pair"
    cost = "costly"

    def pair_observer(self, earlier: Subject, later: Subject) -> PairObserver:
        """Gathers the differences of the outputs."""
        return ChurnObserver()

    def measure_pair(self, earlier: Subject, later: Subject) -> Findings:
        """Returns the differences of every output that both networks have."""
        seen = pair_observed(earlier, later, self, ChurnObserver)
        found = [
            Finding(reading, module=name)
            for name, several in seen.differences.readings().items()
            for reading in several
        ]
        return Findings([*found, *(_absent(name) for name in sorted(seen.odd))])


def _absent(output: str) -> Finding:
    return Finding(Reading("mean_change", None, "not_applicable"), module=output)
