"""Curvature: how many independent directions the gradients have, and how sharp the loss is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probe.arrays import NDArray
from probe.curvature import Objectives, gradient_gram, gradients_of_gram, hessian_product, lanczos
from probe.objectives import FISHER, NTK, actor_objectives, critic_objectives
from probe.outputs import named_outputs
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading, Work, register
from probe.probes.limits import Count, InnerShare, Limits, NotNegatives
from probe.probes.rank import effective_rank, numeric_rank, srank, without_rounding
from probe.slices import gradient_slice
from probe.subject import Subject

COVARIANCE = "covariance"

Spectra = dict[str, NDArray[np.float64]]
"""Of one module, by name."""


def spectrum_of(gram: Float[Tensor, "batch batch"]) -> Float[Tensor, "batch"]:
    """Returns the eigenvalues of a Gram matrix, descending; those that float32 gradients cannot carry are 0."""
    values = torch.linalg.eigvalsh(gram).flip(0)
    largest = max([0.0, *values[:1].tolist()])  # of no samples at all there is none
    return without_rounding(values, largest * len(values) * torch.finfo(torch.float32).eps)


def condition(spectrum: Float[Tensor, "batch"]) -> float | None:
    """Returns the largest eigenvalue over the smallest above zero; None where all are zero."""
    kept = spectrum[spectrum > 0]
    return (kept.max() / kept.min()).item() if len(kept) else None


def cosines(gram: Float[Tensor, "batch batch"]) -> Float[Tensor, "kept kept"]:
    """Returns C_ij = <g_i, g_j> / (|g_i| |g_j|); samples whose gradient is zero are left out."""
    norms = gram.diagonal().clamp(min=0).sqrt()
    kept = norms > 0
    return gram[kept][:, kept] / (norms[kept][:, None] * norms[kept][None, :])


def off_diagonal_mean(matrix: Float[Tensor, "kept kept"]) -> float | None:
    """Returns the mean of the entries off the diagonal; None below two rows."""
    count = len(matrix)
    return ((matrix.sum() - matrix.trace()) / (count * (count - 1))).item() if count > 1 else None


@register("curvature", version=3)
@dataclass(frozen=True)
class Curvature(Probe):
    """Ranks of the tangent kernel, the empirical Fisher and the gradients' cosines, and how the loss curves and falls.

    Question: can the parameters still move the outputs of different observations in different directions?
    Formula: J has one row an observation: the gradient, with regard to all parameters, of V(s) (module critic) or of
        the stored action's logit (actor). G has the gradients of the offline losses: `(V(s) - return)^2`, and `-log
        pi(action)` times the standardised return. `<kernel>` is `ntk`, of `K = J J'`, `fisher`, of `G G' / N`, or
        `covariance`, of `C_ij = <g_i, g_j> / (|g_i| |g_j|)`, g_i the rows of G that are not zero:
        - `<kernel>_effective_rank` (directions): `exp(-sum p ln p)`, p the eigenvalues over their sum
        - `<kernel>_srank` (directions; `delta`): least number of eigenvalues that hold `1 - delta` of their sum
        - `<kernel>_numeric_rank` (directions): eigenvalues above rounding, which is `largest N eps`, eps that of
          float32
        - `<kernel>_condition` (ratio): largest over smallest of those above rounding
        - `gradient_cosine` (cosine): mean of C over pairs, `i != j`
        - `zero_gradients` (observations): rows of G that are zero and so have no cosine
        - `hessian_eigenvalue_<k>` (loss per squared weight): k-th largest eigenvalue of the mean loss's Hessian, by
          Lanczos
        - `hessian_smallest` (loss per squared weight): the smallest one
        - `hessian_residual_<k>` (loss per squared weight): an eigenvalue lies within this distance of the k-th, or of
          the `smallest`
        - `gradient_curvature` (loss per squared weight): `g' H g / |g|^2`, g the gradient of the mean loss, H its
          Hessian
        - `slice_decrease` (share of the loss): `(L(0) - min_d L(d)) / mean_i |l_i(0)|`, L(d) the mean of the losses l_i
          at the parameters less `d g / |g|`; d is 0, or plus or minus one of `slice_steps` times their norm
    Axes: up to `samples` observations spread over the set; the losses take those that have a return. Arrays, by module:
        `<kernel>_eigenvalues`, descending; `hessian_eigenvalues`, all that Lanczos found, and `hessian_residuals`;
        `slice_distances`, the d in ascending order, and `slice_losses`, L(d).
    Units: ranks are at most the number N of observations, those of C N less `zero_gradients`; cosines in [-1, 1].
    Cost: several backward passes an observation and output, two passes over `samples` an iteration, and a forward pass
        a step of the slice; two chunks of 256 MiB of gradients are held.
    Status: `not_applicable` and null without returns, outputs called actor and critic or fitting actions; `degenerate`
        where all gradients are zero: srank and numeric rank 0, the others null; likewise the slice and the curvature
        along it, null where the mean gradient is no longer than rounding; `nonfinite` and null where one is.
    Source: Lyle et al. 2023, arXiv:2303.01486 (gradient covariance); Lewandowski et al. 2024, arXiv:2312.00246 (rank of
        the Hessian through per-sample gradients).
    Do not trust: ranks at unequal N; the Fisher of a loss near zero, whose gradients are mostly noise: the tangent
        kernel does not depend on the loss. The Hessian of a ReLU network leaves out its kinks; the slice has them. A
        small `slice_decrease` is that of a good fit, of a sharp loss and of a lost network alike.
    """

    samples: Count = 256
    """Observations, spread over the set: N."""
    delta: InnerShare = 0.01
    """Share of the eigenvalues' sum that srank may leave out."""
    iterations: Count = 16
    """Of Lanczos, each a Hessian-vector product."""
    eigenvalues: Annotated[int, Limits(least=0)] = 5
    """Largest Hessian eigenvalues to report."""
    slice_steps: NotNegatives = (0.001, 0.01, 0.1)
    """Steps of the loss's slice, each taken with the gradient and against it: shares of the norm of all parameters."""
    needs = "network"
    cost = "costly"

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of both outputs, and the spectra behind them as arrays."""
        network = subject.network()
        observations = torch.cat(list(subject.batches(64, self.samples)))
        with torch.no_grad():
            shapes = {name: output.shape for name, output in named_outputs(network, observations[:1]).items()}
        made = {
            name: objectives(subject, network, observations, shapes[name][1]) if name in shapes else {}
            for name, objectives in (("critic", critic_objectives), ("actor", actor_objectives))
        }
        found: list[Finding] = []
        arrays: Arrays = {}
        for module, by_kind in made.items():
            spectra: Spectra = {}
            for kind in (NTK, FISHER):
                generator = subject.generator(f"curvature/{module}")
                readings = self._readings(kind, by_kind.get(kind), generator, spectra)
                samples = len(by_kind[kind].observations) if kind in by_kind else 0
                found += [Finding(each, module=module, samples=samples) for each in readings]
            if spectra:
                arrays[module] = spectra
        return Findings(found, arrays)

    def work(self, subject: Subject) -> Work:
        """Returns gradients, whose products cost twice as much again, Hessian products at four passes, and a slice."""
        count = min(self.samples, subject.count)
        width = sum(each.numel() for each in subject.network().parameters())
        passes = 4 * 2 * (self.iterations + 1) * count
        sliced = 2 * (2 * len(self.slice_steps) + 1) * count
        return {
            "single": 3 * 4 * gradients_of_gram(count, width),
            "forward": passes + sliced,
            "backward": passes,
        }

    def _readings(
        self, kind: str, objectives: Objectives | None, generator: torch.Generator, spectra: Spectra
    ) -> Iterator[Reading]:
        """Yields the readings of one kernel, and of its loss's Hessian; keeps the spectra."""
        kernels = (FISHER, COVARIANCE) if kind == FISHER else (kind,)
        gram = None if objectives is None else gradient_gram(objectives)
        if objectives is None or gram is None or not bool(gram.isfinite().all()):
            for kernel in kernels:
                yield Reading(f"{kernel}_effective_rank", None, "not_applicable" if gram is None else "nonfinite")
            return
        if kind == NTK:
            yield from self._ranks(kind, gram, spectra)
            return
        yield from self._ranks(FISHER, gram / len(gram), spectra)
        matrix = cosines(gram)
        yield from self._ranks(COVARIANCE, matrix, spectra)
        yield from _agreement(matrix, len(gram))
        yield from self._sharpness(objectives, generator, spectra)
        least = gram.diagonal().mean().sqrt().item() * torch.finfo(torch.float32).eps
        yield from self._along_gradient(objectives, least, spectra)

    def _ranks(self, prefix: str, kernel: Float[Tensor, "batch batch"], spectra: Spectra) -> Iterator[Reading]:
        spectrum = spectrum_of(kernel)
        spectra[f"{prefix}_eigenvalues"] = spectrum.numpy()
        silent = not bool(spectrum.any())
        values: dict[str, tuple[float | None, float | None]] = {
            "effective_rank": (effective_rank(spectrum), None),
            "srank": (srank(spectrum, self.delta), self.delta),
            "numeric_rank": (numeric_rank(spectrum), None),
            "condition": (condition(spectrum), None),
        }
        for name, (value, threshold) in values.items():
            yield Reading(f"{prefix}_{name}", value, "degenerate" if silent else "ok", threshold)

    def _sharpness(self, objectives: Objectives, generator: torch.Generator, spectra: Spectra) -> Iterator[Reading]:
        size = sum(each.numel() for each in objectives.parameters.values())
        values, residuals = lanczos(hessian_product(objectives), size, self.iterations, generator)
        spectra["hessian_eigenvalues"], spectra["hessian_residuals"] = values.numpy(), residuals.numpy()
        pairs = list(zip(values.tolist(), residuals.tolist(), strict=True))
        named = {str(index): pair for index, pair in enumerate(pairs[: self.eigenvalues], start=1)}
        for name, (value, residual) in named.items():
            yield Reading(f"hessian_eigenvalue_{name}", value)
            yield Reading(f"hessian_residual_{name}", residual)
        yield Reading("hessian_smallest", pairs[-1][0])
        yield Reading("hessian_residual_smallest", pairs[-1][1])

    def _along_gradient(self, objectives: Objectives, least: float, spectra: Spectra) -> Iterator[Reading]:
        found = gradient_slice(objectives, self.slice_steps, least)
        values: dict[str, float | None] = {"gradient_curvature": None, "slice_decrease": None}
        if found is not None:
            spectra["slice_distances"], spectra["slice_losses"] = found.distances.numpy(), found.means.numpy()
            values = {"gradient_curvature": found.curvature, "slice_decrease": found.decrease}
        for name, value in values.items():
            if value is not None and not np.isfinite(value):
                yield Reading(name, None, "nonfinite")
            else:
                yield Reading(name, value, "degenerate" if value is None else "ok")


def _agreement(matrix: Float[Tensor, "kept kept"], samples: int) -> Iterator[Reading]:
    mean = off_diagonal_mean(matrix)
    yield Reading("gradient_cosine", mean, "degenerate" if mean is None else "ok")
    yield Reading("zero_gradients", samples - len(matrix))
