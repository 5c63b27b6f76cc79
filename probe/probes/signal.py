"""Signal: which of a layer's directions would come back on other observations, and which are noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probe.errors import ConfigurationError, UnknownNameError
from probe.features import has_row_per_observation, layer_features
from probe.passes import Observer, observed, share_pass
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading, Status, Work, register
from probe.probes.limits import Count, InnerShare, Limits, Share
from probe.probes.rank import SAMPLES_PER_UNIT, rank_tolerance
from probe.statistics.permutation import centred, deflated_rank, leading_count, null_spectrum, surviving
from probe.statistics.rows import DEPENDENT, halves_by_group, row_autocorrelation, rows_apart
from probe.stored import StoredFeatures
from probe.subject import Subject

LEAST_TAIL = 5
"""Singular values below which no slope is fitted."""


def principal_directions(features: Float[Tensor, "sample unit"]) -> Float[Tensor, "direction unit"]:
    """Returns the right singular vectors of the centred features, by descending singular value, rounding left out."""
    values: Tensor
    directions: Tensor
    _, values, directions = torch.linalg.svd(centred(features), full_matrices=False)
    return directions[values > rank_tolerance(_largest(features), *features.shape)]


def direction_cosines(
    first: Float[Tensor, "direction unit"], second: Float[Tensor, "other unit"]
) -> Float[Tensor, "shared"]:
    """Returns |cosine| between the directions of equal index."""
    shared = min(len(first), len(second))
    return (first[:shared] * second[:shared]).sum(1).abs()


def subspace_overlap(
    first: Float[Tensor, "direction unit"], second: Float[Tensor, "other unit"], k: int
) -> float | None:
    """Returns the mean squared cosine of the principal angles of the two leading k-dimensional subspaces.

    1: the same subspace. Chance gives k / units. None where a side has fewer than k directions.
    """
    if k < 1 or min(len(first), len(second)) < k:
        return None
    return (first[:k] @ second[:k].T).square().sum().item() / k


def tail_slope(spectrum: Float[Tensor, "rank"], start: float, stop: float) -> tuple[float, float] | None:
    """Fits ln s_i = a + b ln i by least squares over the indices from start * r to stop * r of r values.

    Returns:
        (b, R^2), or None where fewer than 5 indices are left. R^2 is 1 for a spectrum that is flat there.
    """
    indices = torch.arange(1, len(spectrum) + 1, dtype=torch.float64)
    inside = (indices >= start * len(spectrum)) & (indices <= stop * len(spectrum))
    if int(inside.sum()) < LEAST_TAIL:
        return None
    x, y = centred(indices[inside].log()[:, None])[:, 0], centred(spectrum[inside].log()[:, None])[:, 0]
    slope = (x @ y / (x @ x)).item()
    rest, spread = (y - slope * x).square().sum().item(), (y @ y).item()
    # Of a flat spectrum both are rounding.
    return slope, 1 - rest / spread if spread > len(y) * torch.finfo(y.dtype).eps else 1.0


def beyond_chance(overlap: float | None, k: int, dimensions: int) -> float | None:
    """Returns (overlap - c) / (1 - c), c = k / dimensions: 0 is what chance gives, 1 the same subspace."""
    return None if overlap is None or k >= dimensions else (overlap - k / dimensions) / (1 - k / dimensions)


@register("signal", version=2)
@dataclass(frozen=True)
class Signal(Probe):
    """How much of a layer's spectrum is signal: directions that reproduce, the rank above a null, the tail's slope.

    Question: is a high rank signal or noise, and a low one an illness or a compact code?
    Formula: of the features of at most `rows` observations, every `spacing`-th of an episode's or fewer, less their
        column means: singular values s_i. The null is the `quantile`, at the same index, of the spectra of matrices
        whose columns were permuted independently. Of two halves of the rows, each episode whole in one, the right
        singular vectors u_i and v_i:
        - `rank_above_null` (directions; `quantile`): `#{s_i > null_i}`
        - `deflated_rank_above_null` (directions; `quantile`): those before the first that is not above, then again for
          what is left without them, until none is added: strong directions raise the null above weak ones
        - `subspace_overlap` (share; `directions`): `|U_k V_k'|^2 / k` of the first k directions
        - `direction_cosine` (cosine; `directions`): mean of `|u_i . v_i|` over `i <= k`
        - `surviving_overlap` (index): `(o - c) / (1 - c)`, o the overlap at `k = deflated_rank_above_null` and `c = k /
          numeric rank` its chance
        - `tail_slope` (log per log): b of the least-squares fit `ln s_i = a + b ln i` over the middle of the spectrum,
          `tail_start` to `tail_stop` of the numeric rank
        - `tail_fit` (share): R^2 of that fit
        - `row_autocorrelation` (correlation): of consecutive rows of an episode, of those that are used
        - `rows_used` (observations): the rows
    Axes: samples by units; a convolution's features are the means over positions. The array `signal_spectrum` holds
        s_i, `signal_null` the null, `signal_cosines` |u_i . v_i|.
    Units: overlaps and cosines in [0, 1], where chance gives an overlap of k / numeric rank; `surviving_overlap` at
        most 1, where chance gives 0; a slope of 0 is a flat spectrum, -1 one in which s_i falls like 1 / i.
    Cost: the forward pass that probes of a checkpoint share, the features of at most `rows` observations held in
        memory, and a few times `permutations` singular value decompositions of a matrix of that size, each layer.
    Status: null and `low_sample` below a row a unit (for the halves: in either), a value and `low_sample` below ten; a
        value and `low_sample`, for the readings of the null, also where `row_autocorrelation` is above 0.2 or below
        -0.2: the rows are not independent; null and `degenerate` where nothing varies, for `surviving_overlap` also
        where nothing or everything survives; null and `not_applicable` with one episode (halves), fewer than 5 tail
        values, fewer than k directions, above `widest` units, and for recurrent layers with several time steps an
        observation; null and `nonfinite` on NaN or infinity.
    Source: parallel analysis, Horn 1965, doi:10.1007/BF02289447, by permutation, Buja & Eyuboglu 1992,
        doi:10.1207/s15327906mbr2704_2, with deflation, Dobriban & Owen 2019, doi:10.1111/rssb.12301; power law of
        spectra, Stringer et al. 2019, doi:10.1038/s41586-019-1346-5.
    Do not trust: the null where `row_autocorrelation` is high, rows then count for fewer than they are and too much
        survives: give a larger `spacing`, and a larger set; the null of a set that does not say where its episodes
        begin, which is taken to be one; the plain `rank_above_null`, of which a twentieth of the units is chance;
        single cosines of directions with nearly equal singular values, which mix freely (the subspace does not).
    """

    needs = "network"
    cost = "costly"

    rows: Count = 10_000
    """Most observations."""
    spacing: Count = 4
    """Every so many-th observation of an episode is used: neighbours are alike, and the null takes them to be not."""
    permutations: Count = 20
    """Permuted matrices behind the null."""
    quantile: InnerShare = 0.95
    """Of their singular values at an index, above which one is signal."""
    directions: Annotated[Sequence[int], Limits(least=1)] = (1, 5, 10)
    """Values of k."""
    tail_start: Annotated[float, Limits(least=0, below=1)] = 0.1
    """Where the fit of the tail begins, as a share of the numeric rank."""
    tail_stop: Share = 0.9
    """Where it ends."""
    widest: Count = 1024
    """Units above which a layer is left out."""

    def __post_init__(self) -> None:
        """Refuses a tail that ends where it begins."""
        super().__post_init__()
        if not self.tail_start < self.tail_stop:
            given = f"signal.tail_start is {self.tail_start} and signal.tail_stop {self.tail_stop}"
            raise ConfigurationError(f"{given}; a start below the stop is expected.")

    def work(self, subject: Subject) -> Work:
        """Returns the pass, and the decompositions: deflation takes about nine nulls more than the first (conv64)."""
        rows = min(self.rows, -(-subject.count // self.spacing))
        squares = sum(units**2 for units in _widths(subject) if units <= self.widest)
        return {"forward": subject.count, "algebra": 10 * self.permutations * rows * squares}

    def observer(self, subject: Subject) -> Observer:
        """Keeps the features of the chosen rows; of all layers, before it is known which can be read."""
        chosen = self._readable(subject) if subject.statistics else None
        rows = rows_apart(_episodes(subject), self.spacing, self.rows)
        return StoredFeatures(
            rows, self.widest, lambda found: found.keys() if chosen is None else chosen & found.keys()
        )

    @torch.no_grad()
    def measure(self, subject: Subject) -> Findings:
        """Returns the readings and spectra of every layer."""
        chosen = self._readable(subject)
        stored = observed(subject, self, StoredFeatures)
        if not all(map(stored.has, chosen)):
            # Only after the pass it is known which layers can be read.
            share_pass(subject, [self])
            stored = observed(subject, self, StoredFeatures)
        groups = _episodes(subject)[stored.rows]
        first = halves_by_group(groups, subject.generator("signal-halves"))
        found: list[Finding] = []
        arrays: Arrays = {}
        for layer, statistics in subject.statistics.items():
            if layer in chosen and stored.has(layer):
                generator = subject.generator("signal-null")
                readings, arrays[layer] = self.read(stored.matrix(layer), groups, first, generator)
            else:
                status: Status = "not_applicable" if statistics.finite else "nonfinite"
                readings = [Reading(metric, None, status) for metric in _METRICS]
            found += [Finding(reading, layer, units=statistics.units, samples=len(groups)) for reading in readings]
        return Findings(found, arrays)

    def _readable(self, subject: Subject) -> set[str]:
        return {
            layer
            for layer, each in subject.statistics.items()
            if each.finite and each.units <= self.widest and has_row_per_observation(subject, layer)
        }

    def read(
        self,
        features: Float[Tensor, "sample unit"],
        groups: Int[Tensor, "sample"],
        first: Bool[Tensor, "sample"] | None,
        generator: torch.Generator,
    ) -> tuple[list[Reading], dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]:
        """Returns one layer's readings and arrays; `first` says which rows are the first half."""
        (samples, units), tolerance = features.shape, rank_tolerance(_largest(features), *features.shape)
        spectrum = torch.linalg.svdvals(centred(features))
        used = Reading("rows_used", samples)
        if samples < units or not bool((spectrum > tolerance).any()):
            bad: Status = "low_sample" if samples < units else "degenerate"
            return [*(Reading(metric, None, bad) for metric in _METRICS[:-1]), used], {}
        status: Status = "low_sample" if samples < SAMPLES_PER_UNIT * units else "ok"
        null = null_spectrum(features, self.permutations, self.quantile, generator)
        above = surviving(spectrum, null, tolerance)
        settings = (tolerance, self.permutations, self.quantile, generator)
        kept = deflated_rank(features, leading_count(above), *settings)
        halves, cosines = self._halves(features, first, kept, int((spectrum > tolerance).sum()))
        correlation = row_autocorrelation(features, groups)
        readings = [
            Reading("rank_above_null", int(above.sum()), status, self.quantile),
            Reading("deflated_rank_above_null", kept, status, self.quantile),
            *halves,
            *self._tail(spectrum[spectrum > tolerance], status),
            _optional("row_autocorrelation", correlation, status),
            used,
        ]
        if correlation is not None and abs(correlation) > DEPENDENT:
            readings = [_of_fewer_rows(each) for each in readings]
        named = {"signal_spectrum": spectrum, "signal_null": null, "signal_cosines": cosines}
        return readings, {name: values.numpy() for name, values in named.items()}

    def _halves(
        self, features: Tensor, first: Tensor | None, rank: int, dimensions: int
    ) -> tuple[list[Reading], Tensor]:
        """Returns what two halves have in common, and the cosine of each direction."""
        rows = 0 if first is None else int(torch.minimum(first.sum(), (~first).sum()))
        units = features.shape[1]
        if first is None or rows < units:
            status: Status = "not_applicable" if first is None else "low_sample"
            return [
                *(Reading(name, None, status, float(k)) for k in self.directions for name in _BY_DIRECTIONS),
                Reading("surviving_overlap", None, status),
            ], torch.zeros(0, dtype=torch.float64)
        status = "low_sample" if rows < SAMPLES_PER_UNIT * units else "ok"
        one, other = principal_directions(features[first]), principal_directions(features[~first])
        cosines = direction_cosines(one, other)
        readings = []
        for k in self.directions:
            mean = cosines[: int(k)].mean().item() if len(cosines) >= k else None
            overlap = subspace_overlap(one, other, int(k))
            readings += [
                _optional("subspace_overlap", overlap, status, float(k)),
                _optional("direction_cosine", mean, status, float(k)),
            ]
        overlap = beyond_chance(subspace_overlap(one, other, rank), rank, dimensions)
        survived: Status = "degenerate" if overlap is None else status
        return [*readings, Reading("surviving_overlap", overlap, survived)], cosines

    def _tail(self, spectrum: Tensor, status: Status) -> list[Reading]:
        slope, fit = tail_slope(spectrum, self.tail_start, self.tail_stop) or (None, None)
        return [_optional("tail_slope", slope, status), _optional("tail_fit", fit, status)]


_BY_DIRECTIONS = ("subspace_overlap", "direction_cosine")
_METRICS = (
    *("rank_above_null", "deflated_rank_above_null", *_BY_DIRECTIONS, "surviving_overlap"),
    *("tail_slope", "tail_fit", "row_autocorrelation", "rows_used"),
)


_OF_NULL = ("rank_above_null", "deflated_rank_above_null", "surviving_overlap")


def _of_fewer_rows(reading: Reading) -> Reading:
    """Returns a reading with the status of rows that count for fewer than they are, where it hangs on the null."""
    return replace(reading, status="low_sample") if reading.metric in _OF_NULL and reading.status == "ok" else reading


def _episodes(subject: Subject) -> Int[Tensor, "sample"]:
    """Returns each observation's episode; one for all where the set does not say."""
    try:
        episodes = subject.column("episodes")
    except UnknownNameError:
        episodes = np.zeros(subject.count)
    return torch.from_numpy(episodes.astype(np.int64))


@torch.no_grad()
def _widths(subject: Subject) -> list[int]:
    """Returns the units of each layer, of a checkpoint without statistics from one observation."""
    if subject.statistics:
        return [each.units for each in subject.statistics.values()]
    found = layer_features(subject.network(), next(subject.batches(1, 1)), activations=subject.activations)
    return [features.shape[1] for features in found.values()]


def _largest(features: Tensor) -> float:
    """Returns the Frobenius norm, which no singular value exceeds: the scale of rounding before centring."""
    return features.square().sum().sqrt().item()


def _optional(metric: str, value: float | None, status: Status, threshold: float | None = None) -> Reading:
    return Reading(metric, value, "not_applicable" if value is None else status, threshold)
