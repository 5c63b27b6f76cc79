"""Spectral norm: the exact one of every weight layer, what power iteration makes of it, and what a convolution's is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.arrays import NDArray
from probe.errors import ConfigurationError
from probe.inputs import input_shapes, module_inputs
from probe.lipschitz import largest_ratio, lipschitz_bound
from probe.operator_norms import circular_norm, convolution_norm, is_convolution, power_estimates
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading, Status, Work, register
from probe.probes.limits import Count, Limits
from probe.probes.rank import effective_rank, rank_tolerance, stable_rank, without_rounding
from probe.subject import Subject
from probe.weights import WeightLayer, weight_layers

_ENCODER = "encoder"
Shape = tuple[int, ...]
"""(channel, *space) or (feature,) of one input."""


def relative_errors(
    matrix: Float[Tensor, "out rest"],
    exact: float,
    starts: Float[Tensor, "out start"],
    least: int,
    limit: int,
    aim: float,
) -> tuple[Float[Tensor, "iteration start"], Float[Tensor, "iteration start"]]:
    """Runs power iteration and returns the estimates and (exact - estimate) / exact after each iteration.

    Runs `least` iterations, then on until every start is within `aim`, at most `limit`.
    """
    estimates: list[Tensor] = []
    for estimate in islice(power_estimates(matrix, starts), limit):
        estimates.append(estimate)
        if len(estimates) >= least and bool((estimate >= (1 - aim) * exact).all()):
            break
    stacked = torch.stack(estimates)
    return stacked, (1 - stacked / exact).clamp(min=0)  # rounding alone can make an estimate too large


def iterations_to(errors: Float[Tensor, "iteration start"], tolerance: float) -> int | None:
    """Returns the iterations after which every start is within the tolerance; None where that does not come."""
    within = (errors <= tolerance).all(dim=1)
    return int(within.to(torch.uint8).argmax()) + 1 if bool(within.any()) else None


@register("spectral-norm", version=1)
@dataclass(frozen=True)
class SpectralNorms(Probe):
    """Largest singular value of each weight, exactly, by power iteration, and as the operator that the layer is.

    Question: how far can a layer stretch its input, and is the estimate that spectral normalisation divides by right?
    Formula: of the weight reshaped to (out, in * kernel), singular values `s_1 >= s_2 >= ...` by float64 SVD; u and v
        are the vectors of power iteration on the stored weight W:
        - `sigma` (gain): `s_1`
        - `gap` (ratio): `s_2 / s_1`; the error of power iteration falls by about its fourth power an iteration
        - `stable_rank` (directions): `sum s^2 / s_1^2`
        - `effective_rank` (directions): `exp(-sum p ln p)`, `p = s / sum s`
        - `condition_number` (ratio): `s_1 / s_r`, s_r the smallest
        - `<metric>_raw` (as there): these five of the stored weight; without the suffix they are of the weight in use,
          which spectral normalisation has divided
        - `stored_sigma` (gain): `u'Wv` of the vectors that spectral normalisation stores
        - `stored_error` (share): `|s_1 - u'Wv| / s_1`
        - `power_error` (share; `report`): largest `(s_1 - |Wv|) / s_1` over the starts after k iterations from random
          vectors; the threshold is k
        - `iterations_to` (iterations; `tolerances`): until every start is within that relative error
        - `operator_norm` (gain): of the layer as it is, for a convolution at its own stride, padding and input size
          (Lanczos on the convolution and its transpose)
        - `circular_norm` (gain): the same on a periodic image, by FFT
        - `lipschitz_bound` (gain): of the encoder, the product of its layers' operator norms; a residual block adds 1,
          an overlapping pooling multiplies by the root of its overlap
        - `lipschitz_observed` (gain): of the encoder, the largest `|phi(x) - phi(y)| / |x - y|` over pairs of
          observations as the encoder gets them, never above the bound
    Axes: one matrix a weight layer, of a recurrent module one for each of its weights, gates one above the other; the
        encoder's two readings are of its module.
    Units: a gain is output over input, both in L2 norm; errors are shares of the exact value.
    Cost: an SVD of each weight, power iteration, and a few hundred convolutions for each convolution's operator norm;
        seconds a checkpoint, and no pass over the observations but for `pairs_among` of them.
    Status: `degenerate` for a zero weight (sigma 0, ratios null), for a singular one's condition number, and where no
        two observations differ; `not_applicable` and null where the smaller side of the matrix is below 2 (gap, ranks,
        condition number), without spectral normalisation (`stored_`), where `limit` iterations do not suffice, for
        `circular_norm` of anything but an ungrouped, undilated 2-d convolution whose stride divides its input, for a
        layer that the forward pass does not reach (`operator_norm`), and for an encoder with a stage of unknown
        Lipschitz constant, such as LayerNorm or a recurrent module; `nonfinite` where the weight is.
    Source: Miyato et al. 2018, arXiv:1802.05957 (reshaped, power iteration); Sedghi, Gupta & Long 2019,
        arXiv:1805.10408 (circular, at stride 1; larger strides through interleaved grids); Gouk et al. 2018,
        arXiv:1804.04368 (products as bounds).
    Do not trust: sigma = 1 as "1-Lipschitz" for a convolution, whose operator norm can be up to `sqrt(ceil(k_h /
        stride) ceil(k_w / stride))` times that of the reshaped kernel; power iteration from a start that is orthogonal
        to the first singular vector. The estimate is never too large, so a weight divided by it has a norm of at least
        1. The bound is usually far above what is observed.
    """

    restarts: Count = 3
    """Random starts of power iteration."""
    iterations: Count = 20
    """Of power iteration from each start, at least."""
    report: Annotated[Sequence[int], Limits(least=1)] = (1, 2, 5, 10, 20)
    """Numbers of iterations k at which the error is reported."""
    tolerances: Annotated[Sequence[float], Limits(above=0, below=1)] = (0.01, 0.001)
    """Relative errors until which iterations are counted."""
    limit: Count = 1000
    """Iterations after which the count is given up."""
    pairs_among: Annotated[int, Limits(least=2)] = 256
    """Observations among which pairs are formed for `lipschitz_observed`."""
    needs = "weights"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses to give up before the iterations that are made in any case."""
        super().__post_init__()
        if self.limit < self.iterations:
            given = f"spectral-norm.limit is {self.limit} and spectral-norm.iterations {self.iterations}"
            raise ConfigurationError(f"{given}; a limit of at least the iterations is expected.")

    def work(self, subject: Subject) -> Work:
        """Returns the decompositions; all power iterations together take about a hundred times as long (conv64)."""
        shapes = [each.matrix(each.raw).shape for each in weight_layers(subject.network())]
        return {"algebra": 100 * sum(max(shape) * min(shape) ** 2 for shape in shapes)}

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of every weight layer and of the encoder, spectra and convergence curves as arrays."""
        network = subject.network().eval()
        layers = weight_layers(network)
        sizes = input_shapes(network, {each.path: each.module for each in layers}, next(subject.batches(1, 1)))
        found: list[Finding] = []
        arrays: Arrays = {}
        norms: dict[nn.Module, float] = {}
        for layer in layers:
            readings, kept = self._of_weights(layer, subject)
            norm = _operator_norm(layer, sizes[layer.path], subject.generator("operator-norm"))
            if norm.value is not None and layer.is_whole_map:
                norms[layer.module] = norm.value
            readings += [norm, _circular_norm(layer, sizes[layer.path])]
            found += [Finding(reading, layer=layer.path, units=layer.units, samples=0) for reading in readings]
            arrays[layer.path] = kept
        pairs = min(self.pairs_among, subject.count)
        for reading in self._of_encoder(network, subject, norms):
            found.append(Finding(reading, module=_ENCODER, samples=pairs if "observed" in reading.metric else 0))
        return Findings(found, arrays)

    def _of_weights(self, layer: WeightLayer, subject: Subject) -> tuple[list[Reading], dict[str, NDArray[np.float64]]]:
        readings: list[Reading] = []
        arrays: dict[str, NDArray[np.float64]] = {}
        for suffix, weight in (("", layer.effective), ("_raw", layer.raw)):
            if not suffix or weight is not layer.effective:
                matrix = layer.matrix(weight)
                spectrum = torch.linalg.svdvals(matrix) if bool(matrix.isfinite().all()) else None
            readings += spectrum_readings(spectrum, (matrix.shape[0], matrix.shape[1]), suffix)
            if spectrum is not None:
                arrays[f"weight_singular_values{suffix}"] = spectrum.numpy()
        exact = None if spectrum is None else spectrum.max().item()
        draws = [torch.randn(len(matrix), generator=subject.generator("power", k)) for k in range(self.restarts)]
        power, curves = self._power(matrix, exact, torch.stack(draws, dim=1).double())
        return [*readings, *_stored(layer), *power], {**arrays, **curves}

    def _power(
        self, matrix: Tensor, exact: float | None, starts: Tensor
    ) -> tuple[list[Reading], dict[str, NDArray[np.float64]]]:
        steps = [k for k in self.report if k <= self.iterations]
        if not exact:
            status: Status = "nonfinite" if exact is None else "degenerate"
            names = [("power_error", step) for step in steps] + [("iterations_to", each) for each in self.tolerances]
            return [Reading(name, None, status, threshold) for name, threshold in names], {}
        aim = min(self.tolerances, default=inf)
        estimates, errors = relative_errors(matrix, exact, starts, self.iterations, self.limit, aim)
        readings = [Reading("power_error", errors[int(k) - 1].max().item(), threshold=k) for k in steps]
        for tolerance in self.tolerances:
            needed = iterations_to(errors, tolerance)
            readings.append(Reading("iterations_to", needed, "ok" if needed else "not_applicable", tolerance))
        return readings, {"power_estimates": estimates[: self.iterations].T.numpy()}

    def _of_encoder(self, network: nn.Module, subject: Subject, norms: dict[nn.Module, float]) -> list[Reading]:
        encoder = dict(network.named_children()).get(_ENCODER)
        if encoder is None:
            return [_missing("lipschitz_bound"), _missing("lipschitz_observed")]
        bound = lipschitz_bound(encoder, norms)
        given = list(module_inputs(network, encoder, subject.batches(samples=self.pairs_among)))
        with torch.no_grad():
            encoder.double()  # so that rounding of close pairs' features is no slope
            outputs = [encoder(rows.double()) for rows in given]
        if not outputs or not all(isinstance(each, Tensor) for each in outputs):
            observed = _missing("lipschitz_observed")
        else:
            observed = _observed(torch.cat(given), torch.cat(outputs))
        return [
            _missing("lipschitz_bound") if bound is None else Reading("lipschitz_bound", bound),
            observed,
        ]


def spectrum_readings(
    spectrum: Float[Tensor, "rank"] | None, shape: tuple[int, int], suffix: str = ""
) -> list[Reading]:
    """Returns what the singular values of a weight of that shape say; None stands for a weight that is not finite."""
    names = ("gap", "stable_rank", "effective_rank", "condition_number")
    if spectrum is None:
        return [Reading(name + suffix, None, "nonfinite") for name in ("sigma", *names)]
    largest = spectrum.max().item()
    state: Status = "degenerate" if largest == 0 else "ok"
    values: list[float | None] = [None] * len(names)
    state_of_ranks: Status = "not_applicable" if min(shape) < 2 else state
    if state_of_ranks == "ok":
        kept = without_rounding(spectrum, rank_tolerance(largest, *shape))
        smallest = kept.min().item()
        condition = largest / smallest if smallest > 0 else None
        values = [spectrum[1].item() / largest, stable_rank(kept), effective_rank(kept), condition]
    ranks = [
        Reading(name + suffix, value, "degenerate" if value is None and state_of_ranks == "ok" else state_of_ranks)
        for name, value in zip(names, values, strict=True)
    ]
    return [Reading(f"sigma{suffix}", largest, state), *ranks]


def _stored(layer: WeightLayer) -> list[Reading]:
    if layer.stored is None:
        return [_missing("stored_sigma"), _missing("stored_error")]
    estimate = layer.stored.sigma
    if not np.isfinite(estimate):
        return [Reading(name, None, "nonfinite") for name in ("stored_sigma", "stored_error")]
    axis = layer.stored.axis
    exact = torch.linalg.matrix_norm(layer.stored.weight.detach().double().movedim(axis, 0).flatten(1), 2).item()
    error = abs(exact - estimate) / exact if exact > 0 else None
    return [
        Reading("stored_sigma", estimate, "ok" if exact > 0 else "degenerate"),
        Reading("stored_error", error, "ok" if error is not None else "degenerate"),
    ]


def _operator_norm(layer: WeightLayer, sizes: set[Shape], generator: torch.Generator) -> Reading:
    if not bool(layer.effective.isfinite().all()):
        return Reading("operator_norm", None, "nonfinite")
    if not sizes:
        return Reading("operator_norm", None, "not_applicable")
    if is_convolution(layer.module):
        norm = max(convolution_norm(layer.module, layer.effective, size, generator) for size in sizes)
    else:
        norm = torch.linalg.matrix_norm(layer.effective.double(), 2).item()
    return Reading("operator_norm", norm, "ok" if norm > 0 else "degenerate")


def _circular_norm(layer: WeightLayer, sizes: set[Shape]) -> Reading:
    module = layer.module
    if not bool(layer.effective.isfinite().all()):
        return Reading("circular_norm", None, "nonfinite")
    plain = isinstance(module, nn.Conv2d) and module.groups == 1 and max(module.dilation) == 1
    norms: list[float | None] = [None]
    if isinstance(module, nn.Conv2d) and plain and sizes:
        stride = (module.stride[0], module.stride[1])
        norms = [circular_norm(layer.effective, (size[1], size[2]), stride) for size in sizes]
    known = [norm for norm in norms if norm is not None]
    return Reading("circular_norm", max(known), "ok") if len(known) == len(norms) else _missing("circular_norm")


def _observed(inputs: Tensor, outputs: Tensor) -> Reading:
    if not bool(outputs.isfinite().all()):
        return Reading("lipschitz_observed", None, "nonfinite")
    ratio = largest_ratio(inputs, outputs)
    return Reading("lipschitz_observed", ratio, "degenerate" if ratio is None else "ok")


def _missing(metric: str) -> Reading:
    return Reading(metric, None, "not_applicable")
