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
from probe.outputs import discrete, named_outputs
from probe.policies import log_probabilities
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading, Work, register
from probe.probes.limits import Count, InnerShare, Limits
from probe.probes.rank import effective_rank, numeric_rank, srank, without_rounding
from probe.regression import standardised
from probe.subject import Subject

NTK, FISHER = "ntk", "fisher"

Spectra = dict[str, NDArray[np.float64]]
"""Of one module, by name."""


def spectrum_of(gram: Float[Tensor, "batch batch"]) -> Float[Tensor, "batch"]:
    """Returns the eigenvalues of a Gram matrix, descending; those that float32 gradients cannot carry are 0."""
    values = torch.linalg.eigvalsh(gram).flip(0)
    largest = values[0].clamp(min=0).item()
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


@register("curvature", version=2)
@dataclass(frozen=True)
class Curvature(Probe):
    """Ranks of the tangent kernel and of the empirical Fisher, agreement of gradients, and the sharpest curvature.

    Question: can the parameters still move the outputs of different observations in different directions?
    Formula: J has one row an observation: the gradient, with regard to all parameters, of V(s) (module critic) or of
        the stored action's logit (actor). G has the gradients of the offline losses: `(V(s) - return)^2`, and `-log
        pi(action)` times the standardised return. `<kernel>` is `ntk`, of `K = J J'`, or `fisher`, of `G G' / N`:
        - `<kernel>_effective_rank` (directions): `exp(-sum p ln p)`, p the eigenvalues over their sum
        - `<kernel>_srank` (directions; `delta`): least number of eigenvalues that hold `1 - delta` of their sum
        - `<kernel>_numeric_rank` (directions): eigenvalues above rounding, which is `largest N eps`, eps that of
          float32
        - `<kernel>_condition` (ratio): largest over smallest of those above rounding
        - `gradient_cosine` (cosine): mean over pairs of `<g_i, g_j> / (|g_i| |g_j|)`, g_i the rows of G
        - `zero_gradients` (observations): rows of G that are zero and so have no cosine
        - `hessian_eigenvalue_<k>` (loss per squared weight): k-th largest eigenvalue of the mean loss's Hessian, by
          Lanczos
        - `hessian_smallest` (loss per squared weight): the smallest one
        - `hessian_residual_<k>` (loss per squared weight): an eigenvalue lies within this distance of the k-th, or of
          the `smallest`
    Axes: up to `samples` observations spread over the set; the losses take those that have a return. Arrays, by module:
        `<kernel>_eigenvalues`, descending; `hessian_eigenvalues`, all that Lanczos found, and `hessian_residuals`.
    Units: ranks are at most the number N of observations; cosines in [-1, 1].
    Cost: several backward passes an observation and output, two passes over `samples` an iteration; two chunks of 256
        MiB of gradients are held.
    Status: `not_applicable` and null without returns, outputs called actor and critic or fitting actions; `degenerate`
        where all gradients are zero: srank and numeric rank 0, the others null; `nonfinite` and null where one is.
    Source: Lyle et al. 2023, arXiv:2303.01486 (gradient covariance); Lewandowski et al. 2024, arXiv:2312.00246 (rank of
        the Hessian through per-sample gradients).
    Do not trust: ranks at unequal N; the Fisher of a loss near zero, whose gradients are mostly noise: the tangent
        kernel does not depend on the loss. The Hessian of a ReLU network leaves out its kinks.
    """

    samples: Count = 256
    """Observations, spread over the set: N."""
    delta: InnerShare = 0.01
    """Share of the eigenvalues' sum that srank may leave out."""
    iterations: Count = 16
    """Of Lanczos, each a Hessian-vector product."""
    eigenvalues: Annotated[int, Limits(least=0)] = 5
    """Largest Hessian eigenvalues to report."""
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
            for name, objectives in (("critic", _critic_objectives), ("actor", _actor_objectives))
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
        """Returns the gradients, whose products cost twice as much again, and the Hessian's, at four passes each."""
        count = min(self.samples, subject.count)
        width = sum(each.numel() for each in subject.network().parameters())
        passes = 2 * self.iterations * count
        return {"single": 3 * 4 * gradients_of_gram(count, width), "forward": 4 * passes, "backward": 4 * passes}

    def _readings(
        self, kind: str, objectives: Objectives | None, generator: torch.Generator, spectra: Spectra
    ) -> Iterator[Reading]:
        """Yields the readings of one kernel, and of its loss's Hessian; keeps the spectra."""
        if objectives is None:
            yield Reading(f"{kind}_effective_rank", None, "not_applicable")
            return
        gram = gradient_gram(objectives)
        if not bool(gram.isfinite().all()):
            yield Reading(f"{kind}_effective_rank", None, "nonfinite")
            return
        spectrum = spectrum_of(gram / (len(gram) if kind == FISHER else 1))
        spectra[f"{kind}_eigenvalues"] = spectrum.numpy()
        yield from self._ranks(kind, spectrum)
        if kind == FISHER:
            yield from _agreement(gram)
            yield from self._sharpness(objectives, generator, spectra)

    def _ranks(self, prefix: str, spectrum: Float[Tensor, "batch"]) -> Iterator[Reading]:
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


def _agreement(gram: Float[Tensor, "batch batch"]) -> Iterator[Reading]:
    matrix = cosines(gram)
    mean = off_diagonal_mean(matrix)
    yield Reading("gradient_cosine", mean, "degenerate" if mean is None else "ok")
    yield Reading("zero_gradients", len(gram) - len(matrix))


def _critic_objectives(
    subject: Subject, network: torch.nn.Module, observations: Tensor, width: int
) -> dict[str, Objectives]:
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


def _actor_objectives(
    subject: Subject, network: torch.nn.Module, observations: Tensor, columns: int
) -> dict[str, Objectives]:
    actions = _columns(subject, len(observations), columns)
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
