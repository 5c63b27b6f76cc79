"""Parallel analysis: which singular values a matrix owes to what its columns share."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def centred(features: Float[Tensor, "sample unit"]) -> Float[Tensor, "sample unit"]:
    """Returns the features less their column means."""
    return features - features.mean(0)


def permuted(features: Float[Tensor, "sample unit"], generator: torch.Generator) -> Float[Tensor, "sample unit"]:
    """Returns the features with every column in a random order of its own."""
    return torch.stack(
        [column[torch.randperm(len(column), generator=generator)] for column in features.T.contiguous()]
    ).T


def null_spectrum(
    features: Float[Tensor, "sample unit"], permutations: int, quantile: float, generator: torch.Generator
) -> Float[Tensor, "rank"]:
    """Returns, at each index, a quantile of the centred singular values under independent permutation of the columns.

    Permuted columns keep their distributions and lose what they share.
    """
    matrix = centred(features)
    spectra = [torch.linalg.svdvals(permuted(matrix, generator)) for _ in range(permutations)]
    return torch.stack(spectra).quantile(quantile, dim=0)


def surviving(spectrum: Float[Tensor, "rank"], null: Float[Tensor, "rank"], tolerance: float) -> Bool[Tensor, "rank"]:
    """Returns which singular values lie above the null at the same index, and above rounding."""
    # Of one column a permutation changes nothing but the order of a sum.
    return (spectrum > null * (1 + 1e-9)) & (spectrum > tolerance)


def leading_count(mask: Bool[Tensor, "rank"]) -> int:
    """Returns how many entries are true before the first that is not."""
    return int(mask.long().cumprod(0).sum())


def deflated_rank(
    features: Float[Tensor, "sample unit"],
    leading: int,
    tolerance: float,
    permutations: int,
    quantile: float,
    generator: torch.Generator,
) -> int:
    """Returns the number of leading directions above the null, once the strong no longer hide the weak.

    A permutation spreads a strong direction's energy over the whole null, above weak directions that are as real. So
    those found are taken out and the rest is tested by itself, until nothing is added (deflation: Dobriban & Owen 2019,
    doi:10.1111/rssb.12301). Noise has a dimension for each of the n columns that vary, and its permutations too; what
    is left of it after k directions has n - k, so the null is scaled by sqrt(n / (n - k)): the same energy a dimension.

    Args:
        features: A row a sample.
        leading: Directions above the null with nothing taken out.
        tolerance: Singular value up to which a direction is rounding.
        permutations: Draws of each null.
        quantile: Of the null at each index.
        generator: Draws the permutations.
    """
    matrix = centred(features)
    left, spectrum, right = torch.linalg.svd(matrix, full_matrices=False)
    usable = int((spectrum > tolerance).sum())
    varying = min(int((torch.linalg.vector_norm(matrix, dim=0) > tolerance).sum()), len(matrix) - 1)
    rank, gained = leading, leading
    while gained and rank < min(usable, varying):
        rest = (left[:, rank:] * spectrum[rank:]) @ right[rank:]
        null = null_spectrum(rest, permutations, quantile, generator)[: len(spectrum) - rank]
        gained = leading_count(surviving(spectrum[rank:], null * (varying / (varying - rank)) ** 0.5, tolerance))
        rank += gained
    return rank
