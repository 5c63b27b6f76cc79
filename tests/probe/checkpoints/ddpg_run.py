"""A DDPG of one file in CleanRL's shape, for some updates on Pendulum; as a file it is a `--model`."""

from pathlib import Path

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 20
"""Between two checkpoints, with one update each."""


class QNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(3 + 1, 24), nn.Linear(24, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        values: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.cat([x, a], 1))))))
        return values


class Actor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc_mu = nn.Linear(3, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.tanh(self.fc_mu(F.relu(self.fc1(x))))


def train(folder: Path, checkpoints: int) -> None:
    """Writes `ddpg_<step>.cleanrl_model` files with a tuple of both state_dicts, the first untrained."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        actor, critic = Actor(), QNetwork()
        optimizers = [torch.optim.Adam(network.parameters(), lr=0.01) for network in (actor, critic)]
        game = gymnasium.make("Pendulum-v1")
        state = torch.from_numpy(game.reset(seed=1)[0])
        for step in range(checkpoints * STEPS):
            if step % STEPS == 0:
                torch.save((actor.state_dict(), critic.state_dict()), folder / f"ddpg_{step}.cleanrl_model")
            action = (actor(state[None]) + 0.5 * torch.randn(1, 1)).clamp(-2, 2).detach()
            after, reward, *_ = game.step(action[0].numpy())
            following = torch.from_numpy(after)
            _update(actor, critic, optimizers, (state[None], action, float(reward), following[None]))
            state = following


def _update(
    actor: Actor, critic: QNetwork, optimizers: list[torch.optim.Adam], seen: tuple[Tensor, Tensor, float, Tensor]
) -> None:
    states, actions, reward, following = seen
    with torch.no_grad():
        target = reward + 0.99 * critic(following, actor(following))
    for optimizer, loss in zip(
        reversed(optimizers),
        (lambda: (critic(states, actions) - target).square().mean(), lambda: -critic(states, actor(states)).mean()),
        strict=True,
    ):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
