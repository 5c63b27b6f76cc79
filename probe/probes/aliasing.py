"""Aliasing: whether states of very different worth look alike to the network."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from probe.features import has_row_per_observation
from probe.passes import Observer, observed, share_pass
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.probes.limits import Limits, Share
from probe.stored import StoredFeatures
from probe.subject import Subject

LEAST_SAMPLES = 30
"""Observations below which the pairs are too few to say anything."""


def cosine_similarities(features: Float[Tensor, "sample unit"]) -> Float[Tensor, "sample sample"]:
    """Returns the cosine of every two rows, none of which may be zero."""
    # Divided by the largest entry first, so that no square overflows or vanishes.
    scaled = features / features.abs().amax(1, keepdim=True)
    directions: Tensor = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return directions @ directions.T


def mean_over_largest(values: Float[Tensor, "pair"], keys: Float[Tensor, "pair"], share: float) -> float:
    """Returns the mean of the values with the largest keys, a share of all of them.

    Pairs whose keys are equal at the cut count for an equal part each, so that their order means nothing.
    """
    wanted = max(1, round(share * len(keys)))
    cut = keys.topk(wanted).values[-1]
    above, level = keys > cut, keys == cut
    part = (wanted - int(above.sum())) * values[level].mean()
    return ((values[above].sum() + part) / wanted).item()


def aliasing(
    features: Float[Tensor, "sample unit"], returns: Float[Tensor, "sample"], share: float
) -> tuple[float, float] | None:
    """Returns the mean cosine of the pairs whose returns differ most, and of all pairs; None where returns are equal.

    The mean over all pairs is what random pairs have in expectation.
    """
    first, second = torch.triu_indices(len(features), len(features), offset=1)
    differences = (returns[first] - returns[second]).abs()
    if not bool(differences.any()):
        return None
    cosines = cosine_similarities(features)[first, second]
    return mean_over_largest(cosines, differences, share), cosines.mean().item()


@register("aliasing", version=1)
@dataclass(frozen=True)
class Aliasing(Probe):
    """Likeness of the encoder's features for observations whose returns differ most, against random pairs.

    Question: does the network still tell states apart that are worth very different amounts?
    Formula: phi(x) are the features of an observation x, G(x) is its stored discounted return. Over all pairs among at
        most `rows` observations, spread evenly over those that are used:
        - `distant_similarity` (cosine): mean of `cos(phi(x), phi(y))` over the pairs with the largest `|G(x) - G(y)|`,
          a `share` of all
        - `random_similarity` (cosine): mean over all pairs, which is what random ones have in expectation
        - `aliasing_excess` (cosine): `distant_similarity - random_similarity`
        - `silent_fraction` (share of observations): those whose features are all zero; they have no direction and are
          left out
        - `rows_used` (observations): those that were used
    Axes: phi is the encoder's last layer, of a convolution the means over positions.
    Units: cosines in [-1, 1], of rectified features in [0, 1]. 1: states of different worth look the same. An excess
        below zero: the features tell worth apart.
    Cost: the forward pass that probes of a checkpoint share; time and memory grow with the square of `rows`.
    Status: null and `not_applicable` where the set has no returns or the network no encoder layer, or where that is a
        recurrent one with several time steps an observation; null and
        `degenerate` where fewer than two observations have features, or all returns are equal; `low_sample` below 30
        observations; null and `nonfinite` on NaN or infinity in the features.
    Source: state aliasing, Kumar et al. 2021, arXiv:2010.14498; the shares are this project's own.
    Do not trust: the value of `distant_similarity` alone, features with a large common mean are alike throughout;
        observations without a return (cut off by a time limit) are left out, which may leave out the good ones.
    """

    needs = "network"
    cost = "costly"

    rows: Annotated[int, Limits(least=2)] = 2000
    """Observations among which pairs are formed."""
    share: Share = 0.1
    """Share of the pairs that counts as those whose returns differ most."""

    def observer(self, subject: Subject) -> Observer | None:
        """Keeps the features of the rows that are used; of the layer that is called last, before the last is known."""
        if not subject.has_returns:
            return None
        count = min(self.rows, subject.count)
        known = _last_of_encoder(subject, subject.statistics) if subject.statistics else ""
        return StoredFeatures(
            torch.arange(count) * subject.count // count,
            sys.maxsize,
            lambda found: {known or _last_of_encoder(subject, found)} & set(found),
        )

    @torch.no_grad()
    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of the encoder's last layer."""
        layer = _last_of_encoder(subject, subject.statistics)
        if not layer or not subject.has_returns or not has_row_per_observation(subject, layer):
            return _findings(layer, [None] * len(_METRICS), "not_applicable", 0)
        units = subject.statistics[layer].units
        if not subject.statistics[layer].finite:
            return _findings(layer, [None] * len(_METRICS), "nonfinite", units)
        stored = observed(subject, self, StoredFeatures)
        if not stored.has(layer):
            # Only after the pass it is known which layer is the last that is no output.
            share_pass(subject, [self])
            stored = observed(subject, self, StoredFeatures)
        if not stored.has(layer):
            return _findings(layer, [None] * len(_METRICS), "not_applicable", units)
        returns = torch.from_numpy(subject.column("returns")[stored.rows.numpy()]).double()
        values, status = self.values(stored.matrix(layer), returns)
        return _findings(layer, values, status, units, int(values[-1] or 0))

    def values(
        self, features: Float[Tensor, "sample unit"], returns: Float[Tensor, "sample"]
    ) -> tuple[list[float | int | None], Status]:
        """Returns the values in the order of the metrics, and their status."""
        known = returns.isfinite()
        features, returns = features[known], returns[known]
        speaking = features.any(1)
        silent = 1 - speaking.double().mean().item() if len(features) else None
        used = int(speaking.sum())
        found = aliasing(features[speaking], returns[speaking], self.share) if used >= 2 else None
        if found is None:
            return [None, None, None, silent, used], "degenerate"
        status: Status = "low_sample" if used < LEAST_SAMPLES else "ok"
        return [*found, found[0] - found[1], silent, used], status


_METRICS = ("distant_similarity", "random_similarity", "aliasing_excess", "silent_fraction", "rows_used")


def _last_of_encoder(subject: Subject, layers: Iterable[str]) -> str:
    """Returns the encoder's last layer of some in call order; empty where there is none."""
    return next((each for each in reversed(list(layers)) if subject.modules.module_of(each) == "encoder"), "")


def _findings(layer: str, values: list[float | int | None], status: Status, units: int, samples: int = -1) -> Findings:
    module = "" if layer else "encoder"
    return Findings(
        [
            Finding(Reading(name, value, status), layer, module, units, samples=samples)
            for name, value in zip(_METRICS, values, strict=True)
        ]
    )
