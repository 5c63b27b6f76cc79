"""PPO's update written out plainly, with the settings and in the form of CleanRL's ppo_procgen.

What ours is held against: for equality, and for speed. On the same decisions it gives, bit for bit, the weights that
CleanRL's file gives (`python -m tests.benchmarks cleanrl`).
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Categorical

from probe.networks import Network
from probe.networks.convolution import Convolution
from probe.networks.dense import Dense
from probe.networks.max_pool import MaxPool
from probe.trainers.base import Trainer
from probe.trainers.mitigations import Mitigation
from probe.trainers.mitigations.base import NoSettings
from probe.trainers.optimiser_state import load_optimiser_state, optimiser_state
from probe.trainers.ppo import Ppo

GAMMA, LAMBDA, CLIP = 0.999, 0.95, 0.2
VALUE_COEFFICIENT, ENTROPY_COEFFICIENT = 0.5, 0.01
LARGEST_NORM = 0.5
LEARNING_RATE, ADAM_EPSILON = 5e-4, 1e-5
PYTORCHS = {Dense: nn.Linear, Convolution: nn.Conv2d, MaxPool: nn.MaxPool2d}


class PlainPpo:
    """An update's decisions and a learner: PyTorch's layers and layout, float32, whole minibatches, Adam unfused."""

    def __init__(self, network: Network, steps: int, environments: int) -> None:
        """Allocates; `network` is learnt in place, with an encoder, an actor and a critic, on images of 64 x 64 x 3."""
        self.network = _of_pytorchs_layers(network)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, eps=ADAM_EPSILON)
        size = (steps, environments)
        self.observations = torch.zeros((*size, 64, 64, 3))
        self.actions, self.log_p, self.rewards, self.began, self.values = (torch.zeros(size) for _ in range(5))
        # What follows the last decision.
        self.current, self.current_began = torch.zeros(environments, 64, 64, 3), torch.zeros(environments)

    def forward(self, observations: Float[Tensor, "batch height width channel"]) -> tuple[Categorical, Tensor]:
        """Returns the policy and the values of observations from 0 to 255."""
        hidden = self.network.get_submodule("encoder")(observations.permute(0, 3, 1, 2) / 255.0)
        logits = self.network.get_submodule("actor")(hidden)
        return Categorical(logits=logits), self.network.get_submodule("critic")(hidden).flatten()

    def take(self, trainer: Ppo) -> None:
        """Copies the weights and the decisions of ours."""
        self.network.load_state_dict(trainer.network.state_dict())
        rollout = trainer.rollout
        self.observations.copy_(rollout.observations)
        self.actions.copy_(rollout.actions)
        self.log_p.copy_(rollout.log_probabilities)
        self.values.copy_(rollout.values)
        self.rewards.copy_(rollout.rewards)
        self.began[1:] = rollout.ended[:-1]
        self.current_began.copy_(rollout.ended[-1])
        self.current.copy_(torch.from_numpy(trainer._current))

    def update(self, orders: Iterable[Int[Tensor, "batch"]], minibatch: int) -> None:
        """Learns from the decisions in the given orders, a pass each."""
        for _ in self.steps(orders, minibatch):
            pass

    def steps(self, orders: Iterable[Int[Tensor, "batch"]], minibatch: int) -> Iterator[None]:
        """Learns as `update` does; yields after each optimiser step."""
        advantages = self.advantages()
        for order in orders:
            for rows in torch.split(order, minibatch):
                yield self.learn(rows, advantages.flatten()[rows])

    @torch.no_grad()
    def advantages(self) -> Float[Tensor, "time environment"]:
        """Returns generalised advantages, from the last decision to the first."""
        advantages, running = torch.zeros_like(self.rewards), torch.zeros_like(self.current_began)
        following, going = self.forward(self.current)[1], 1 - self.current_began
        for time in reversed(range(len(self.rewards))):
            delta = self.rewards[time] + GAMMA * following * going - self.values[time]
            advantages[time] = running = delta + GAMMA * LAMBDA * going * running
            following, going = self.values[time], 1 - self.began[time]
        return advantages

    def learn(self, rows: Int[Tensor, "minibatch"], advantages: Float[Tensor, "minibatch"]) -> None:
        """Makes one optimiser step on a minibatch."""
        old = self.values.flatten()[rows]
        policy, values = self.forward(self.observations.flatten(0, 1)[rows])
        ratio = (policy.log_prob(self.actions.flatten()[rows].long()) - self.log_p.flatten()[rows]).exp()
        returns, scaled = advantages + old, (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        surrogate = torch.max(-scaled * ratio, -scaled * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
        held = old + (values - old).clamp(-CLIP, CLIP)
        value = 0.5 * torch.max((values - returns) ** 2, (held - returns) ** 2).mean()
        loss = surrogate - ENTROPY_COEFFICIENT * policy.entropy().mean() + VALUE_COEFFICIENT * value
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_NORM)
        self.optimizer.step()


class StepByStep(Mitigation):
    """Goes with ours: after each step of it, makes the plain one, notes the difference, and lets ours go on from there.

    So every step starts from the same weights and moments. Left to themselves the two drift apart by what rounding
    becomes: Adam's first steps move a weight by the whole learning rate whichever sign its small gradient has.
    """

    def __init__(self, plain: PlainPpo, orders: Iterable[Tensor], minibatch: int) -> None:
        """Takes the plain learner, with the weights and the decisions of ours."""
        super().__init__(NoSettings())
        self.plain = plain
        self.differences: list[float] = []
        """The largest of any weight, by step."""
        self._steps = plain.steps(orders, minibatch)

    def after_step(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Makes the plain step."""
        next(self._steps)
        self.differences.append(distance(agent.network, self.plain.network))
        agent.network.load_state_dict(self.plain.network.state_dict())
        moments = optimiser_state(self.plain.optimizer)["state"]
        load_optimiser_state(optimizer, {**optimiser_state(optimizer), "state": moments})


@torch.no_grad()
def distance(first: nn.Module, second: nn.Module) -> float:
    """Returns the largest difference between the weights of two networks."""
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def _of_pytorchs_layers(network: Network) -> Network:
    """Takes our own forms of layers out of a network, in place."""
    for module in network.modules():
        module.__class__ = PYTORCHS.get(type(module), type(module))
    return network
