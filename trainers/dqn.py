"""Deep Q-learning, Mnih et al. 2015, https://doi.org/10.1038/nature14236, with double estimates and n-step returns."""

import copy
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import huber_loss, mse_loss

from probe import policies
from probe.networks import Network, NetworkSpec
from probe.trainers.agent import Agent
from probe.trainers.base import Metrics, ValueTargets, ValueTerms, mean_gradient_norms, module_norms
from probe.trainers.configuration import Configuration
from probe.trainers.episodes import PLAYED, PlayedEpisodes
from probe.trainers.mitigations import Mitigation
from probe.trainers.replay import Replay, Transitions
from probe.trainers.settings import DqnSettings

_STATISTICS = ("loss/value", "value/mean")
_EPSILON = "policy/epsilon"


def epsilon_at(step: int, settings: DqnSettings) -> float:
    """Returns the probability of a random action: it falls linearly from the first to the last value."""
    share = min(1.0, step / settings.epsilon_steps)
    return settings.epsilon_first + share * (settings.epsilon_last - settings.epsilon_first)


def target_values(
    rewards: Float[Tensor, "batch"],
    discounts: Float[Tensor, "batch"],
    following: Float[Tensor, "batch action"],
    choosing: Float[Tensor, "batch action"],
) -> Float[Tensor, "batch"]:
    """Returns r + discount x Q(s', argmax of the choosing values), van Hasselt et al. 2016, arXiv:1509.06461.

    Args:
        rewards: n-step returns.
        discounts: of what follows.
        following: the target network's values of the next observations.
        choosing: the learning network's for double Q-learning, else the target network's.
    """
    best = policies.greedy(choosing)
    return rewards + discounts * following.gather(1, best.unsqueeze(1)).squeeze(1)


def value_loss(
    values: Float[Tensor, "batch"], targets: Float[Tensor, "batch"], kind: Literal["huber", "squared"]
) -> Float[Tensor, ""]:
    """Returns the mean of the squared error, or of half of it within 1 and of |error| - 1/2 beyond."""
    return huber_loss(values, targets) if kind == "huber" else mse_loss(values, targets)


class Dqn(Agent):
    """An agent that stores every decision, and after every few of them learns from a draw of all that is stored.

    The module `critic` gives the value of each action. An update is a number of decisions, with the optimiser's steps
    and the copies into the target network that fall into it.
    """

    algorithm = "dqn"
    score = "return"
    outputs = ("critic",)
    values_actions = True
    replay: Replay

    def __init__(
        self, configuration: Configuration, mitigation: Mitigation, seed: int, device: str, precision: str
    ) -> None:
        """Makes environments, networks, optimiser and an empty replay; see `Agent`."""
        configuration = mitigation.configure(configuration)
        self.settings = configuration.table(DqnSettings)
        acting: dict[str, str | float] = {
            "mode": "eval",
            "policy": "epsilon-greedy",
            "epsilon": self.settings.epsilon_last,
        }
        super().__init__(configuration, self.settings.environments, mitigation, seed, device, precision, acting)
        space = self.envs.single_observation_space
        self.replay = Replay(
            self.settings.capacity,
            self.settings.environments,
            tuple(space.shape or ()),
            np.dtype(np.uint8 if space.dtype == np.uint8 else np.float32),
            self.environment.frame_stack,
        )
        self.episodes = PlayedEpisodes()
        self._current, _ = self.envs.reset()
        mitigation.begin(self, self.streams["mitigation"])

    @property
    def columns(self) -> tuple[str, ...]:
        """What `iterate` reports beside the mitigation's metrics and the gradient norms."""
        return (*PLAYED, *_STATISTICS, _EPSILON, *super().columns)

    def _make_network(self, spec: NetworkSpec) -> None:
        super()._make_network(spec)
        self.target = copy.deepcopy(self.network).requires_grad_(False).eval()

    @property
    def value_terms(self) -> ValueTerms:
        """The discount."""
        return ValueTerms(self.settings.gamma, scale=1.0)

    @property
    def copies(self) -> tuple[Network, ...]:
        """The target network."""
        return (self.target,)

    def iterate(self, gradient_norms: bool = False) -> Metrics:
        """Shifts the task if its time has come, then decides, stores and learns; see `Trainer`."""
        scheduled = self._begin_update()
        settings, together = self.settings, self.settings.environments
        statistics, norms = [], []
        for step in range(self.step + together, self.step + settings.update_steps + 1, together):
            self._decide(epsilon_at(step - together, settings))
            for _ in range(_passed(step, together, settings.train_period) if step > settings.learning_starts else 0):
                statistics.append(self._learn())
                if gradient_norms:
                    norms.append(module_norms(self.network, gradients=True))
                self._optimise(dict(zip(_STATISTICS, statistics[-1].tolist(), strict=True)))
            if _passed(step, together, settings.target_period):
                self.synchronise()
        metrics = self.episodes.metrics() | {_EPSILON: epsilon_at(self.step + settings.update_steps, settings)}
        if statistics:
            metrics |= dict(zip(_STATISTICS, torch.stack(statistics).mean(dim=0).tolist(), strict=True))
        return metrics | mean_gradient_norms(norms) | scheduled | self._end_update(settings.update_steps)

    def _decide(self, epsilon: float) -> None:
        """Plays a decision in every environment and stores it."""
        values = self._values(self.network, torch.from_numpy(self._current).to(self.device)).cpu()
        actions = policies.epsilon_greedy(values, epsilon, self.streams["act"]).numpy()
        observations, rewards, terminated, truncated, infos = self.envs.step(actions)
        self.replay.add(self._current, actions, rewards, terminated, truncated)
        self.episodes.add(infos)
        self._current = observations

    @torch.no_grad()
    def _values(self, network: Network, observations: Tensor) -> Tensor:
        """Returns a network's values of every action, in eval mode."""
        if network.training:  # going through all modules takes as long as a layer
            network.eval()
        return self._outputs(network, observations)["critic"]

    def _learn(self) -> Tensor:
        """Computes the gradients of one minibatch; returns its `_STATISTICS`."""
        settings = self.settings
        drawn = self.replay.sample(settings.minibatch, settings.n_step, settings.gamma, self.streams["batch"])
        batch = self.mitigation.batch(drawn.to(self.device), self.streams["augment"])
        targets = self._targets(batch)
        self.network.train()
        outputs = self._forward(batch.observations)
        values = outputs["critic"].gather(1, batch.actions.unsqueeze(1)).squeeze(1)
        loss = value_loss(values, targets, settings.loss)
        added = self.mitigation.loss(self, batch, outputs)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if added is None else loss + added).backward()  # type: ignore[no-untyped-call]
        return torch.stack((loss, values.mean())).detach()

    def _targets(self, batch: Transitions) -> Tensor:
        following = self._values(self.target, batch.next_observations)
        choosing = self._values(self.network, batch.next_observations) if self.settings.double else following
        return target_values(batch.rewards, batch.discounts, following, choosing)

    def fill(self, decisions: int) -> None:
        """Plays and stores as many decisions as the replay lacks of a number, and learns nothing."""
        while len(self.replay) < min(decisions, self.settings.capacity):
            self._decide(epsilon_at(self.step, self.settings))
        self.episodes.metrics()  # what ended is no update's
        self.episodes.restart()

    def value_targets(self, count: int, rng: torch.Generator) -> ValueTargets:
        """Returns what the critic is to learn of decisions drawn from the replay, as the target network stands."""
        settings = self.settings
        batch = self.replay.sample(count, settings.n_step, settings.gamma, rng).to(self.device)
        return ValueTargets(batch.observations, batch.actions, self._targets(batch))

    def _shifted(self, new_episodes: bool) -> None:
        self._current = self.envs.current_observations()
        self.replay.cut(new_episodes)
        self.episodes.restart()

    def observations(self, samples: int) -> Tensor:
        """Returns observations evenly spread over the replay; before the first decision, the current ones."""
        return self.replay.spread(samples) if len(self.replay) else torch.from_numpy(self._current)[:samples]

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of everything the next update depends on but the replay's rows; see `Trainer`."""
        target = {name: tensor.detach().cpu().clone() for name, tensor in self.target.state_dict().items()}
        own = {"target": target, "replay": self.replay.get_state(), "recent": self.episodes.get_state()}
        return {**super().get_state(), **own}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called; environments that cannot say start new episodes."""
        super().set_state(state)
        self.target.load_state_dict(state["target"])
        self.replay.set_state(state["replay"])
        self.episodes.set_state(state["recent"])
        self._current = self.envs.current_observations()
        if state["environments"] is None:
            self.replay.cut(new_episodes=True)


def _passed(step: int, steps: int, period: int) -> int:
    """Returns how many multiples of a period the last `steps` have reached."""
    return step // period - (step - steps) // period
