"""Gram matrices of gradients and Lanczos: known answers, autograd's second opinion, any chunk size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.curvature import Objectives, gradient_gram, hessian_product, lanczos
from probe.probes.curvature import condition, cosines, off_diagonal_mean, spectrum_of
from probe.probes.rank import effective_rank, srank

KNOWN = torch.tensor([[1.0, 0.0], [0.0, 2.0]])


def linear(observations: Tensor, square: bool) -> Objectives:
    """f = w x; the objective is f, or 1/2 (f - 0)^2."""
    network = nn.Linear(observations.shape[1], 1, bias=False)

    def objective(outputs: dict[str, Tensor], data: tuple[Tensor, ...]) -> Tensor:
        value = outputs["output"].squeeze(1)
        return value.square() / 2 if square else value

    return Objectives(network, observations, objective)


def deep(count: int) -> Objectives:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
        observations = torch.randn(count, 3)
    return Objectives(network, observations, lambda outputs, _: (outputs["output"].squeeze(1) - 1).square())


def test_the_known_tangent_kernel() -> None:
    gram = gradient_gram(linear(KNOWN, square=False))
    assert gram.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    spectrum = spectrum_of(gram)
    assert effective_rank(spectrum) == pytest.approx(1.649385, abs=1e-6)
    assert (condition(spectrum), srank(spectrum, 0.01)) == (4.0, 2)


def test_the_known_hessian() -> None:
    objectives = linear(KNOWN, square=True)
    multiply = hessian_product(objectives)
    hessian = torch.stack([multiply(each) for each in torch.eye(2, dtype=torch.float64)])
    assert hessian.tolist() == [[0.5, 0.0], [0.0, 2.0]]
    values, residuals = lanczos(multiply, 2, 10, torch.Generator().manual_seed(0))
    assert values.tolist() == pytest.approx([2.0, 0.5]) and float(residuals.max()) < 1e-6
    assert effective_rank(values) == pytest.approx(1.649385, abs=1e-6) and srank(values, 0.01) == 2


@pytest.mark.parametrize(("size", "iterations"), [(2, 0), (2, -1), (0, 5)])
def test_lanczos_without_a_product_ends_and_finds_nothing(size: int, iterations: int) -> None:
    def never(_: Tensor) -> Tensor:
        raise AssertionError("a product is made")

    values, residuals = lanczos(never, size, iterations, torch.Generator().manual_seed(0))
    assert (len(values), len(residuals)) == (0, 0)


def test_the_known_cosines() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    matrix = cosines(gradients @ gradients.T)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert torch.linalg.eigvalsh(matrix).tolist() == pytest.approx([0, 1, 2], abs=1e-12)
    assert off_diagonal_mean(matrix) == pytest.approx(1 / 3)


def test_cosines_do_not_depend_on_the_gradients_lengths() -> None:
    gradients = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = gradients * torch.arange(1.0, 7.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(cosines(scaled @ scaled.T), cosines(gradients @ gradients.T))


def test_without_gradients_there_is_nothing_to_compare() -> None:
    assert cosines(torch.zeros(3, 3, dtype=torch.float64)).shape == (0, 0)
    assert off_diagonal_mean(torch.ones(1, 1)) is None
    assert condition(spectrum_of(torch.zeros(3, 3, dtype=torch.float64))) is None


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 12))
def test_the_gram_is_autograds_in_any_chunks(rows: int) -> None:
    objectives = deep(10)
    network, gradients = objectives.network, []
    for each in objectives.observations:
        network.zero_grad()
        (network(each) - 1).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    expected = torch.stack(gradients).double()
    width = sum(each.numel() for each in network.parameters())
    torch.testing.assert_close(gradient_gram(objectives, rows * 4 * width), expected @ expected.T, rtol=1e-5, atol=1e-6)


def test_the_hessian_is_autograds_and_lanczos_finds_its_ends() -> None:
    objectives = deep(10)
    names = list(objectives.parameters)
    tensors = tuple(objectives.parameters.values())
    sizes = [each.numel() for each in tensors]

    def mean(flat: Tensor) -> Tensor:
        parts = (part.view(each.shape) for part, each in zip(flat.split(sizes), tensors, strict=True))
        return objectives.mean(dict(zip(names, parts, strict=True)))

    flat = torch.cat([each.flatten() for each in tensors])
    expected = torch.autograd.functional.hessian(mean, flat).double()
    exact = torch.linalg.eigvalsh(expected).flip(0)
    multiply = hessian_product(objectives, chunk=3)
    vector = torch.randn(len(flat), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(multiply(vector), expected @ vector, rtol=1e-4, atol=1e-5)
    values, residuals = lanczos(multiply, len(flat), 20, torch.Generator().manual_seed(0))
    assert values[0].item() == pytest.approx(exact[0].item(), rel=1e-4)
    assert values[-1].item() == pytest.approx(exact[-1].item(), rel=1e-3, abs=1e-5)
    for value, residual in zip(values, residuals, strict=True):
        assert (exact - value).abs().min() <= residual + 1e-4


class OfSequences(nn.Module):
    """The sum of the last hidden state of an LSTM, or of a cell that is called once a step."""

    def __init__(self, memory: nn.LSTM | nn.LSTMCell) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.memory, nn.LSTM):
            return self.memory(x)[0][:, -1].sum(1)
        state = None
        for each in x.unbind(1):
            state = self.memory(each, state)
        assert state is not None
        return state[0].sum(1)


def test_the_hessian_of_an_lstm_is_that_of_its_steps() -> None:
    stack, cell = nn.LSTM(2, 3, batch_first=True), nn.LSTMCell(2, 3)
    for first, second in zip(cell.parameters(), stack.parameters(), strict=True):
        first.data.copy_(second.data)
    observations = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))
    vector = torch.randn(12 * 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    of_stack, of_cell = (
        hessian_product(
            Objectives(OfSequences(each), observations, lambda outputs, _: outputs["output"][:, 0].square())
        )
        for each in (stack, cell)
    )
    torch.testing.assert_close(of_stack(vector), of_cell(vector), rtol=1e-4, atol=1e-6)
    assert float(of_cell(vector).norm()) > 0.1 and torch.backends.mkldnn.enabled


def test_lanczos_ends_where_the_subspace_does() -> None:
    values, residuals = lanczos(lambda v: 3 * v, 50, 10, torch.Generator().manual_seed(0))
    assert values.tolist() == pytest.approx([3.0]) and float(residuals[0]) < 1e-9


def test_lanczos_on_a_zero_matrix() -> None:
    assert lanczos(torch.zeros_like, 5, 10, torch.Generator().manual_seed(0))[0].tolist() == [0.0]
