"""Networks in the form of single-file scripts such as CleanRL's, each also a `--model`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F


class Nature(nn.Module):
    """A Q network that divides its images."""

    def __init__(self, actions: int = 6) -> None:
        super().__init__()
        self.network = nn.Sequential(*nature_layers(), nn.Linear(512, actions))

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.network(images / 255.0)
        return values


def nature_layers() -> list[nn.Module]:
    return [
        *(nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU()),
    ]


class Acting(nn.Module):
    """An agent without `forward`."""

    network: nn.Module
    actor: nn.Module
    critic: nn.Module

    def features(self, observations: Tensor) -> Tensor:
        raise NotImplementedError

    def get_action_and_value(self, observations: Tensor, action: Tensor | None = None) -> tuple[Tensor, ...]:
        hidden = self.features(observations)
        policy: Any = Categorical(logits=self.actor(hidden))
        chosen = policy.sample() if action is None else action
        return chosen, policy.log_prob(chosen), policy.entropy(), self.critic(hidden)


class NatureAgent(Acting):
    def __init__(self, actions: int = 6) -> None:
        super().__init__()
        self.network = nn.Sequential(*nature_layers())
        self.actor, self.critic = nn.Linear(512, actions), nn.Linear(512, 1)

    def features(self, observations: Tensor) -> Tensor:
        hidden: Tensor = self.network(observations / 255.0)
        return hidden


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.conv1(F.relu(self.conv0(F.relu(images))))
        return images + hidden


class ConvSequence(nn.Module):
    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, out, 3, padding=1)
        self.res_block0, self.res_block1 = ResidualBlock(out), ResidualBlock(out)

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.max_pool2d(self.conv(images), kernel_size=3, stride=2, padding=1)
        features: Tensor = self.res_block1(self.res_block0(pooled))
        return features


class ImpalaAgent(Acting):
    """Takes images channels last, as Procgen gives them."""

    def __init__(self, actions: int = 15) -> None:
        super().__init__()
        sequences = [ConvSequence(*sizes) for sizes in ((3, 4), (4, 8), (8, 8))]
        self.network = nn.Sequential(*sequences, nn.Flatten(), nn.ReLU(), nn.Linear(8 * 8 * 8, 32), nn.ReLU())
        self.actor, self.critic = nn.Linear(32, actions), nn.Linear(32, 1)

    def features(self, observations: Tensor) -> Tensor:
        hidden: Tensor = self.network(observations.permute(0, 3, 1, 2) / 255.0)
        return hidden


class MlpAgent(Acting):
    def __init__(self, features: int = 4, hidden: int = 16, actions: int = 2) -> None:
        super().__init__()
        self.critic, self.actor = (
            nn.Sequential(
                *(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()), nn.Linear(hidden, out)
            )
            for out in (1, actions)
        )

    def features(self, observations: Tensor) -> Tensor:
        return observations


class Plain(nn.Module):
    """Functional activations and names without numbers in a list."""

    def __init__(self, features: int = 4, hidden: int = 16, actions: int = 2) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, actions)

    def forward(self, observations: Tensor) -> Tensor:
        values: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(observations)))))
        return values


class Unscaled(nn.Module):
    """Leaves the scale of its images to who calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(4 * 8 * 8, 2)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.head(F.relu(self.conv(images)).flatten(1))
        return values


class Flat(nn.Module):
    """Takes images of any order of axes, and so does not tell which."""

    def __init__(self, size: int = 48) -> None:
        super().__init__()
        self.layer = nn.Linear(size, 2)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.layer(images.flatten(1) / 255.0)
        return values


def drawn(network: type[nn.Module], seed: int, **arguments: Any) -> nn.Module:
    """Builds a network whose values follow from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(**arguments)
