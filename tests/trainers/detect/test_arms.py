"""Arms of a pair: what they share, what each changes, and that the run is left as it is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from probe.errors import ConfigurationError, FileError
from probe.trainers.detect.arms import begin
from probe.trainers.detect.design import CONTROL, FRESH, HEAD_RESET, INJECTED, MOMENT_RESET, ArmSettings, Design
from probe.trainers.detect.fits import FITTING, TD_ERROR, fit_network
from probe.trainers.detect.fork import Agent, open_fork
from probe.trainers.detect.placement import place
from probe.trainers.dqn import Dqn
from probe.trainers.optimiser_state import optimiser_state
from tests.trainers.detect.forks import SETTINGS, agent_at, contents, design, ppo, run
from tests.trainers.runs import CARTPOLE, DQN, DQN_ATARI

GIVEN = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
ARMS = (CONTROL, MOMENT_RESET, INJECTED, HEAD_RESET, FRESH)


@pytest.fixture(scope="module")
def dqn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("dqn"))


@pytest.fixture(scope="module")
def ppo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ppo(tmp_path_factory.mktemp("ppo"))


def begun(path: Path, arm: str, module: str | None = None, seed: int = 0) -> tuple[Agent, Design]:
    agent, made = agent_at(path, module=module, seed=seed)  # type: ignore[arg-type]
    begin(arm, agent, made, torch.Generator().manual_seed(7))
    return agent, made


def outputs(agent: Agent) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = agent.network.eval()(GIVEN)
    return found


def moments(agent: Agent) -> dict[str, Tensor]:
    """Returns the moments by parameter."""
    names = [name for name, parameter in agent.network.named_parameters() if parameter.requires_grad]
    state = optimiser_state(agent.optimizer)["state"]
    return {names[int(index)]: kept["exp_avg"] for index, kept in state.items()}


def test_control_and_moment_reset_differ_in_the_heads_moments_alone(dqn_run: Path) -> None:
    control, _ = begun(dqn_run, CONTROL)
    reset, _ = begun(dqn_run, MOMENT_RESET)
    for name, tensor in control.network.state_dict().items():
        assert tensor.equal(reset.network.state_dict()[name])
    head = {name for name in moments(control) if not name.startswith("encoder.dense1")}
    assert head == {f"{layer}.{kind}" for layer in ("encoder.dense2", "critic.output") for kind in ("weight", "bias")}
    assert moments(reset).keys() == moments(control).keys() - head
    assert all(tensor.equal(moments(control)[name]) for name, tensor in moments(reset).items())


@pytest.mark.parametrize(("fixture", "module"), [("dqn_run", None), ("ppo_run", "critic"), ("ppo_run", "both")])
def test_injection_leaves_outputs_and_targets_and_the_number_that_learns(
    fixture: str, module: str | None, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(fixture)
    control, made = begun(path, CONTROL, module)
    injected, _ = begun(path, INJECTED, module)
    assert all(torch.equal(found, outputs(control)[name]) for name, found in outputs(injected).items())
    learning = [sum(p.numel() for p in each.network.parameters() if p.requires_grad) for each in (control, injected)]
    assert learning[0] == learning[1]
    assert injected.network.spec.injections[0].cut == made.placement.cut
    if isinstance(injected, Dqn) and isinstance(control, Dqn):
        with torch.no_grad():
            assert torch.equal(injected.target(GIVEN)["critic"], control.target(GIVEN)["critic"])
        own, copied = injected.network.state_dict(), injected.target.state_dict()
        assert all(copied[name].equal(own[name]) for name in own if name.startswith("frozen.0.subtracted"))


def test_optional_arms_begin_anew_with_the_target_network(dqn_run: Path) -> None:
    control, _ = begun(dqn_run, CONTROL)
    reset, _ = begun(dqn_run, HEAD_RESET)
    fresh, _ = begun(dqn_run, FRESH)
    before = control.network.state_dict()
    kept = [name for name, tensor in reset.network.state_dict().items() if tensor.equal(before[name])]
    assert kept == ["encoder.dense1.weight", "encoder.dense1.bias"]
    assert not [
        name
        for name, tensor in fresh.network.state_dict().items()
        if name.endswith("weight") and tensor.equal(before[name])
    ]
    assert not moments(fresh)
    for each in (reset, fresh):
        assert isinstance(each, Dqn)
        assert all(tensor.equal(each.target.state_dict()[name]) for name, tensor in each.network.state_dict().items())


@pytest.mark.parametrize("fixture", ["dqn_run", "ppo_run"])
def test_arms_of_a_seed_see_the_same_first_observations_and_others_do_not(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(fixture)
    agents = [begun(path, arm)[0] for arm in (CONTROL, MOMENT_RESET, INJECTED)]
    other, _ = begun(path, CONTROL, seed=1)
    for each in (*agents, other):
        each.value_targets(16, torch.Generator().manual_seed(0))
    first = agents[0]._current.copy()
    assert all((each._current == first).all() for each in agents)
    assert not (other._current == first).all()
    # Until the first optimiser step all arms decide alike.
    states = [each.streams["act"].get_state() for each in agents]
    assert all(state.equal(states[0]) for state in states)


def test_arms_of_a_seed_fit_the_same_targets_from_the_same_losses(ppo_run: Path) -> None:
    agents = [begun(ppo_run, arm, "critic") for arm in (CONTROL, INJECTED)]
    curves = []
    for agent, made in agents:
        values = agent.value_targets(40, torch.Generator().manual_seed(1))
        assert len(values) == 40
        curves.append(fit_network(agent.network, values, made, seed=5))
    for kind in (FITTING, TD_ERROR):
        assert curves[0][kind].initial == curves[1][kind].initial
        assert curves[0][kind].final != curves[1][kind].final
    assert curves[0][FITTING].initial == pytest.approx(1.0, rel=1e-4)


def test_the_frozen_td_error_is_of_the_values_of_what_was_done(dqn_run: Path) -> None:
    agent, made = begun(dqn_run, CONTROL)
    values = agent.value_targets(30, torch.Generator().manual_seed(1))
    with torch.no_grad():
        own = agent.network.eval()(values.observations)["critic"]
    assert values.actions is not None
    error = (own[torch.arange(30), values.actions] - values.targets).double().square().mean().item()
    assert fit_network(agent.network, values, made, seed=0)[TD_ERROR].initial == pytest.approx(error, rel=1e-5)


def test_of_an_actor_alone_there_is_no_td_error(ppo_run: Path) -> None:
    agent, made = begun(ppo_run, CONTROL, "actor")
    values = agent.value_targets(16, torch.Generator().manual_seed(1))
    assert list(fit_network(agent.network, values, made, seed=0)) == [FITTING]


def test_asking_for_value_targets_leaves_learning_as_it_was(ppo_run: Path) -> None:
    agent, _ = begun(ppo_run, CONTROL)
    before = {name: tensor.clone() for name, tensor in agent.network.state_dict().items()}
    step, rewards = agent.step, agent.get_state()["rewards"]["moments"]
    agent.value_targets(100, torch.Generator().manual_seed(1))
    assert (agent.step, agent.updates) == (step, step // 64)
    assert agent.get_state()["rewards"]["moments"].equal(rewards)
    assert all(tensor.equal(before[name]) for name, tensor in agent.network.state_dict().items())


@pytest.mark.parametrize("toml", [DQN, CARTPOLE.replace("every = 128", "every = 64")], ids=["dqn", "ppo"])
def test_the_runs_folder_is_the_same_before_and_after(tmp_path: Path, toml: str) -> None:
    path = run(tmp_path, toml)
    before = contents(path)
    for step in (64, 0):
        fork = open_fork(path, step)
        agent = fork.agent(design(fork), 0)
        for _ in range(3):
            agent.iterate()
            if agent.replay is not None:
                agent.replay.keep_for(())
        agent.close()
    assert contents(path) == before


def test_a_forked_replay_goes_on_from_the_runs_rows(dqn_run: Path) -> None:
    agent, _ = agent_at(dqn_run)
    assert isinstance(agent, Dqn) and len(agent.replay) == 64
    rows = agent.replay.spread(64)
    agent.iterate()
    assert not agent.replay.spread(64).equal(rows)
    again, _ = agent_at(dqn_run)
    assert isinstance(again, Dqn) and again.replay.spread(64).equal(rows)


def test_without_a_state_a_checkpoint_starts_with_a_new_optimiser_and_its_own_replay(dqn_run: Path) -> None:
    fork = open_fork(dqn_run, 0)
    made = design(fork)
    assert (fork.source, made.arms, made.reference) == ("weights", (CONTROL, INJECTED), CONTROL)
    assert "new optimiser" in fork.notes[0] and "replay is filled anew" in fork.notes[0]
    agent = fork.agent(made, 0)
    assert isinstance(agent, Dqn)
    assert not moments(agent) and len(agent.replay) == 64
    assert agent.step == 0 and agent.episodes.get_state() == []


def test_with_the_old_moments_the_control_is_what_the_injected_arm_is_compared_with(dqn_run: Path) -> None:
    fork = open_fork(dqn_run, 64)
    copied = Design(place(fork.specification), fork.source, ArmSettings(64, head_moments="copy"))
    assert copied.reference == CONTROL and MOMENT_RESET in copied.arms
    agent = fork.agent(copied, 0)
    before = moments(agent)
    begin(INJECTED, agent, copied, torch.Generator().manual_seed(7))
    assert all(moments(agent)[name].equal(tensor) for name, tensor in before.items())


def test_a_learning_rate_that_would_end_on_the_way_is_refused_or_held(tmp_path: Path) -> None:
    path = run(tmp_path, DQN, "baseline", "dqn.schedule=linear")
    fork = open_fork(path, 64)
    placement = place(fork.specification)
    with pytest.raises(ConfigurationError, match="falls to 0 at step 128, before step 164"):
        fork.agent(Design(placement, fork.source, ArmSettings(100)), 0)
    agent = fork.agent(Design(placement, fork.source, ArmSettings(100, learning_rate=0.25)), 0)
    agent.iterate()
    assert [group["lr"] for group in agent.optimizer.param_groups] == [0.25]


def test_what_is_no_run_or_no_step_is_named(tmp_path: Path, dqn_run: Path) -> None:
    with pytest.raises(FileError, match=r"it has no run\.toml"):
        open_fork(tmp_path, 0)
    with pytest.raises(FileError, match=r"at step 7\. States: 64 .*128; checkpoints: 0 64 128"):
        open_fork(dqn_run, 7)


def test_an_atari_run_is_forked(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    path = run(tmp_path, DQN_ATARI, "baseline", "dqn.capacity=64")
    fork = open_fork(path, 64)
    made = Design(place(fork.specification), fork.source, ArmSettings(16, fit_steps=1, fit_batch=4, samples=4))
    agent = fork.agent(made, 0)
    begin(INJECTED, agent, made, torch.Generator().manual_seed(7))
    agent.iterate()
    values = agent.value_targets(4, torch.Generator().manual_seed(0))
    assert fit_network(agent.network, values, made, seed=0)[TD_ERROR].finite
    agent.close()
    assert SETTINGS.budget == 64
