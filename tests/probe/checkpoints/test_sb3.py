"""Zip files that Stable-Baselines3 wrote, against the library's own loaded policy."""

import base64
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probe.checkpoints import Hints, open_checkpoint, open_series
from probe.errors import FileError, ShapeError
from tests.probe.checkpoints.outputs import assert_same, captured, hooked
from tests.probe.checkpoints.sb3_runs import CHECKPOINTS, MODELS, new_model, train


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sb3") / "CartPole-v1_1"
    train("ppo", folder, 16 * CHECKPOINTS, 16).save(folder / "CartPole-v1")
    return folder


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.zip"
    trained = not request.param.endswith(("images", "untrained"))  # convolutions take their time
    made = train(request.param, path.parent / "logs", 8, 100) if trained else new_model(request.param)
    made.save(path)
    return type(made).load(path, device="cpu"), path


def observations(model: Any) -> Tensor:
    """Returns a stored batch for a model's policy."""
    shape = model.observation_space.shape
    if len(shape) == 1:
        return torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    stored = (*shape[1:], shape[0])
    return torch.randint(0, 256, (6, *stored), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def run_of(model: Any, batch: Tensor) -> Callable[[], object]:
    """Returns what runs the library's policy, all of it that is no target, on a stored batch."""
    policy = model.policy
    prepared, _ = policy.obs_to_tensor(batch.numpy())
    if hasattr(policy, "predict_values"):
        return lambda: policy(prepared, deterministic=True)
    if values_of(model) is not None:
        return lambda: values_of(model)(prepared)
    # The actor of TD3 is deterministic and takes no such argument.
    how = {"deterministic": True} if hasattr(policy.actor, "latent_pi") else {}
    return lambda: policy.critic(prepared, policy.actor(prepared, **how))


def values_of(model: Any) -> Any:
    """Returns the network of DQN or QR-DQN; None of other algorithms."""
    return getattr(model.policy, "q_net", None) or getattr(model.policy, "quantile_net", None)


def test_every_layer_is_the_librarys_own(model: tuple[Any, Path]) -> None:
    theirs, path = model
    checkpoint, batch = open_checkpoint(path), observations(theirs)
    # SAC's squashing of actions is computed in another form before the critics are given them.
    tolerance = 1e-5 if path.stem.startswith(("sac", "tqc")) else 0.0
    assert_same(captured(checkpoint, batch), hooked(theirs.policy, run_of(theirs, batch)), tolerance)


def test_outputs_are_the_librarys_own(model: tuple[Any, Path]) -> None:
    theirs, path = model
    checkpoint, batch = open_checkpoint(path), observations(theirs)
    prepared, _ = theirs.policy.obs_to_tensor(batch.numpy())
    with torch.no_grad():
        ours = checkpoint.network()(checkpoint.prepare(batch))
        if hasattr(theirs.policy, "predict_values"):
            distribution = theirs.policy.get_distribution(prepared).distribution
            name, wanted = ("mean", distribution.mean) if "mean" in ours else ("actor", distribution.logits)
            # The library's logits are normalised.
            got = ours[name] if name == "mean" else ours[name].log_softmax(-1)
            assert torch.allclose(got, wanted, atol=1e-6)
            assert torch.equal(ours["critic"], theirs.policy.predict_values(prepared).squeeze(-1))
        elif values_of(theirs) is not None:
            values = values_of(theirs)(prepared)  # of QR-DQN (batch, quantile, action)
            assert torch.equal(ours["critic"], values.mean(1) if values.ndim == 3 else values)
        else:
            action = theirs.policy._predict(prepared, deterministic=True)
            values = theirs.policy.critic(prepared, action)
            # TQC stacks its critics along axis 1.
            for index, value in enumerate(values if isinstance(values, tuple) else values.unbind(1)):
                assert torch.allclose(ours[f"critic{index}"], value, atol=1e-5)


def test_layers_belong_to_encoder_actor_and_critic(model: tuple[Any, Path]) -> None:
    checkpoint, batch = open_checkpoint(model[1]), observations(model[0])
    found = {layer: checkpoint.modules.module_of(layer) for layer in captured(checkpoint, batch)}
    for layer, module in found.items():
        parts = layer.split(".")
        encodes = any(part.endswith("features_extractor") for part in parts)
        acts = parts[0] == "actor" or "policy_net" in parts
        assert module == ("encoder" if encodes else "actor" if acts else "critic"), layer
    assert set(found.values()) <= set(checkpoint.modules.names)


def test_the_algorithm_is_named(model: tuple[Any, Path]) -> None:
    theirs, path = model
    name = type(theirs).__name__.lower().removeprefix("maskable")
    assert open_checkpoint(path).description["algorithm"] == name


def test_the_callbacks_folder_is_one_series_in_numeric_order(series: Path) -> None:
    for given in ([series], [f"{series}/*.zip"], sorted(series.glob("*.zip"))):
        (opened,) = open_series(given)
        assert [each.step for each in opened.checkpoints] == [16, 32, 48, 64, 80]
        assert (opened.run, opened.seed) == ("CartPole-v1_1", 1)
        # The final model has no step in its name; its content says that it is that of the last checkpoint.
        assert opened.checkpoints[0].notes() == (
            "CartPole-v1.zip is left out: rl_model_80_steps.zip is at its step, too",
        )
    assert len({each.digest for each in opened.checkpoints}) == 5


def test_the_best_model_is_a_point_of_the_series_where_it_has_a_step_of_its_own(series: Path, tmp_path: Path) -> None:
    for name in ("rl_model_16_steps.zip", "rl_model_48_steps.zip"):
        shutil.copy(series / name, tmp_path / name)
    shutil.copy(series / "rl_model_32_steps.zip", tmp_path / "best_model.zip")
    for beside in ("evaluations.npz", "rl_model_replay_buffer_16_steps.pkl", "0.monitor.csv"):
        (tmp_path / beside).write_bytes(b"")
    (opened,) = open_series([tmp_path])
    assert [each.step for each in opened.checkpoints] == [16, 32, 48]


def test_a_fresh_policy_is_drawn_as_the_library_draws(series: Path) -> None:
    fresh = open_series([series])[0].checkpoints[0].fresh(3)
    assert fresh is not None
    tensors, theirs = fresh.state_dict(), new_model("ppo").policy.state_dict()
    for name, tensor in tensors.items():
        if name.endswith("weight"):
            # Orthogonal matrices of one gain have the same singular values.
            assert torch.allclose(torch.linalg.svdvals(tensor), torch.linalg.svdvals(theirs[name]), atol=1e-5), name
            assert not torch.equal(tensor, theirs[name])
        else:
            assert not tensor.any()


def test_observations_of_another_layout_are_named(tmp_path: Path) -> None:
    new_model("ppo-images").save(tmp_path / "a.zip")
    checkpoint = open_checkpoint(tmp_path / "a.zip")
    for shape, words in (
        ((4, 40, 40), "order of axes differs"),
        ((40, 40, 1), "frame stack differs: collect with a stack of 4"),
        ((64, 64, 3), "the same wrappers"),
    ):
        with pytest.raises(ShapeError, match=words):
            checkpoint.prepare(torch.zeros(1, *shape, dtype=torch.uint8))


def rewritten(source: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copies a zip file with its readable fields changed."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(path, "w") as write:
        for name in read.namelist():
            content = read.read(name)
            if name == "data":
                fields = json.loads(content)
                change(fields)
                content = json.dumps(fields).encode()
            write.writestr(name, content)
    return path


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.evidence,)


def test_the_pickled_parts_stay_closed(series: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "it-ran"
    hostile = base64.b64encode(pickle.dumps(Hostile(evidence))).decode()

    def poison(fields: dict[str, Any]) -> None:
        for value in fields.values():
            if isinstance(value, dict) and ":serialized:" in value:
                value[":serialized:"] = hostile

    source = series / "rl_model_16_steps.zip"
    path = rewritten(source, tmp_path / "poisoned.zip", poison)
    ours = captured(open_checkpoint(path), torch.ones(2, 4))
    assert_same(ours, captured(open_checkpoint(source), torch.ones(2, 4)))
    assert not evidence.exists()
    pickle.loads(base64.b64decode(hostile))
    assert evidence.exists(), "the payload works where it is opened"


REFUSED = {
    "several inputs": (
        lambda fields: fields["observation_space"].update({":type:": "<class 'gymnasium.spaces.dict.Dict'>"}),
        "MultiInputPolicy takes several inputs",
    ),
    "a policy of one's own": (
        lambda fields: fields["policy_class"].update({"__module__": "__main__"}),
        "of __main__, which is not rebuilt. Give the network with --model",
    ),
    "an extractor of one's own": (
        lambda fields: fields.update({"policy_kwargs": {"features_extractor_class": "<class '__main__.Mine'>"}}),
        "Mine'> is not the library's own",
    ),
    "an activation of one's own": (
        lambda fields: fields.update({"policy_kwargs": {"activation_fn": "<class '__main__.Mine'>"}}),
        "none of PyTorch's usual",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_the_librarys_own_is_refused(series: Path, tmp_path: Path, case: str) -> None:
    change, words = REFUSED[case]
    path = rewritten(series / "rl_model_16_steps.zip", tmp_path / "a.zip", change)
    with pytest.raises(FileError, match=words):
        open_checkpoint(path).network()


def test_a_policy_of_ones_own_is_given_with_a_model(series: Path, tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\n"
        "class Policy(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        stack = lambda: nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())\n"
        "        self.mlp_extractor = nn.ModuleDict({'policy_net': stack(), 'value_net': stack()})\n"
        "        self.action_net, self.value_net = nn.Linear(64, 2), nn.Linear(64, 1)\n"
        "    def forward(self, x):\n"
        "        actor, critic = self.mlp_extractor['policy_net'](x), self.mlp_extractor['value_net'](x)\n"
        "        return self.action_net(actor), self.value_net(critic)\n"
    )
    path, batch = series / "rl_model_16_steps.zip", torch.ones(2, 4)
    given = open_checkpoint(path, Hints(model=f"{source}:Policy"))
    assert_same(captured(given, batch), captured(open_checkpoint(path), batch))


def test_the_library_is_not_imported(series: Path) -> None:
    code = (
        "import sys, torch\n"
        "from probe.checkpoints import open_series\n"
        f"checkpoint = open_series([{str(series)!r}])[0].checkpoints[0]\n"
        "checkpoint.network()(checkpoint.prepare(torch.zeros(1, 4)))\n"
        "sys.exit(any(name.split('.')[0] in ('stable_baselines3', 'lightning', 'cloudpickle') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
