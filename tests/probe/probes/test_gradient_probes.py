"""Gradients of the offline losses and the probes that read them, against formulas written out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.errors import ConfigurationError
from probe.gradients import standardised, unit_norms
from probe.networks import Stage, build, preset
from probe.observations import open_observations
from probe.passes import offline_gradients
from probe.probes.base import Findings, Reading
from probe.probes.drift import Drift, drift_readings
from probe.probes.gradient_dormancy import GradientDormancy, gradient_dormant
from probe.probes.layer_norms import LayerNorms, depth_readings, tensor_readings
from probe.probes.settings import apply_settings
from probe.probes.spectral_norm import SpectralNorms
from probe.readings import Context, rows_of_findings
from probe.weights import owner
from tests.probe.probes.small_networks import layered
from tests.probe.series import kill, write_observations, write_series
from tests.probe.subjects import MemorySubject

SAMPLES = 90
EACH = ("critic", "actor")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(seed: int = 0) -> nn.Module:
    network = build(preset("mlp", (4,), 2, 8), generator(seed))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator(seed + 1))
    return network


class Named(nn.Module):
    """Gives one output a name."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        return {self.name: self.network(observations)}


def subject_of(network: nn.Module, missing: int = 20, equal: bool = False) -> MemorySubject:
    """Ninety rows, the first of them without a return."""
    rng = np.random.default_rng(3)
    returns = np.full(SAMPLES, 2.0, np.float32) if equal else rng.normal(size=SAMPLES).astype(np.float32)
    returns[:missing] = np.nan
    columns = {"returns": returns, "actions": rng.integers(0, 2, SAMPLES), "episodes": np.arange(SAMPLES) // 10}
    return MemorySubject(network, torch.randn(SAMPLES, 4, generator=generator(5)), columns)


def by_name(findings: Findings) -> dict[tuple[str, str, float | None], Reading]:
    return {
        (each.layer or each.module, each.reading.metric, each.reading.threshold): each.reading
        for each in findings.readings
    }


def by_hand(subject: MemorySubject, loss: str) -> dict[str, Tensor]:
    """One backward pass over all rows that have a return, in float64."""
    network = subject.network().double()
    if loss == "joint":
        critic, actor = by_hand(subject, "critic"), by_hand(subject, "actor")
        return {name: critic.get(name, 0) + actor.get(name, torch.zeros(())) for name, _ in network.named_parameters()}
    returns = torch.from_numpy(subject.column("returns")).double()
    known = returns.isfinite()
    hidden = network.get_submodule("encoder")(next(subject.batches(SAMPLES))[known].double())
    chosen = returns[known]
    if loss == "critic":
        total = F.mse_loss(network.get_submodule("critic")(hidden).squeeze(1), chosen)
    else:
        advantage = (chosen - chosen.mean()) / chosen.std(correction=0)
        actions = torch.from_numpy(subject.column("actions"))[known]
        each = F.cross_entropy(network.get_submodule("actor")(hidden), actions, reduction="none")
        total = (each * advantage).mean()
    total.backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", EACH)
def test_gradients_are_those_of_one_backward_pass_over_the_rows_with_returns(loss: str) -> None:
    subject = subject_of(mlp())
    found, expected = offline_gradients(subject, "each").by_loss[loss], by_hand(subject, loss)
    assert found.samples == 70 and set(found.parameters) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found.parameters[name], gradient, rtol=1e-4, atol=1e-6)


def test_one_pass_gives_each_head_its_own_loss_and_what_they_share_the_sum() -> None:
    subject = subject_of(mlp())
    found = offline_gradients(subject).by_loss
    parts = {loss: {owner(name).partition(".")[0] for name in each.parameters} for loss, each in found.items()}
    assert parts == {"joint": {"encoder"}, "critic": {"critic"}, "actor": {"actor"}}
    for loss, gradient in found.items():
        assert gradient.samples == 70
        expected = by_hand(subject, loss)
        for name, values in gradient.parameters.items():
            torch.testing.assert_close(values, expected[name], rtol=1e-4, atol=1e-6)


class Towers(nn.Module):
    """Two encoders, one for each loss, behind a layer that both read."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({name: tower() for name in ("trunk", "pi", "vf")})
        self.actor, self.critic = nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        shared = self.encoder["trunk"](observations)
        return {"actor": self.actor(self.encoder["pi"](shared)), "critic": self.critic(self.encoder["vf"](shared))}


def tower() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())


def test_the_towers_of_two_losses_are_two_depths() -> None:
    torch.manual_seed(0)
    subject = subject_of(Towers())
    found, each = by_name(LayerNorms().measure(subject)), by_name(LayerNorms(losses="each").measure(subject))
    places = {"joint": "trunk", "critic": "vf", "actor": "pi"}
    for loss, place in places.items():
        rms = [found[f"encoder.{place}.{index}", f"gradient_rms_{loss}", None].value for index in (0, 2)]
        assert found["encoder", f"gradient_rms_{loss}_depth_ratio", None].value == pytest.approx(rms[1] / rms[0])
        others = {f"gradient_rms_{other}" for other in places if other != loss}
        assert not others & {metric for layer, metric, _ in found if layer == f"encoder.{place}.0"}
    for loss in EACH:
        key = f"encoder.{places[loss]}.0", f"gradient_norm_{loss}", None
        assert found[key].value == pytest.approx(each[key].value, rel=1e-6)
        other = f"encoder.{places[EACH[loss == 'critic']]}.0"
        assert each[other, f"gradient_norm_{loss}", None].status == "not_applicable"


def test_the_norm_of_the_network_is_that_of_the_sum_as_clipping_takes_it() -> None:
    subject = subject_of(mlp())
    found, each = by_name(LayerNorms().measure(subject)), by_name(LayerNorms(losses="each").measure(subject))
    gradients = [gradient.flatten() for gradient in by_hand(subject, "joint").values()]
    assert found["", "gradient_norm_joint", None].value == pytest.approx(torch.cat(gradients).norm().item(), rel=1e-4)
    assert not {("", f"gradient_norm_{loss}", None) for loss in EACH} & found.keys()
    for loss in EACH:
        gradients = [gradient.flatten() for gradient in by_hand(subject, loss).values()]
        expected = torch.cat(gradients).norm().item()
        assert each["", f"gradient_norm_{loss}", None].value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("losses", ["joint", "each"])
def test_a_network_with_one_of_the_outputs_has_that_ones_loss(losses: str) -> None:
    alone = subject_of(Named(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)), "critic"))
    assert set(offline_gradients(alone, losses).by_loss) == {"critic"}
    readings = by_name(LayerNorms(losses=losses).measure(alone))
    assert readings["", "gradient_norm_critic", None].status == "ok"
    assert ("", "gradient_norm_joint", None) not in readings


def test_an_action_without_a_column_leaves_no_batch_out_but_the_whole_loss() -> None:
    network = Named(nn.Linear(4, 2), "critic")
    subject = subject_of(network, missing=0)
    assert offline_gradients(subject).by_loss["critic"].samples == SAMPLES
    subject._columns = {**subject._columns, "actions": np.where(np.arange(SAMPLES) == 7, 2, 0)}
    other = MemorySubject(network, torch.cat([*subject.batches()]), subject._columns)
    other.batches = lambda *given: iter(subject._rows.split(10))  # type: ignore[method-assign]
    assert offline_gradients(other).by_loss == {}


@pytest.mark.parametrize("probe", [LayerNorms, GradientDormancy])
def test_unknown_losses_are_refused_and_known_ones_set_by_name(probe: type[LayerNorms | GradientDormancy]) -> None:
    with pytest.raises(ConfigurationError, match=rf"{probe.name}\.losses is 'both'; joint or each is expected"):
        apply_settings([probe()], [f"{probe.name}.losses=both"])
    (set_by_name,) = apply_settings([probe()], [f"{probe.name}.losses=each"])
    assert set_by_name == probe(losses="each")


def test_the_pass_is_made_once_a_subject() -> None:
    subject = subject_of(mlp())
    assert offline_gradients(subject) is offline_gradients(subject)
    assert offline_gradients(subject) is not offline_gradients(subject_of(mlp()))


def test_standardised_returns_have_mean_zero_and_deviation_one_or_are_zero() -> None:
    values = standardised(torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64))
    assert values.mean().item() == pytest.approx(0, abs=1e-12) and values.square().mean().item() == pytest.approx(1)
    assert not standardised(torch.full((7,), 0.1, dtype=torch.float64)).any()


def test_unit_norms_follow_the_axis_of_the_units() -> None:
    gradient = torch.tensor([[3.0, 0.0], [4.0, 1.0]], dtype=torch.float64)
    assert unit_norms(gradient, 0).tolist() == pytest.approx([3, 17**0.5])
    assert unit_norms(gradient, 1).tolist() == [5, 1]


def test_three_and_four_have_the_known_norms() -> None:
    found = {each.metric: each.value for each in tensor_readings(torch.tensor([3.0, -4.0]))}
    assert found == pytest.approx(
        {"weight_l2": 5, "weight_rms": 3.535534, "weight_mean_abs": 3.5, "weight_max": 4, "weight_mean": -0.5}
    )


def test_the_rms_of_the_network_is_over_all_parameters_together() -> None:
    subject = subject_of(mlp())
    found = by_name(LayerNorms().measure(subject))
    entries = torch.cat([each.detach().double().flatten() for each in subject.network().parameters()])
    assert found["all", "weight_rms", None].value == pytest.approx(
        (entries.square().sum() / len(entries)).sqrt().item()
    )
    squares = [(found[module, "weight_l2", None].value or 0) ** 2 for module in ("encoder", "actor", "critic")]
    assert found["all", "weight_l2", None].value == pytest.approx(sum(squares) ** 0.5)


def test_an_infinite_or_empty_tensor_has_no_norm() -> None:
    assert {each.status for each in tensor_readings(torch.tensor([1.0, torch.nan]))} == {"nonfinite"}
    assert {each.status for each in tensor_readings(torch.zeros(0))} == {"not_applicable"}


def test_sizes_of_features_and_inputs_are_those_of_the_layers_written_out() -> None:
    subject = subject_of(mlp())
    found = by_name(LayerNorms().measure(subject))
    before = subject.network().get_submodule("encoder.dense1")(next(subject.batches(SAMPLES))).detach().double()
    for name, values in (("preactivation", before), ("feature", before.relu())):
        assert found["encoder.relu1", f"{name}_norm", None].value == pytest.approx(values.norm(dim=1).mean().item())
        rms = found["encoder.relu1", f"{name}_rms", None].value
        assert rms == pytest.approx(values.square().mean().sqrt().item())
    statistics = subject.statistics["encoder.relu2"]
    rms = found["encoder.relu2", "feature_rms", None].value
    assert rms == pytest.approx(statistics.mean_square.mean().sqrt().item(), rel=1e-5)


def test_a_layers_gradient_is_that_of_all_its_parameters_and_heads_are_no_depth() -> None:
    subject = subject_of(mlp())
    found, expected = by_name(LayerNorms(losses="each").measure(subject)), by_hand(subject, "critic")
    first = torch.cat([expected["encoder.dense1.weight"].flatten(), expected["encoder.dense1.bias"]])
    assert found["encoder.dense1", "gradient_norm_critic", None].value == pytest.approx(first.norm().item(), rel=1e-4)
    rms = [(expected[f"encoder.dense{k}.weight"].square().sum() / 8).sqrt().item() for k in (1, 2)]
    ratio = found["encoder", "gradient_rms_critic_depth_ratio", None].value
    assert ratio == pytest.approx(rms[1] / rms[0], rel=1e-4)
    assert found["actor.output", "gradient_norm_critic", None].status == "not_applicable"
    assert found["actor", "feature_rms_depth_log_slope", None].status == "not_applicable"


def test_killed_units_have_no_gradient() -> None:
    network = mlp()
    kill(network, 3)
    subject = subject_of(network)
    found = by_name(LayerNorms(losses="each").measure(subject))
    dormant = by_name(GradientDormancy(losses="each").measure(subject))
    expected = by_hand(subject, "critic")
    entries = torch.cat([expected["encoder.dense2.weight"].flatten(), expected["encoder.dense2.bias"]])
    zero = found["encoder.dense2", "zero_gradient_fraction_critic", None].value
    assert zero == (entries == 0).double().mean().item() >= 3 / 8
    for loss in EACH:
        assert dormant["encoder.dense2", f"gradient_dormant_fraction_{loss}", 0.025].value == pytest.approx(3 / 8)
    assert not any(layer == "critic.output" for layer, _, _ in dormant)


def test_modules_average_over_their_hidden_layers_by_units() -> None:
    widths = {"dense1": 8, "dense2": 24}
    layers = [
        (Stage(name=k, kind="linear", options={"width": v}), Stage(name=f"relu{v}", kind="relu"))
        for k, v in widths.items()
    ]
    network = layered(0, (4,), *(stage for layer in layers for stage in layer))
    kill(network, 20)
    subject = subject_of(network)
    facts = {"run": "r", "method": "m", "seed": 0, "task": 0, "step": 0}
    context = Context(facts, "c", "d", subject.modules)
    rows = rows_of_findings(context, "gradient-dormancy", GradientDormancy().measure(subject), SAMPLES)
    values = {(row.layer or row.module, row.aggregation): row.value for row in rows if row.threshold == 0.025}
    first, second = values["encoder.dense1", "layer"], values["encoder.dense2", "layer"]
    assert second == pytest.approx(20 / 24) and first < 0.5
    for module in ("encoder", "all"):
        assert values[module, "micro"] == pytest.approx((8 * first + 24 * second) / 32)
        assert values[module, "macro"] == pytest.approx((first + second) / 2)
    assert {row.samples for row in rows} == {70} and not any(row.module == "critic" for row in rows)


def test_a_silent_gradient_is_all_dormant_and_degenerate() -> None:
    found = by_name(GradientDormancy(losses="each").measure(subject_of(mlp(), equal=True)))
    reading = found["encoder.dense1", "gradient_dormant_fraction_actor", 0.1]
    assert (reading.value, reading.status) == (1.0, "degenerate")


def test_without_returns_there_are_no_gradients() -> None:
    subject = subject_of(mlp(), missing=SAMPLES)
    probes = (GradientDormancy(losses="each"), LayerNorms(losses="each"))
    readings = [each for probe in probes for each in probe.measure(subject).readings]
    gradients = [each.reading for each in readings if "gradient" in each.reading.metric]
    assert {(each.value, each.status) for each in gradients} == {(None, "not_applicable")}


def test_an_infinite_gradient_gives_no_number() -> None:
    network = mlp()
    with torch.no_grad():
        network.get_parameter("critic.output.weight")[0, 0] = torch.nan
    found = by_name(GradientDormancy(losses="each").measure(subject_of(network)))
    statuses = [found["encoder.dense2", f"gradient_dormant_fraction_{loss}", 0.1].status for loss in EACH]
    assert statuses == ["nonfinite", "ok"]
    joint = by_name(GradientDormancy().measure(subject_of(network)))
    assert joint["encoder.dense2", "gradient_dormant_fraction_joint", 0.1].status == "nonfinite"


def test_dormant_gradients_are_strictly_below_and_keep_under_scale_and_permutation() -> None:
    norms = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    assert gradient_dormant(norms, 0.5).tolist() == [False, False, False]
    assert gradient_dormant(norms, 0.75).tolist() == [True, False, False]
    assert gradient_dormant(4 * norms[[2, 0, 1]], 0.75).tolist() == [False, True, False]
    assert gradient_dormant(torch.zeros(2), 0.1).all()


def test_a_vanishing_chain_says_so() -> None:
    found = {each.metric: each for each in depth_readings("x", (10.0, 1.0, 0.5), 0.1)}
    assert found["x_depth_verdict"] == Reading("x_depth_verdict", -1, threshold=0.1)
    assert {each.status for each in depth_readings("x", (0.0, 1.0), 0.1)} == {"degenerate"}
    assert {each.status for each in depth_readings("x", (float("nan"), 1.0), 0.1)} == {"nonfinite"}


def test_drift_of_known_tensors() -> None:
    values = [each.value for each in drift_readings(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 9.0]))]
    assert values == pytest.approx([5, 5 / 2**0.5, 1])
    assert drift_readings(torch.zeros(2), torch.ones(2))[2] == Reading("update_to_weight", None, "degenerate")
    assert {each.status for each in drift_readings(torch.zeros(2), torch.full((2,), torch.inf))} == {"nonfinite"}


def test_drift_is_zero_without_change_and_adds_up_over_tensors() -> None:
    first, second = mlp(0), mlp(7)
    same = by_name(Drift().measure_pair(subject_of(first), subject_of(first)))
    assert {each.value for each in same.values()} == {0.0}
    found = by_name(Drift().measure_pair(subject_of(first), subject_of(second)))
    squares = [(found[name, "weight_drift", None].value or 0.0) ** 2 for name, _ in first.named_parameters()]
    assert found["all", "weight_drift", None].value == pytest.approx(sum(squares) ** 0.5)


def test_a_tensor_of_another_shape_has_no_drift() -> None:
    wider = build(preset("mlp", (4,), 2, 9), generator())
    found = by_name(Drift().measure_pair(subject_of(mlp()), subject_of(wider)))
    assert found["encoder.dense1.weight", "weight_drift", None].status == "not_applicable"
    assert found["all", "weight_drift", None].status == "not_applicable"
    assert found["actor.output.bias", "weight_drift", None].status == "ok"


def test_every_probe_of_weights_and_gradients_runs_through_an_analysis(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run", (0, 100)), write_observations(tmp_path / "o.h5", samples=60)
    probes = [LayerNorms(), Drift(), GradientDormancy(), SpectralNorms(pairs_among=20)]
    planned = plan(open_series([run]), [open_observations(data)], tmp_path / "a.h5", probes)
    list(planned.measure())
    list(planned.examine())
    with planned.assemble() as analysis:
        assert set(analysis.rows["probe"]) == {each.name for each in probes}
        slopes = analysis.select(metric="feature_rms_depth_log_slope", module="encoder")
        assert slopes["step"].tolist() == [0, 100] and slopes["aggregation"][0] == "none"
        assert set(analysis.select(probe="drift")["reference_step"]) == {0}
        arrays = analysis.layer_arrays(analysis.checkpoints[0]["digest"], analysis.data[0]["digest"])
        assert "weight_singular_values" in arrays["encoder.dense1"]
        bound, observed = (analysis.select(metric=f"lipschitz_{each}")["value"] for each in ("bound", "observed"))
        assert (observed <= bound).all() and (observed > 0).all()
