"""Both forms of plasticity injection in training: what they leave alone, what learns, and going on from a state."""

from pathlib import Path

import pytest
import torch

from probe.analysis import analyze
from probe.cautions import warnings
from probe.checkpoints.native import NativeCheckpoint
from probe.datasets.collect import collect
from probe.datasets.environments import EnvironmentSpec
from probe.datasets.sampling import Sampling
from probe.errors import ConfigurationError
from probe.injection import find_cut
from probe.networks.injected_linear import InjectedLinear
from probe.probes.injection import Injection
from probe.summary import summarise
from probe.trainers.moments import learning_parameters
from probe.trainers.ppo import Ppo
from tests.probe.probes.held import subject_of
from tests.trainers.mitigations.agents import agent, assert_equal, continued, inputs, outputs, part, snapshot, weights
from tests.trainers.runs import digests, record, rows, train

KEPT, NEW = (f"ppo.new_optimizer_at_shift={new}" for new in ("false", "true"))
SHIFTS = ("environment.shift.at=[1,2]", KEPT)
LATE = ("environment.shift.at=[9]", KEPT)
FORMS = ("injection", "injection-linear")


def inject(trainer: Ppo, method: str) -> None:
    """Injects now."""
    part(trainer, method).intervene(trainer, trainer.optimizer, trainer.streams["mitigation"])


def learned(trainer: Ppo) -> int:
    return sum(parameter.numel() for parameter in learning_parameters(trainer.network))


@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("also", ["", "layernorm+", "specnorm+"])
def test_injecting_again_and_again_changes_no_output(tmp_path: Path, also: str, method: str) -> None:
    trainer = agent(tmp_path, also + method, *LATE, network="conv64")
    trainer.iterate()
    given = inputs(trainer)
    for _ in range(3):
        before = outputs(trainer, given)
        inject(trainer, method)
        for name, output in outputs(trainer, given).items():
            torch.testing.assert_close(output, before[name], rtol=0, atol=1e-6)
        assert trainer.iterate()["policy/first_ratio_deviation"] == pytest.approx(0, abs=1e-5)


def test_in_the_papers_form_as_many_parameters_learn_as_before_without_moments(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "injection", *LATE, network="conv64")
    trainer.iterate()
    size, before = learned(trainer), snapshot(trainer)
    inject(trainer, "injection")
    after = snapshot(trainer)
    assert learned(trainer) == size
    assert trainer.interventions[-1]["cut"] == "encoder.dense"
    fresh = ("encoder.dense.", "actor.", "critic.")
    for name, tensor in before.items():
        if "/" in name and name.startswith(fresh):
            assert name not in after
        elif not name.startswith(fresh):
            assert after[name].equal(tensor)
    trainer.iterate()
    learnt = weights(trainer)
    for name, tensor in after.items():
        if "/" not in name:
            assert learnt[name].equal(tensor) == name.startswith("frozen.")


def test_moments_can_be_kept_or_forgotten_everywhere(tmp_path: Path) -> None:
    kept = agent(tmp_path, "injection", *LATE, "mitigation.injection.head_moments=copy", network="conv64")
    kept.iterate()
    before = snapshot(kept)
    inject(kept, "injection")
    after = snapshot(kept)
    assert [name for name in before if "/" in name]
    assert all(after[name].equal(tensor) for name, tensor in before.items() if "/" in name)
    forgetful = agent(tmp_path, "injection", *LATE, "mitigation.injection.reset_moments=true", network="conv64")
    forgetful.iterate()
    inject(forgetful, "injection")
    assert not [name for name in snapshot(forgetful) if "/" in name]


def test_in_the_ablation_all_three_parts_learn_and_resume(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "injection", *LATE, "mitigation.injection.all_learn=true", network="conv64")
    trainer.iterate()
    given, size = inputs(trainer), learned(trainer)
    expected = outputs(trainer, given)
    inject(trainer, "injection")
    assert all(torch.equal(found, expected[name]) for name, found in outputs(trainer, given).items())
    part = sum(p.numel() for p in trainer.network.get_submodule("frozen.0.original").parameters())
    assert learned(trainer) == size + 2 * part
    after = weights(trainer)
    other = continued(trainer, agent(tmp_path, "injection", *LATE, network="conv64", seed=1), tmp_path)
    for each in (trainer, other):
        each.iterate()
    assert not [name for name, tensor in weights(trainer).items() if tensor.equal(after[name])]
    assert_equal(snapshot(trainer), snapshot(other))


def test_in_the_linear_form_old_and_new_layers_learn(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "injection-linear", *LATE, network="conv64")
    trainer.iterate()
    size, before = learned(trainer), snapshot(trainer)
    inject(trainer, "injection-linear")
    after = snapshot(trainer)
    added = sum(
        each.numel() for name in ("actor", "critic") for each in trainer.network.get_submodule(name).parameters()
    )
    assert learned(trainer) == size + added // 3
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    assert not [name for name in after if "added" in name and "/" in name]
    trainer.iterate()
    learnt = weights(trainer)
    for name in ("weight", "bias"):
        assert not learnt[f"actor.output.{name}"].equal(after[f"actor.output.{name}"])
        assert not learnt[f"actor.output.added.{name}"].equal(after[f"actor.output.added.{name}"])
        assert learnt[f"actor.output.frozen.{name}"].equal(after[f"actor.output.frozen.{name}"])


@pytest.mark.parametrize("method", FORMS)
def test_only_the_linear_form_changes_the_gradients_before_the_heads(tmp_path: Path, method: str) -> None:
    trainer = agent(tmp_path, method, *LATE, network="conv64")
    given, weight = inputs(trainer), trainer.network.get_parameter("encoder.conv4.weight")

    def gradient() -> torch.Tensor:
        loss = torch.stack([(each - 1).square().mean() for each in trainer.network(given).values()]).sum()
        return torch.autograd.grad(loss, weight)[0]

    before = gradient()
    inject(trainer, method)
    assert torch.allclose(gradient(), before, rtol=1e-4, atol=1e-7) == (method == "injection")


def test_another_linear_injection_folds_the_pair_into_the_layer(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "injection-linear", *LATE, network="conv64")
    inject(trainer, "injection-linear")
    trainer.iterate()
    layer = trainer.network.get_submodule("critic.output")
    assert isinstance(layer, InjectedLinear)
    folded = (layer.weight + (layer.added.weight - layer.frozen.weight)).detach()
    inject(trainer, "injection-linear")
    assert layer.weight.equal(folded) and layer.added.weight.equal(layer.frozen.weight)
    assert trainer.network.get_submodule("critic.output") is layer
    assert "added.weight" in dict(layer.named_parameters()) and len(list(layer.parameters())) == 6


@pytest.mark.parametrize("method", FORMS)
def test_each_shift_injects_and_the_specification_says_so(tmp_path: Path, method: str) -> None:
    trainer = agent(tmp_path, method, *SHIFTS, network="conv64")
    sizes = [trainer.iterate().get(f"mitigation/{method}_parameters") for _ in range(4)]
    assert [size is not None for size in sizes] == [False, True, True, False]
    assert [done["updates"] for done in trainer.interventions] == [1, 2]
    if method == "injection":
        assert [each.step for each in trainer.network.spec.injections] == [8, 16]
    else:
        assert trainer.network.spec.modules["actor"].stages[-1].kind == "injected_linear"


@pytest.mark.parametrize("method", FORMS)
def test_given_steps_count_instead_of_shifts_across_a_resume(tmp_path: Path, method: str) -> None:
    steps = f"mitigation.{method}.steps=[65,130]"
    trainer = agent(tmp_path, method, steps)
    for _ in range(2):
        trainer.iterate()
    other = continued(trainer, agent(tmp_path, method, steps), tmp_path)
    for each in (trainer, other):
        for _ in range(3):
            each.iterate()
        assert [done["step"] for done in each.interventions] == [128, 192]


TOGETHER = (
    *("injection+redo", "injection+cbp", "injection-linear+cbp", "injection+l2-init", "injection-linear+l2-init"),
    *("specnorm+injection", "weight-projection+injection", "injection+infer", "injection+soft-shrink-perturb"),
)


@pytest.mark.parametrize(
    ("method", "optimizer"), [(method, KEPT) for method in (*FORMS, *TOGETHER)] + [(method, NEW) for method in FORMS]
)
def test_training_goes_on_exactly_from_a_state_after_injections(tmp_path: Path, method: str, optimizer: str) -> None:
    settings = (
        *("environment.shift.at=[1,2,4]", optimizer),
        *("mitigation.redo.period=1", "mitigation.redo.tau=0.5"),
        *("mitigation.cbp.rate=0.05", "mitigation.cbp.maturity=2"),
    )
    trainer = agent(tmp_path, method, *settings, network="conv64")
    for _ in range(3):
        trainer.iterate()
    other = continued(trainer, agent(tmp_path, method, *settings, network="conv64", seed=1), tmp_path)
    for each in (trainer, other):
        for _ in range(2):
            each.iterate()
    assert trainer.network.spec == other.network.spec and trainer.interventions == other.interventions
    assert_equal(snapshot(other), snapshot(trainer))


def test_recycled_units_vanish_from_the_frozen_copies_too(tmp_path: Path) -> None:
    settings = ("mitigation.redo.tau=0.5", "mitigation.redo.period=1000")
    trainer = agent(tmp_path, "injection+redo", *LATE, *settings, network="conv64")
    trainer.iterate()
    inject(trainer, "injection")
    part(trainer, "redo").intervene(trainer, trainer.optimizer, trainer.streams["mitigation"])
    units = trainer.interventions[-1]["units"]["encoder.relu4"]
    copies = trainer.network.frozen_copies("encoder.dense")
    assert len(copies) == 2
    for layer in (trainer.network.get_submodule("encoder.dense"), *copies):
        columns = layer.get_parameter("weight").detach().view(8, 128, 16)
        assert not columns[:, units].any() and columns.any()


def test_a_wrong_cut_and_no_time_at_all_are_refused_at_the_start(tmp_path: Path) -> None:
    steps = "mitigation.injection.steps=[64]"
    with pytest.raises(ConfigurationError, match="acts at task shifts, and environment 'CartPole-v1' has none"):
        agent(tmp_path, "injection")
    with pytest.raises(ConfigurationError, match="is linear: injecting it would change nothing"):
        agent(tmp_path, "injection", steps, "mitigation.injection.cut=actor.output")
    with pytest.raises(ConfigurationError, match=r"No layer 'encoder.dens' to inject at"):
        agent(tmp_path, "injection", steps, "mitigation.injection.cut=encoder.dens")


@pytest.mark.parametrize("method", FORMS)
def test_checkpoints_load_again_and_frozen_copies_enter_no_module(tmp_path: Path, method: str) -> None:
    settings = (f"mitigation.{method}.steps=[100,200]", "ppo.passes=1")
    made = record(*settings, folder=tmp_path, method=method)
    train(tmp_path / "run", made)
    assert all(digests(tmp_path / "run").values())
    first, *_, last = (NativeCheckpoint(path) for path in sorted((tmp_path / "run" / "checkpoints").iterdir()))
    assert not first.metadata.interventions and [done["step"] for done in last.metadata.interventions] == [128, 256]
    assert last.fresh(0).state_dict().keys() == last.network().state_dict().keys()
    assert [bool(row[f"mitigation/{method}_parameters"]) for row in rows(tmp_path / "run")] == [
        row["step"] in ("128", "256") for row in rows(tmp_path / "run")
    ]
    data = tmp_path / "o.h5"
    collect(EnvironmentSpec(id="CartPole-v1"), data, Sampling(samples=200, stride=1, num_envs=4))
    with analyze(tmp_path / "run", data, tmp_path / "a.h5", ["default", "layer-norms", "drift"]) as analysis:
        frozen = {each["layer"] for each in analysis.layers if each["module"] == "frozen"}
        assert all(layer.startswith("frozen.") for layer in frozen)
        assert len(frozen) == (4 if method == "injection" else 0)
        averages = analysis.select(probe="dormancy", aggregation="micro", threshold=0.0)
        assert {*averages["module"]} == {"encoder", "all"} and {*averages["units"]} == {32}
        tensors = analysis.select(probe="layer-norms", metric="weight_l2", module="frozen", step=last.step)
        assert len(tensors["layer"]) > 0
        assert not [each for each in warnings(analysis) if "frozen" in each]
        assert {line.module for each in summarise(analysis) for line in each.lines} <= {
            "encoder",
            "actor",
            "critic",
            "all",
        }
        whole = analysis.select(probe="layer-norms", metric="weight_l2", module="all", step=last.step)["value"]
        learning = [p.detach() for p in last.network().parameters() if p.requires_grad]
        assert whole[0] == pytest.approx(torch.nn.utils.get_total_norm(learning).item(), rel=1e-5)


def test_an_injected_checkpoint_can_be_probed_by_injection_where_it_was_injected(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "injection", "mitigation.injection.steps=[64]")
    for _ in range(2):
        trainer.iterate()
    network, given = trainer.network.eval(), inputs(trainer, 300)
    assert find_cut(network, given[:1]).layer == "encoder.dense2"
    found = Injection(steps=3, draws=1, samples=300).measure(subject_of(network, given)).readings
    losses = {each.arm: each.reading for each in found if each.reading.metric == "initial_loss"}
    assert losses["control"].value == pytest.approx(losses["injected"].value)
