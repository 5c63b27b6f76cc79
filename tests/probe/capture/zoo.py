"""Networks of the kinds that agents are made of, as their libraries write them, and where their layers are.

Each entry gives a network, what it is called with, and for every layer that capture must find its output as hooks
placed by hand show it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.monitor.live import Called
from tests.probe.capture.agents import DrqCritic, ImpalaAgent, NatureAgent, Rainbow, SimBa, mlp_agent


class Hooks:
    """Inputs and outputs of every module in one forward pass, in call order."""

    def __init__(self, network: nn.Module, *inputs: Any) -> None:
        self.outputs: dict[str, list[Any]] = {}
        self.inputs: dict[str, list[Any]] = {}
        for path, module in network.named_modules():
            module.register_forward_pre_hook(lambda _, given, path=path: self._keep(self.inputs, path, given))
            module.register_forward_hook(lambda _, given, output, path=path: self._keep(self.outputs, path, (output,)))
        with torch.no_grad():
            network(*inputs)

    @staticmethod
    def _keep(kept: dict[str, list[Any]], path: str, given: tuple[Any, ...]) -> None:
        first = given[0] if given else None
        kept.setdefault(path, []).append(first.clone() if isinstance(first, Tensor) else first)


Place = Callable[[Hooks], Tensor]


def out(path: str, function: Callable[[Tensor], Tensor] = lambda x: x, call: int = 0) -> Place:
    """A function of a module's output."""
    return lambda hooks: function(hooks.outputs[path][call])


def into(path: str, call: int = 0) -> Place:
    """What a module is given."""
    return lambda hooks: hooks.inputs[path][call]


def outs(*paths: str) -> dict[str, Place]:
    """Activation modules, whose ids are their paths."""
    return {path: out(path) for path in paths}


@dataclass(frozen=True)
class Entry:
    network: nn.Module
    inputs: tuple[Any, ...]
    layers: Mapping[str, Place]


def _rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _frames(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _sb3(kind: str, observations: Tensor, layers: Mapping[str, Place], actions: Any = None, **options: Any) -> Entry:
    pytest.importorskip("stable_baselines3")
    import importlib

    from gymnasium import spaces

    from probe.integrations.stable_baselines3 import policy_outputs

    home, _, name = kind.rpartition(".")
    low, high, dtype = (0, 255, "uint8") if observations.dtype == torch.uint8 else (-9, 9, "float32")
    space = spaces.Box(low, high, tuple(observations.shape[1:]), dtype)
    policy = getattr(importlib.import_module(home), name)(
        space, actions or spaces.Discrete(3), lambda _: 1e-3, **options
    )
    return Entry(Called(policy, policy_outputs), (observations,), layers)


def _box() -> Any:
    from gymnasium import spaces

    return spaces.Box(-1, 1, (2,))


_CNN = tuple(f"features_extractor.{name}" for name in ("cnn.1", "cnn.3", "cnn.5", "linear.1"))
_HEADS = tuple(f"mlp_extractor.{net}.{index}" for net in ("policy_net", "value_net") for index in (1, 3))


def sb3_mlp() -> Entry:
    return _sb3("stable_baselines3.ppo.policies.MlpPolicy", _rows(5, 4), outs(*_HEADS))


def sb3_nature() -> Entry:
    return _sb3("stable_baselines3.ppo.policies.CnnPolicy", _frames(3, 4, 36, 36), outs(*_CNN))


def sb3_nature_separate() -> Entry:
    layers = outs(*_CNN, *(f"vf_{path}" for path in _CNN))
    options = {"share_features_extractor": False}
    return _sb3("stable_baselines3.ppo.policies.CnnPolicy", _frames(3, 4, 36, 36), layers, **options)


def sb3_dqn() -> Entry:
    return _sb3("stable_baselines3.dqn.policies.CnnPolicy", _frames(3, 4, 36, 36), outs(*(f"q_net.{p}" for p in _CNN)))


def sb3_sac() -> Entry:
    layers = outs("actor.latent_pi.1", "actor.latent_pi.3", *(f"critic.qf{i}.{k}" for i in (0, 1) for k in (1, 3)))
    return _sb3("stable_baselines3.sac.policies.MlpPolicy", _rows(5, 4), layers, _box())


def sb3_td3() -> Entry:
    layers = outs("actor.mu.1", "actor.mu.3", *(f"critic.qf{i}.{k}" for i in (0, 1) for k in (1, 3)))
    return _sb3("stable_baselines3.td3.policies.MlpPolicy", _rows(5, 4), layers, _box())


def sb3_lstm() -> Entry:
    pytest.importorskip("sb3_contrib")

    def hidden(path: str) -> Place:
        return lambda hooks: hooks.outputs[path][0][0].reshape(-1, 8)

    layers = {**{path: hidden(path) for path in ("lstm_actor", "lstm_critic")}, **outs(*_HEADS)}
    return _sb3("sb3_contrib.ppo_recurrent.policies.MlpLstmPolicy", _rows(5, 4), layers, lstm_hidden_size=8)


def cleanrl_mlp() -> Entry:
    return Entry(mlp_agent(), (_rows(5, 4),), outs("critic.1", "critic.3", "actor.1", "actor.3"))


def cleanrl_nature() -> Entry:
    return Entry(NatureAgent(), (_frames(3, 4, 36, 36),), outs(*(f"network.{index}" for index in (1, 3, 5, 8))))


def cleanrl_impala() -> Entry:
    layers: dict[str, Place] = {}
    for stage in range(3):
        for block in range(2):
            path = f"network.{stage}.res_block{block}"
            layers[f"{path}:relu"] = into(f"{path}.conv0")
            layers[f"{path}:relu#2"] = into(f"{path}.conv1")
    return Entry(ImpalaAgent(), (_frames(2, 16, 16, 3),), {**layers, **outs("network.4", "network.6")})


def rainbow() -> Entry:
    layers = {":relu": out("conv1", F.relu), ":relu#2": out("conv2", F.relu), **outs("value.1", "advantage.1")}
    return Entry(Rainbow(), (_frames(3, 4, 24, 24),), layers)


def drq_critic() -> Entry:
    encoder = outs("encoder.convnet.1", "encoder.convnet.3")
    heads = outs("trunk.2", *(f"{q}.{index}" for q in ("Q1", "Q2") for index in (1, 3)))
    return Entry(DrqCritic(), (_frames(3, 9, 21, 21), _rows(3, 2)), {**encoder, **heads})


def simba() -> Entry:
    layers = {f"blocks.{i}:relu": out(f"blocks.{i}.fc1", F.relu) for i in (0, 1)}
    return Entry(SimBa(), (_rows(5, 4),), layers)


def transformer(batch_first: bool) -> Entry:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first, activation="gelu")

    def batch_axis_first(output: Tensor) -> Tensor:
        return F.gelu(output if batch_first else output.transpose(0, 1))

    layers = {f"layers.{i}:gelu": out(f"layers.{i}.linear1", batch_axis_first) for i in (0, 1)}
    inputs = _rows(5, 3, 8) if batch_first else _rows(3, 5, 8)
    return Entry(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (inputs,), layers)


def one_dimensional() -> Entry:
    network = nn.Sequential(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(48, 7), nn.ReLU())
    return Entry(network, (_rows(4, 3, 10),), {"2": out("2", lambda output: output.unsqueeze(-1)), "5": out("5")})


def resnet() -> Entry:
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 12, 12], "depths": [2, 2, 2, 2]}
    network = transformers.ResNetForImageClassification(transformers.ResNetConfig(layer_type="basic", **sizes))
    blocks = [f"resnet.encoder.stages.{stage}.layers.{block}" for stage in range(4) for block in range(2)]
    paths = [path for block in blocks for path in (f"{block}.layer.0.activation", f"{block}.activation")]
    return Entry(network, (_rows(2, 3, 32, 32),), outs("resnet.embedder.embedder.activation", *paths))


def vit() -> Entry:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    configuration = transformers.ViTConfig(**sizes, image_size=16, patch_size=8)
    network = transformers.ViTForImageClassification(configuration)
    return Entry(network, (_rows(2, 3, 16, 16),), outs(*(f"vit.layers.{i}.mlp.activation_fn" for i in (0, 1))))


def gpt2() -> Entry:
    transformers = pytest.importorskip("transformers")
    sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 10, "n_positions": 4}
    configuration = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    return Entry(
        transformers.GPT2Model(configuration), (torch.arange(8).view(2, 4),), outs("h.0.mlp.act", "h.1.mlp.act")
    )


ZOO: dict[str, Callable[[], Entry]] = {
    "SB3 PPO, MlpPolicy": sb3_mlp,
    "SB3 PPO, CnnPolicy (NatureCNN, shared)": sb3_nature,
    "SB3 PPO, CnnPolicy, separate extractors": sb3_nature_separate,
    "SB3 DQN, CnnPolicy": sb3_dqn,
    "SB3 SAC, actor and both critics": sb3_sac,
    "SB3 TD3, actor and both critics": sb3_td3,
    "sb3-contrib RecurrentPPO, MlpLstmPolicy": sb3_lstm,
    "CleanRL-shaped MLP agent": cleanrl_mlp,
    "CleanRL-shaped Nature agent": cleanrl_nature,
    "CleanRL-shaped IMPALA agent (functional ReLU)": cleanrl_impala,
    "Rainbow-style dueling, noisy, distributional": rainbow,
    "DrQ-v2 critic (state and action)": drq_critic,
    "SimBa-style residual MLP": simba,
    "nn.TransformerEncoder, batch first": lambda: transformer(batch_first=True),
    "nn.TransformerEncoder, time first": lambda: transformer(batch_first=False),
    "1-D convolutions": one_dimensional,
    "Hugging Face ResNet-18": resnet,
    "Hugging Face ViT": vit,
    "Hugging Face GPT-2": gpt2,
}
