"""Losses along the gradient: the parabola of a quadratic loss, a network moved by hand, and every edge."""

import copy

import pytest
import torch
from torch import Tensor, nn

from probe.curvature import Objectives, gradient_gram
from probe.slices import gradient_slice, losses_along, mean_gradient
from tests.probe.test_curvature import KNOWN, deep


def linear(weights: list[float], observations: Tensor, power: int = 2) -> Objectives:
    """f = w x; the objective is f^power / power."""
    network = nn.Linear(len(weights), 1, bias=False)
    network.weight.data[0] = torch.tensor(weights)
    return Objectives(network, observations, lambda outputs, _: outputs["output"].squeeze(1).pow(power) / power)


def test_a_quadratic_loss_is_a_parabola() -> None:
    # H = diag(0.5, 2), so g = (3, 4), |g| = 5 and g' H g / |g|^2 = 36.5 / 25.
    objectives = linear([6.0, 2.0], KNOWN)
    found = gradient_slice(objectives, (0.5, 0.25), 0.0)
    assert found is not None
    assert found.curvature == pytest.approx(1.46, rel=1e-6)
    assert (found.distances / 40**0.5).tolist() == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5])
    expected = 13 - 5 * found.distances + 0.73 * found.distances**2
    assert found.means.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert found.decrease == pytest.approx((13 - expected[-1].item()) / 13, rel=1e-6)


def test_the_second_difference_is_the_curvature_at_any_step() -> None:
    found = gradient_slice(linear([6.0, 2.0], KNOWN), (0.1, 1.0, 10.0), 0.0)
    assert found is not None
    for ahead in (1, 2, 3):
        before, here, after = (found.means[3 + offset] for offset in (-ahead, 0, ahead))
        second = (before - 2 * here + after) / found.distances[3 + ahead] ** 2
        assert second.item() == pytest.approx(found.curvature, rel=1e-4)


def test_the_curvature_is_that_of_autograds_hessian_in_several_chunks() -> None:
    objectives = deep(150)
    names, tensors = list(objectives.parameters), list(objectives.parameters.values())
    sizes = [each.numel() for each in tensors]

    def mean(flat: Tensor) -> Tensor:
        parts = (part.view(each.shape) for part, each in zip(flat.split(sizes), tensors, strict=True))
        return objectives.mean(dict(zip(names, parts, strict=True)))

    flat = torch.cat([each.flatten() for each in tensors])
    hessian = torch.autograd.functional.hessian(mean, flat).double()
    gradient = torch.autograd.functional.jacobian(mean, flat).double()
    found = gradient_slice(objectives, (0.01,), 0.0)
    assert found is not None
    assert found.curvature == pytest.approx((gradient @ hessian @ gradient / gradient.square().sum()).item(), rel=1e-4)
    torch.testing.assert_close(mean_gradient(objectives), gradient, rtol=1e-4, atol=1e-6)
    assert mean_gradient(objectives).square().sum().item() == pytest.approx(
        gradient_gram(objectives).mean().item(), rel=1e-4
    )


@torch.no_grad()
def test_losses_along_a_line_are_those_of_a_moved_network_and_move_none() -> None:
    objectives = deep(70)
    before = {name: each.clone() for name, each in objectives.network.state_dict().items()}
    direction = torch.randn(26, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = losses_along(objectives, direction, torch.tensor([-0.5, 0.0, 2.0], dtype=torch.float64))
    assert found.shape == (70, 3)
    for distance, losses in zip((-0.5, 0.0, 2.0), found.unbind(1), strict=True):
        moved = copy.deepcopy(objectives.network)
        flat = nn.utils.parameters_to_vector(moved.parameters()) + distance * direction.float()
        nn.utils.vector_to_parameters(flat, moved.parameters())
        expected = (moved(objectives.observations).squeeze(1) - 1).square()
        torch.testing.assert_close(losses.float(), expected, rtol=1e-5, atol=1e-6)
    assert all(each.equal(before[name]) for name, each in objectives.network.state_dict().items())


def test_the_decrease_does_not_depend_on_the_losss_scale() -> None:
    small, large = linear([6.0, 2.0], KNOWN), linear([6.0, 2.0], KNOWN)
    scaled = Objectives(large.network, large.observations, lambda outputs, data: 1000 * large.objective(outputs, data))
    first, second = (gradient_slice(each, (0.3,), 0.0) for each in (small, scaled))
    assert first is not None and second is not None
    assert first.decrease == pytest.approx(second.decrease, rel=1e-5)


def test_without_a_direction_or_a_scale_there_is_no_slice() -> None:
    opposite = torch.tensor([[1.0], [-1.0]])
    assert gradient_slice(linear([1.0], opposite, power=1), (0.1,), 0.0) is None
    assert gradient_slice(linear([1.0], torch.zeros(3, 1)), (0.1,), 0.0) is None
    assert gradient_slice(linear([0.0], torch.ones(3, 1), power=1), (0.1,), 0.0) is None
    assert gradient_slice(linear([1.0], torch.ones(3, 1)), (0.1,), 2.0) is None


def test_a_loss_that_overflows_or_only_rises_does_not_fall() -> None:
    overflowing = gradient_slice(linear([1.0], torch.ones(2, 1)), (1e30,), 0.0)
    assert overflowing is not None and overflowing.decrease == 0
    assert not overflowing.means[0].isfinite() and overflowing.means[1].isfinite()
