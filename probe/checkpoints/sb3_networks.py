"""The networks of Stable-Baselines3's own policies, rebuilt without the library: same paths, same forward pass.

Source: Raffin et al. 2021, JMLR 22(268), https://github.com/DLR-RM/stable-baselines3. Target networks are left out.
"""

from collections.abc import Callable
from math import prod, sqrt

import torch
from torch import Tensor, nn

from probe.checkpoints.stacks import NATURE, Tensors, convolution, linear, linear_stack

Activation = Callable[[], nn.Module]
_FEATURES = "features_extractor"


class NatureCnn(nn.Module):
    """The feature extractor of CnnPolicy."""

    def __init__(self, tensors: Tensors, path: str) -> None:
        """Builds it from the tensors at a path.

        Raises:
            ValueError: they are another network's.
        """
        super().__init__()
        layers = [convolution(tensors, f"{path}.cnn.{2 * index}", stride) for index, (_, stride) in enumerate(NATURE)]
        if [each.kernel_size for each in layers] != [(kernel, kernel) for kernel, _ in NATURE]:
            raise ValueError(f"the kernels of '{path}.cnn' are not those of NatureCNN")
        self.cnn = nn.Sequential(*(module for each in layers for module in (each, nn.ReLU())), nn.Flatten())
        self.linear = nn.Sequential(linear(tensors, f"{path}.linear.0"), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features (batch, feature) of images (batch, channel, height, width) in [0, 1]."""
        features: Tensor = self.linear(self.cnn(images))
        return features


def _extractor(tensors: Tensors, path: str) -> nn.Module:
    return NatureCnn(tensors, path) if any(name.startswith(f"{path}.") for name in tensors) else nn.Flatten()


class ActorCritic(nn.Module):
    """Of A2C, PPO and their kin. Outputs: `actor` logits, or `mean` and `log_std` of actions, and `critic`."""

    def __init__(self, tensors: Tensors, activation: Activation, discrete: bool, shared: bool) -> None:
        """Builds it; with `shared`, actor and critic have one feature extractor.

        Raises:
            ValueError: the tensors are another network's.
        """
        super().__init__()
        self.discrete, self.shared = discrete, shared
        self.features_extractor = _extractor(tensors, _FEATURES)  # where they are two, the actor's
        if not shared:
            self.vf_features_extractor = _extractor(tensors, f"vf_{_FEATURES}")
        self.mlp_extractor = nn.ModuleDict(
            {
                name: linear_stack(tensors, f"mlp_extractor.{name}", activation, True)
                for name in ("policy_net", "value_net")
            }
        )
        self.action_net, self.value_net = linear(tensors, "action_net"), linear(tensors, "value_net")
        if "log_std" in tensors:
            self.log_std = nn.Parameter(torch.zeros_like(tensors["log_std"], dtype=torch.float32))

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        """Runs actor and critic."""
        for_actor = self.features_extractor(observations)
        for_critic = for_actor if self.shared else self.vf_features_extractor(observations)
        actor, critic = self.mlp_extractor["policy_net"](for_actor), self.mlp_extractor["value_net"](for_critic)
        outputs = {"actor" if self.discrete else "mean": self.action_net(actor)}
        # A deviation that depends on the state (gSDE) is a matrix.
        if "log_std" in self._parameters and self.log_std.ndim == 1:
            outputs["log_std"] = self.log_std.expand_as(outputs["mean"])
        return {**outputs, "critic": self.value_net(critic).squeeze(-1)}

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights as the library does: orthogonal, with a small output of the actor."""
        gains = {"action_net": 0.01, "value_net": 1.0}
        for path, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.orthogonal_(module.weight, gains.get(path, sqrt(2)), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class QNetwork(nn.Module):
    """Of DQN and QR-DQN. Output: `critic`, the value of each action, of QR-DQN the mean of its quantiles."""

    def __init__(self, tensors: Tensors, activation: Activation, name: str, quantiles: int) -> None:
        """Builds it; `name` is `q_net` or `quantile_net`, and of each action there are so many `quantiles`.

        Raises:
            ValueError: the tensors are another network's.
        """
        super().__init__()
        self.quantiles = quantiles
        extractor = _extractor(tensors, f"{name}.{_FEATURES}")
        self.name = name
        self.add_module(
            name,
            nn.ModuleDict({_FEATURES: extractor, name: linear_stack(tensors, f"{name}.{name}", activation, False)}),
        )

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        """Runs the network."""
        features = self.get_submodule(f"{self.name}.{_FEATURES}")(observations)
        values: Tensor = self.get_submodule(f"{self.name}.{self.name}")(features)
        return {"critic": values.reshape(len(values), self.quantiles, -1).mean(dim=1) if self.quantiles > 1 else values}


class ActorWithQ(nn.Module):
    """Of SAC, TD3, DDPG and TQC. Outputs: `mean` of the actions, of SAC before the squashing, with `log_std`; critics.

    The critics are given the action that stands in a row after the observation, else the actor's mean action.
    """

    def __init__(
        self, tensors: Tensors, activation: Activation, stochastic: bool, shared: bool, observation: tuple[int, ...]
    ) -> None:
        """Builds it.

        Args:
            tensors: The state_dict.
            activation: Makes an activation.
            stochastic: Whether the actor is SAC's, which squashes its actions outside of its layers.
            shared: Whether actor and critics have one feature extractor.
            observation: Shape of an observation as the network takes it.

        Raises:
            ValueError: the tensors are another network's.
        """
        super().__init__()
        self.stochastic, self.observation = stochastic, observation
        extractor = _extractor(tensors, f"actor.{_FEATURES}")
        parts: dict[str, nn.Module] = {_FEATURES: extractor}
        if stochastic:
            parts["latent_pi"] = linear_stack(tensors, "actor.latent_pi", activation, True)
            parts |= {name: linear(tensors, f"actor.{name}") for name in ("mu", "log_std")}
        else:
            parts["mu"] = linear_stack(tensors, "actor.mu", activation, False, end=nn.Tanh())
        self.actor = nn.ModuleDict(parts)
        names = sorted({name.split(".")[1] for name in tensors if name.startswith("critic.qf")})
        critics = {name: linear_stack(tensors, f"critic.{name}", activation, False) for name in names}
        critic_extractor = extractor if shared else _extractor(tensors, f"critic.{_FEATURES}")
        self.critic = nn.ModuleDict({_FEATURES: critic_extractor, **critics})

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        """Runs the actor on observations, and the critics on the actions beside them or on its mean action."""
        observations, stored = given, None
        if tuple(given.shape[1:]) != self.observation:
            observations, stored = given.tensor_split([prod(self.observation)], dim=1)
            observations = observations.reshape(-1, *self.observation)
        features = self.actor[_FEATURES](observations)
        outputs = {}
        if self.stochastic:
            latent = self.actor["latent_pi"](features)
            mean, outputs["log_std"] = self.actor["mu"](latent), self.actor["log_std"](latent)
            # tanh, in a form that is not taken for a nonlinearity of the network.
            action = 1 - 2 / (torch.exp(2 * mean) + 1)
        else:
            mean = action = self.actor["mu"](features)
        pair = torch.cat([self.critic[_FEATURES](observations), action if stored is None else stored], dim=1)
        critics = [name for name in self.critic if name != _FEATURES]
        outputs |= {name.replace("qf", "critic"): self.critic[name](pair) for name in critics}
        return {"mean": mean, **outputs}
