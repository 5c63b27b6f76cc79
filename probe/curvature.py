"""Per-sample gradients as Gram matrices in bounded memory, and the largest eigenvalues of a Hessian by Lanczos."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from probe.outputs import named_outputs

CHUNK_BYTES = 2**28
"""Memory of one chunk of per-sample gradients; two are held at once."""
_COLUMNS = 65_536

Parameters = dict[str, Tensor]
Objective = Callable[[dict[str, Tensor], tuple[Tensor, ...]], Tensor]
"""(outputs of some observations by name, (batch, column); their rows of each column of data) -> (batch,) scalars."""


class _Outputs(nn.Module):
    """A network whose outputs have names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return named_outputs(self.network, batch)


@dataclass(frozen=True)
class Objectives:
    """One scalar function of the parameters for each observation."""

    network: nn.Module
    observations: Tensor
    objective: Objective
    data: tuple[Tensor, ...] = ()
    """Columns of one value an observation, such as actions and returns."""

    @property
    def parameters(self) -> Parameters:
        """The parameters that the objective has gradients to."""
        return {f"network.{k}": each.detach() for k, each in self.network.named_parameters() if each.requires_grad}

    def each(self, parameters: Parameters, rows: slice = slice(None)) -> Float[Tensor, "batch"]:
        """Returns the objective of each of some observations."""
        outputs = functional_call(_Outputs(self.network), parameters, (self.observations[rows],))
        return self.objective(outputs, tuple(each[rows] for each in self.data))

    def mean(self, parameters: Parameters, rows: slice = slice(None)) -> Tensor:
        """Returns the mean objective of some observations."""
        return self.each(parameters, rows).mean()

    def gradients(self, rows: slice) -> Float[Tensor, "batch parameter"]:
        """Returns the gradients of the objectives of some observations, one a row.

        One backward pass an observation: on a CPU vmap's grouped convolutions are several times slower.
        """
        parameters, gradient = self.parameters, grad(self.mean)
        found = []
        for row in range(len(self.observations))[rows]:
            single = gradient(parameters, slice(row, row + 1))
            found.append(torch.cat([each.detach().flatten() for each in single.values()]))
        return torch.stack(found)


def flattened(parameters: Parameters) -> Float[Tensor, "parameter"]:
    """Returns what belongs to all parameters, such as their gradients, as one float64 vector."""
    return torch.cat([each.detach().reshape(-1) for each in parameters.values()]).double()


def shaped(vector: Float[Tensor, "parameter"], parameters: Parameters) -> Parameters:
    """Returns the parts of a flat vector in the shapes and the type of the parameters."""
    sizes = [each.numel() for each in parameters.values()]
    pieces = torch.split(vector.to(next(iter(parameters.values())).dtype), sizes)
    return {name: piece.view(parameters[name].shape) for name, piece in zip(parameters, pieces, strict=True)}


def chunks_of(count: int, size: int = 64) -> list[slice]:
    """Returns which of `count` observations are differentiated at a time."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def gram_of(first: Float[Tensor, "batch parameter"], second: Float[Tensor, "other parameter"]) -> Tensor:
    """Returns first @ second' in float64, (batch, other), without a float64 copy of either."""
    blocks = zip(torch.split(first, _COLUMNS, dim=1), torch.split(second, _COLUMNS, dim=1), strict=True)
    total = torch.zeros(len(first), len(second), dtype=torch.float64)
    for left, right in blocks:
        total += left.double() @ right.double().T
    return total


def gradients_of_gram(count: int, width: int) -> int:
    """Returns how many gradients of `width` parameters `gradient_gram` computes for `count` observations."""
    return sum(count - chunk.start for chunk in _chunks(count, width, CHUNK_BYTES))


def _chunks(count: int, width: int, chunk_bytes: int) -> list[slice]:
    return chunks_of(count, max(1, min(count, chunk_bytes // (4 * max(width, 1)))))


def gradient_gram(objectives: Objectives, chunk_bytes: int = CHUNK_BYTES) -> Float[Tensor, "batch batch"]:
    """Returns G G', G the gradients of all objectives, one a row; rows are computed again instead of kept."""
    count = len(objectives.observations)
    chunks = _chunks(count, sum(each.numel() for each in objectives.parameters.values()), chunk_bytes)
    gram = torch.zeros(count, count, dtype=torch.float64)
    for index, chunk in enumerate(chunks):
        held = objectives.gradients(chunk)
        for other in chunks[index:]:
            block = gram_of(held, held if other is chunk else objectives.gradients(other))
            gram[chunk, other], gram[other, chunk] = block, block.T
    return gram


def lanczos(
    multiply: Callable[[Float[Tensor, "parameter"]], Float[Tensor, "parameter"]],
    size: int,
    iterations: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "value"], Float[Tensor, "value"]]:
    """Returns the Ritz values of a symmetric matrix, descending, and the residual norm of each; none without a product.

    Every Ritz value lies within its residual of an eigenvalue. All directions are kept and made orthogonal twice, so no
    eigenvalue appears again by rounding. From one starting vector, equal eigenvalues appear once.

    Args:
        multiply: The matrix times a float64 vector.
        size: Of the matrix.
        iterations: Products to make at most; fewer where an invariant subspace is found.
        generator: Draws the starting vector.
    """
    products = min(iterations, size)
    if products < 1:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    off: list[float] = []
    while True:
        product = multiply(basis[-1])
        diagonal.append(torch.dot(product, basis[-1]).item())
        scale = product.norm().item()
        for _ in range(2):
            for each in basis:
                product = product - torch.dot(product, each) * each
        off.append(product.norm().item())
        if len(basis) == products or off[-1] <= 1e-10 * max(scale, 1e-300):
            break
        basis.append(product / off[-1])
    between = torch.tensor(off[:-1], dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    tridiagonal += torch.diag(between, 1) + torch.diag(between, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    return values.flip(0), (off[-1] * vectors[-1].abs()).flip(0)


def hessian_product(objectives: Objectives, chunk: int = 64) -> Callable[[Tensor], Tensor]:
    """Returns v -> H v, H the Hessian of the mean objective; v and H v are flat, float64.

    `chunk` observations are differentiated at a time.
    """
    count, parameters = len(objectives.observations), objectives.parameters

    def multiply(vector: Tensor) -> Tensor:
        direction = shaped(vector, parameters)
        total = torch.zeros_like(vector)
        for rows in chunks_of(count, chunk):
            gradient = grad(partial(objectives.mean, rows=rows))
            with _forward_differentiable(objectives.network):
                product = jvp(gradient, (parameters,), (direction,))[1]
            total += flattened(product) * ((rows.stop - rows.start) / count)
        return total

    return multiply


@contextmanager
def _forward_differentiable(network: nn.Module) -> Iterator[None]:
    """Leaves oneDNN out where the network has an LSTM: its fused kernel has no forward derivative."""
    library: Any = torch.backends.mkldnn
    before = library.enabled
    library.enabled = before and not any(isinstance(module, nn.LSTM) for module in network.modules())
    try:
        yield
    finally:
        library.enabled = before
