"""Zip files of Stable-Baselines3 and sb3-contrib: the readable fields say the policy, its pickled parts stay closed.

The fields are JSON; objects stand in them as a pickle, which is never opened, beside their own plain values.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.checkpoints.archives import read_member
from probe.checkpoints.content import Content, Policy
from probe.checkpoints.layout import Layout, stored_shape
from probe.checkpoints.pickles import load_pickle
from probe.checkpoints.sb3_networks import ActorCritic, ActorWithQ, QNetwork
from probe.checkpoints.stacks import Tensors
from probe.errors import FileError
from probe.modules import ModuleMap
from probe.policies import gaussian

MEMBERS = frozenset({"data", "policy.pth"})
"""What makes a zip file one of these."""
_OWN_MODEL = "Give the network with --model."
_ON_POLICY = ("stable_baselines3.common.policies", "sb3_contrib.common.maskable.policies")
_STOCHASTIC = ("stable_baselines3.sac.policies", "sb3_contrib.tqc.policies")
_QUANTILE_MODULE, _QUANTILES = "sb3_contrib.qrdqn.policies", 200
"""QR-DQN's, and how many quantiles it has by default."""
_VALUES = {"stable_baselines3.dqn.policies": "q_net", _QUANTILE_MODULE: "quantile_net"}
_DETERMINISTIC = ("stable_baselines3.td3.policies",)
_LOG_STD = (-20.0, 2.0)
"""Between which SAC keeps the log of its deviation."""
_KNOWN = (*_ON_POLICY, *_STOCHASTIC, *_VALUES, *_DETERMINISTIC)
_ACTIVATIONS = {
    f"<class 'torch.nn.modules.activation.{cls.__name__}'>": cls
    for cls in (nn.ReLU, nn.Tanh, nn.ELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Mish, nn.Sigmoid, nn.SELU, nn.CELU)
}
_EXTRACTORS = tuple(
    f"<class 'stable_baselines3.common.torch_layers.{name}'>" for name in ("FlattenExtractor", "NatureCNN")
)
_ALGORITHMS = {
    "clip_range": "ppo",
    "cg_max_steps": "trpo",
    "target_policy_noise": "td3",
    "top_quantiles_to_drop_per_net": "tqc",
    "target_entropy": "sac",
    "exploration_fraction": "dqn",
    "gae_lambda": "a2c",
}
"""A field that only one algorithm has, in the order in which they are asked."""
MODULES = {
    "encoder": ("*features_extractor", "*features_extractor.*"),
    "actor": ("mlp_extractor.policy_net*", "action_net*", "actor.*"),
    "critic": ("mlp_extractor.value_net*", "value_net*", "critic.*", "q_net.*", "quantile_net.*"),
}


def read_sb3(path: Path, trust: bool) -> Content:
    """Reads a zip file of `model.save`.

    Raises:
        FileError: it is damaged.
    """
    fields = _fields(path)
    tensors = load_pickle(path, read_member(path, "policy.pth"), trust)
    shared = _kwargs(fields).get("share_features_extractor", _module(fields) in _ON_POLICY)
    kept = {name: tensor for name, tensor in tensors.items() if not _is_left_out(name, bool(shared))}
    encoder = any("features_extractor." in name for name in kept)
    modules = {name: globs for name, globs in MODULES.items() if name != "encoder" or encoder}
    if _module(fields) in _VALUES:
        del modules["actor"]
    seed, step = fields.get("seed"), fields.get("num_timesteps")
    critics = any(name.startswith("critic.qf") for name in kept)
    return Content(
        format="sb3",
        tensors=kept,
        step=step if isinstance(step, int) else None,
        algorithm=_algorithm(fields),
        seed=seed if isinstance(seed, int) else None,
        modules=ModuleMap(modules),
        policy=Sb3Policy(path, fields, bool(shared)),
        remarks=("its critics are given the actions that a set holds, else the actor's own",) if critics else (),
    )


@dataclass(frozen=True)
class Sb3Policy(Policy):
    """What the readable fields say about a policy."""

    path: Path
    fields: Mapping[str, Any]
    shared: bool

    @property
    def layout(self) -> Layout:
        """How stored observations reach the policy: images channels first and, unless switched off, in [0, 1].

        Raises:
            FileError: observations are no images and no vectors.
        """
        space = _table(self.fields, "observation_space")
        shape = space.get("_shape")
        if not _is_class(space, "Box") or not isinstance(shape, list) or len(shape) not in (1, 3):
            raise FileError(
                f"{self.path}: its policy takes observations of {_class(space)} {shape or ''}; images and vectors "
                "can be probed. Several inputs (MultiInputPolicy) cannot."
            )
        whole = tuple(int(side) for side in shape)
        if len(whole) == 1:
            return Layout(whole)
        scaled = space.get("dtype") == "uint8" and _kwargs(self.fields).get("normalize_images", True) is not False
        first = whole[0] == min(whole)
        return Layout(stored_shape(whole, first), channels_first=first, divisor=255.0 if scaled else 1.0)

    def build(self, tensors: Tensors) -> nn.Module:
        """Builds the network, without values.

        Raises:
            FileError: the policy is not one of the library's own, or has parts of the user's.
        """
        self._check()
        module, kwargs = _module(self.fields), _kwargs(self.fields)
        default = nn.Tanh if module in _ON_POLICY else nn.ReLU
        named = kwargs.get("activation_fn")
        activation = default if named is None else _ACTIVATIONS.get(str(named))
        if activation is None:
            raise FileError(f"{self.path}: activation {named} of its policy is none of PyTorch's usual. {_OWN_MODEL}")
        try:
            return self._network(module, tensors, activation)
        except ValueError as error:
            raise FileError(
                f"{self.path}: its policy is not built as the library builds it ({error}). {_OWN_MODEL}"
            ) from error

    def _network(self, module: str, tensors: Tensors, activation: Callable[[], nn.Module]) -> nn.Module:
        if module in _VALUES:
            quantiles = _kwargs(self.fields).get("n_quantiles", _QUANTILES) if module == _QUANTILE_MODULE else 1
            return QNetwork(tensors, activation, _VALUES[module], quantiles)
        if module in _ON_POLICY:
            return ActorCritic(tensors, activation, self._discrete, self.shared)
        return ActorWithQ(tensors, activation, module in _STOCHASTIC, self.shared, self.layout.taken)

    @property
    def exploration(self) -> float | None:
        """The epsilon of DQN and QR-DQN when the file was written."""
        rate = self.fields.get("exploration_rate")
        return float(rate) if isinstance(rate, int | float) and _module(self.fields) in _VALUES else None

    def draw(self, outputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor | None:
        """Draws continuous actions; of TD3 the actor's own, since the noise that was added is no readable field."""
        if _module(self.fields) in _ON_POLICY:
            return super().draw(outputs, generator)
        if (bounds := self.action_bounds) is None:
            return None
        within = outputs["mean"]
        if _module(self.fields) in _STOCHASTIC:
            within = gaussian(within, outputs["log_std"].clamp(*_LOG_STD), generator).tanh()
        low, high = bounds
        return low + (within + 1) / 2 * (high - low)

    @property
    def action_shape(self) -> tuple[int, ...] | None:
        """Of continuous actions that critics take."""
        shape = _table(self.fields, "action_space").get("_shape")
        critics = _module(self.fields) in (*_STOCHASTIC, *_DETERMINISTIC)
        return tuple(shape) if critics and isinstance(shape, list) and self.action_bounds is not None else None

    def with_actions(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Joins observations and actions, which the critics saw stretched to [-1, 1], in one row each."""
        assert self.action_bounds is not None  # there is an action shape
        low, high = self.action_bounds
        return torch.cat([prepared.flatten(1), 2 * (actions.flatten(1) - low) / (high - low) - 1], dim=1)

    @property
    def action_bounds(self) -> tuple[Tensor, Tensor] | None:
        """The least and the largest continuous action; None where they are not readable."""
        space = _table(self.fields, "action_space")
        shape = space.get("_shape")
        count = prod(shape) if isinstance(shape, list) else 0
        low, high = (_numbers(space, name, count) for name in ("low", "high"))
        return None if low is None or high is None or not _is_class(space, "Box") else (low, high)

    @property
    def _discrete(self) -> bool:
        return _is_class(_table(self.fields, "action_space"), "Discrete")

    def _check(self) -> None:
        policy, kwargs = _table(self.fields, "policy_class"), _kwargs(self.fields)
        module = _module(self.fields)
        # The class's name is readable in its own methods only: "<function MultiInputPolicy.__init__ at 0x...>".
        if "MultiInput" in str(policy.get("__init__", "")) or _is_class(
            _table(self.fields, "observation_space"), "Dict"
        ):
            raise FileError(
                f"{self.path}: its MultiInputPolicy takes several inputs; a network with one can be probed."
            )
        if module not in _KNOWN or "Recurrent" in str(policy.get("__init__", "")):
            raise FileError(
                f"{self.path}: its policy is of {module or 'an unknown module'}, which is not rebuilt. {_OWN_MODEL}"
            )
        extractor = kwargs.get("features_extractor_class")
        if extractor is not None and str(extractor) not in _EXTRACTORS:
            raise FileError(f"{self.path}: its features extractor {extractor} is not the library's own. {_OWN_MODEL}")
        if module not in (*_ON_POLICY, *_VALUES) and (kwargs.get("use_sde") or self.fields.get("use_sde")):
            raise FileError(
                f"{self.path}: state-dependent exploration (gSDE) of this policy is not rebuilt. {_OWN_MODEL}"
            )


def _fields(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(read_member(path, "data"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: its fields are damaged ({error}). Copy the file again.") from error
    if not isinstance(fields, dict):
        raise FileError(f"{path}: its fields are no table. It is no file of Stable-Baselines3.")
    return fields


def _algorithm(fields: Mapping[str, Any]) -> str:
    if _module(fields) == _QUANTILE_MODULE:
        return "qrdqn"
    if "target_policy_noise" in fields and (fields.get("policy_delay"), fields.get("target_noise_clip")) == (1, 0.0):
        return "ddpg"  # which the library makes as a TD3 without what TD3 added
    return next((name for key, name in _ALGORITHMS.items() if key in fields), "sb3")


def _table(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _kwargs(fields: Mapping[str, Any]) -> dict[str, Any]:
    return _table(fields, "policy_kwargs")


def _module(fields: Mapping[str, Any]) -> str:
    return str(_table(fields, "policy_class").get("__module__", ""))


def _numbers(space: Mapping[str, Any], name: str, count: int) -> Tensor | None:
    """Returns a bound of a space, which stands there as NumPy prints it; None where it cannot be read."""
    for text in (str(space.get(name, "")), str(space.get(f"{name}_repr", ""))):
        try:
            found = [float(word) for word in text.strip("[]").split()]
        except ValueError:  # long arrays are printed with dots
            continue
        if len(found) in (1, count):
            return torch.tensor(found)
    return None


def _class(space: Mapping[str, Any]) -> str:
    return str(space.get(":type:", "an unknown space")).removeprefix("<class '").removesuffix("'>").rpartition(".")[2]


def _is_class(space: Mapping[str, Any], name: str) -> bool:
    return _class(space) == name


def _is_left_out(name: str, shared: bool) -> bool:
    """Whether a tensor is a target network's, or another name of one that has a name already."""
    head = name.split(".")[0]
    doubles = ("pi_features_extractor", "vf_features_extractor") if shared else ("pi_features_extractor",)
    return head.endswith("_target") or head in doubles
