"""Fitting a network: known losses, the same result for the same stream, and budgets of any size."""

import copy
from threading import Event

import pytest
import torch
from torch import Tensor, nn

from probe.fresh import redrawn
from probe.networks import build, preset
from probe.regression import Budget, Curve, Task, fit, fit_all, mean_squared_error, outputs_on, standardised

OBSERVATIONS = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))


def mlp(seed: int = 0) -> nn.Module:
    return build(preset("mlp", (4,), 2, 16), torch.Generator().manual_seed(seed)).eval()


def targets(seed: int = 9) -> Tensor:
    return standardised(outputs_on(mlp(seed), OBSERVATIONS))


def task(network: nn.Module, wanted: Tensor, steps: int = 40, seed: int = 0, batch: int = 64) -> Task:
    return Task(network, OBSERVATIONS, wanted, Budget(steps, batch, 0.01), torch.Generator().manual_seed(seed))


def curve(network: nn.Module, wanted: Tensor, steps: int = 40, seed: int = 0, batch: int = 64) -> Curve:
    return fit(task(network, wanted, steps, seed, batch))


def test_the_average_is_of_the_losses_after_a_quarter_half_and_all_of_the_steps() -> None:
    assert Curve(initial=9.0, quarter=0.6, half=0.3, final=0.15).average == pytest.approx(0.35)


def test_a_networks_own_outputs_cost_nothing_at_step_zero() -> None:
    assert curve(mlp(), outputs_on(mlp(), OBSERVATIONS)).initial == 0.0


def test_a_network_of_dead_units_ends_at_the_variance() -> None:
    network = mlp()
    with torch.no_grad():
        network.get_parameter("encoder.dense2.bias").fill_(-1e6)
    found = curve(network, targets(), steps=300, batch=200)
    assert found.final == pytest.approx(1.0, abs=1e-4)
    assert curve(mlp(), targets(), steps=300, batch=200).final < 0.5


def test_targets_have_mean_zero_and_variance_one_and_constants_none() -> None:
    given = torch.stack([torch.arange(50.0), torch.full((50,), 7.3)], dim=1)
    found = standardised(given)
    assert found[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert found[:, 0].square().mean().item() == pytest.approx(1, rel=1e-6)
    assert not found[:, 1].any()


def test_scale_and_shift_of_targets_do_not_matter() -> None:
    given = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(standardised(5 * given - 2), standardised(given))


def test_the_loss_is_the_mean_over_observations_and_outputs() -> None:
    network, wanted = mlp(), targets()
    with torch.no_grad():
        outputs = network(OBSERVATIONS)
    errors = torch.cat([outputs["actor"], outputs["critic"].unsqueeze(1)], 1) - wanted
    assert mean_squared_error(network, OBSERVATIONS, wanted) == pytest.approx(errors.square().mean().item(), rel=1e-6)


def test_one_step_is_adams_on_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.regression._STEP_CHUNK", 64)  # 150 observations: chunks of unequal size
    network, second = mlp(), mlp()
    fit(Task(network, OBSERVATIONS[:150], targets()[:150], Budget(1, 150, 0.01), torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam(second.parameters(), 0.01)
    outputs = second(OBSERVATIONS[:150])
    error = torch.cat([outputs["actor"], outputs["critic"].unsqueeze(1)], 1) - targets()[:150]
    error.square().mean().backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, second.get_parameter(name), rtol=1e-4, atol=1e-5)


def test_the_same_stream_gives_the_same_curve_and_another_does_not() -> None:
    assert curve(mlp(), targets()) == curve(mlp(), targets()) != curve(mlp(), targets(), seed=1)


def test_networks_side_by_side_end_where_each_ends_alone() -> None:
    seeds = range(5)
    alone = [curve(mlp(seed), targets(), seed=seed) for seed in seeds]
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            assert list(fit_all(task(mlp(seed), targets(), seed=seed) for seed in seeds)) == alone
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)


def test_nothing_is_fitted_any_more_once_it_is_given_up() -> None:
    given_up = Event()
    given_up.set()
    found = fit(task(mlp(), targets()), given_up)
    assert found.initial == found.final


def test_bfloat16_changes_the_steps_on_images_a_little_and_those_on_vectors_not_at_all() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 8, 8, 3), dtype=torch.uint8, generator=rng)
    wanted = torch.randn(16, 4, generator=rng)

    def final(precision: str, given: Tensor) -> float:
        width = 4 if given.ndim == 2 else 3
        spec = preset("mlp", (width,), 3, 16) if given.ndim == 2 else preset("impala", (8, 8, 3), 3, 16)
        network = build(spec, torch.Generator().manual_seed(0)).eval()
        budget = Budget(10, 16, 1e-3, precision)
        return fit(Task(network, given, wanted[: len(given)], budget, torch.Generator().manual_seed(1))).final

    wide, narrow = final("float32", images), final("bfloat16", images)
    assert wide != narrow == pytest.approx(wide, rel=0.02)
    assert final("float32", OBSERVATIONS[:16]) == final("bfloat16", OBSERVATIONS[:16])


def test_losses_fall_along_the_budget() -> None:
    found = curve(mlp(), targets(), steps=200)
    assert found.initial > found.quarter > found.half > found.final and found.finite


def test_the_middle_of_a_budget_is_the_end_of_half_of_it() -> None:
    whole, half, quarter = (curve(mlp(), targets(), steps=steps) for steps in (40, 20, 10))
    assert (whole.half, whole.quarter) == (half.final, quarter.final)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_tiny_budgets_and_batches_larger_than_the_set(steps: int) -> None:
    found = curve(mlp(), targets(), steps=steps, batch=10_000)
    assert found.finite and found.initial != found.final


def test_frozen_parameters_stay() -> None:
    network = mlp()
    network.get_submodule("encoder").requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    curve(network, targets(), steps=5)
    changed = {name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {f"{head}.output.{name}" for head in ("actor", "critic") for name in ("weight", "bias")}


def test_divergence_is_seen() -> None:
    network = mlp()
    with torch.no_grad():
        network.get_parameter("critic.output.bias").fill_(torch.inf)
    assert not curve(network, targets(), steps=2).finite


def test_redrawing_gives_new_layers_and_refuses_what_it_does_not_know() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4))
    first, again, second = (redrawn(network, seed) for seed in (0, 0, 1))
    assert first is not None and again is not None and second is not None
    assert first[0].weight.equal(again[0].weight)  # type: ignore[index]
    assert not first[0].weight.equal(second[0].weight)  # type: ignore[index]
    normalised = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    assert redrawn(normalised, 0) is None


def test_redrawing_leaves_the_global_random_state_alone() -> None:
    layer = nn.Linear(3, 4)
    before = torch.get_rng_state()
    redrawn(layer, 0)
    assert torch.get_rng_state().equal(before)
