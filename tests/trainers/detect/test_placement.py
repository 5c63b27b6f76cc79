"""Where networks are injected, and splitting a trunk: by hand, and with the function unchanged."""

from pathlib import Path

import pytest
import torch

from probe.errors import ConfigurationError
from probe.networks import NetworkSpec, build, preset
from probe.trainers.detect.placement import Placement, place
from probe.trainers.detect.splitting import split_specification, split_state
from probe.trainers.moments import learning_parameters
from tests.trainers.mitigations.agents import agent, inputs, outputs, snapshot


def spec(name: str, modules: tuple[str, ...] = ("encoder", "actor", "critic")) -> NetworkSpec:
    made = preset(name, (4,) if name == "mlp" else (64, 64, 3), 3, 8)
    return made.model_copy(update={"modules": {each: made.modules[each] for each in modules}})


DQN_MLP = spec("mlp", ("encoder", "critic"))


@pytest.mark.parametrize(
    ("network", "module", "expected"),
    [
        (DQN_MLP, None, Placement("critic", "encoder.dense2")),
        (spec("nature", ("encoder", "critic")), None, Placement("critic", "critic.dense")),
        (spec("mlp"), None, Placement("both", "encoder.dense2")),
        (spec("conv64"), "both", Placement("both", "encoder.dense")),
        (spec("conv64"), "actor", Placement("actor", "actor.dense", split="encoder.dense")),
        (spec("nature"), "critic", Placement("critic", "critic.dense")),
        (spec("nature"), "both", Placement("both", "encoder.flatten")),
        (spec("impala"), "critic", Placement("critic", "critic.dense", split="encoder.dense")),
    ],
)
def test_the_default_is_before_the_last_hidden_layer_of_what_is_asked_about(
    network: NetworkSpec, module: str | None, expected: Placement
) -> None:
    assert place(network, module) == expected  # type: ignore[arg-type]


def test_an_earlier_cut_can_be_asked_for() -> None:
    assert place(DQN_MLP, "critic", "encoder.dense1").cut == "encoder.dense1"


@pytest.mark.parametrize("cut", ["critic.output", "encoder.relu2", "nowhere"])
def test_a_purely_linear_part_is_refused(cut: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--cut {cut}: .*Choose encoder.dense1 or .* or encoder.dense2"):
        place(DQN_MLP, "critic", cut)


@pytest.mark.parametrize("module", ["actor", "both"])
def test_a_head_that_is_not_there_is_refused(module: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no other head than critic\. Choose --inject critic"):
        place(DQN_MLP, module)  # type: ignore[arg-type]


def test_a_network_that_was_injected_is_injected_there_again() -> None:
    network = build(spec("mlp"), torch.Generator().manual_seed(0))
    network.inject("encoder.dense1", build(network.spec, torch.Generator().manual_seed(1)), step=0)
    assert place(network.spec).cut == "encoder.dense1"
    with pytest.raises(ConfigurationError, match=r"injected as one function before\. Choose --inject both"):
        place(network.spec, "critic")


def test_where_names_meet_the_trunk_cannot_be_split() -> None:
    made = spec("nature")
    head = made.modules["actor"]
    renamed = head.model_copy(
        update={"stages": (head.stages[0].model_copy(update={"name": "conv3"}), *head.stages[1:])}
    )
    clashing = made.model_copy(update={"modules": {**made.modules, "actor": renamed}})
    with pytest.raises(ConfigurationError, match="'actor' has a stage 'conv3' of its own"):
        split_specification(clashing, "encoder.conv3")


@pytest.mark.parametrize("method", ["baseline", "l2-init", "layernorm", "specnorm", "cbp"])
def test_a_split_trunk_gives_the_same_outputs_and_each_head_the_moments(tmp_path: Path, method: str) -> None:
    whole = agent(tmp_path, method)
    whole.iterate()
    given = inputs(whole)
    state = split_state(whole.get_state(), "encoder.dense2")
    other = agent(tmp_path, method)
    other.set_state(state)
    expected = outputs(whole, given)
    assert all(torch.equal(found, expected[name]) for name, found in outputs(other, given).items())
    before, after = snapshot(whole), snapshot(other)
    moved = [name for name in before if name not in after]
    assert moved and not [name for name in moved if name.startswith("encoder.dense1") or name[:8] != "encoder."]
    for name in moved:
        for head in ("actor", "critic"):
            assert after[name.replace("encoder", head)].equal(before[name])
    assert all(after[name].equal(before[name]) for name in before if name not in moved)
    extra = sum(p.numel() for p in whole.network.get_submodule("encoder.dense2").parameters())
    sizes = [sum(p.numel() for p in learning_parameters(each.network)) for each in (whole, other)]
    assert sizes[1] >= sizes[0] + extra
    other.iterate()
    assert all(value is None or value == value for value in other.iterate().values())
    learnt = snapshot(other)
    halves = [[name.replace("encoder", head) for name in moved] for head in ("actor", "critic")]
    assert not all(learnt[first].equal(learnt[second]) for first, second in zip(*halves, strict=True))
