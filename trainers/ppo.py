"""Proximal policy optimisation, Schulman et al. 2017, arXiv:1707.06347."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from probe import policies
from probe.trainers.advantages import generalised_advantages
from probe.trainers.agent import Agent
from probe.trainers.base import Metrics, ValueTargets, ValueTerms, mean_gradient_norms, module_norms
from probe.trainers.configuration import Configuration
from probe.trainers.episodes import PLAYED, PlayedEpisodes
from probe.trainers.guards import HELD, UNNORMALISED, Warnings, are_even, held, is_beyond
from probe.trainers.machine import autocast
from probe.trainers.mitigations import Mitigation
from probe.trainers.rewards import RewardNormaliser
from probe.trainers.rollout import Decisions, Rollout
from probe.trainers.settings import PpoSettings

_EPSILON = 1e-8
_FIRST_RATIO, _EXPLAINED = "policy/first_ratio_deviation", "value/explained_variance"
_RATIO = "the probability ratio"
_LOGGED = ("loss/policy", "loss/value", "policy/entropy", "policy/kl", "policy/clip_fraction")
_STATISTICS = (_RATIO, *_LOGGED, HELD)
"""Of a batch; of the ratio, the mean distance from 1. Causes come first, as a fault names the first that is broken."""
_OF_MINIBATCH = (*_STATISTICS, UNNORMALISED)


def normalised(advantages: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """Returns the advantages with mean 0 and standard deviation 1; equal ones become 0."""
    return (advantages - advantages.mean()) / (advantages.std() + _EPSILON)


def to_learn_from(advantages: Float[Tensor, "batch"], settings: PpoSettings) -> tuple[Float[Tensor, "batch"], bool]:
    """Returns a minibatch's advantages, normalised where that is set, and whether a guard has kept them as they are."""
    if not settings.normalise_advantages:
        return advantages, False
    kept = settings.guards is not None and are_even(advantages, settings.guards)
    return (advantages if kept else normalised(advantages)), kept


def policy_loss(ratio: Float[Tensor, "batch"], advantages: Float[Tensor, "batch"], clip: float) -> Float[Tensor, ""]:
    """Returns the clipped surrogate loss, equation 7: -mean min(r A, clip(r, 1 - c, 1 + c) A)."""
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def value_loss(
    values: Float[Tensor, "batch"],
    old_values: Float[Tensor, "batch"],
    returns: Float[Tensor, "batch"],
    clip: float | None,
) -> Float[Tensor, ""]:
    """Returns the mean squared error, or, with `clip`, the larger one of it and that of the value held near the old."""
    squared = (values - returns) ** 2
    if clip is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        squared = torch.max(squared, (held - returns) ** 2)
    return squared.mean()


def explained_variance(values: Tensor, returns: Tensor) -> float | None:
    """Returns 1 - Var(returns - values) / Var(returns), or None where the returns are all the same."""
    variance = returns.var().item()
    return 1 - (returns - values).var().item() / variance if variance > 0 else None


def ppo_loss(outputs: dict[str, Tensor], batch: Decisions, settings: PpoSettings) -> tuple[Tensor, Tensor]:
    """Returns the loss of a batch, and its `_STATISTICS` without a gradient."""
    log_probabilities = policies.log_probabilities(outputs["actor"], batch.actions)
    log_ratio = log_probabilities - batch.log_probabilities
    beyond = torch.zeros_like(log_ratio)
    if settings.guards is not None:
        beyond, log_ratio = is_beyond(log_ratio, settings.guards).float(), held(log_ratio, settings.guards)
    ratio = log_ratio.exp()
    policy = policy_loss(ratio, batch.advantages, settings.clip)
    value = value_loss(
        outputs["critic"], batch.values, batch.returns, settings.clip if settings.clip_value_loss else None
    )
    entropy = policies.entropy(outputs["actor"]).mean()
    loss = policy + settings.value_coefficient * value - settings.entropy_coefficient * entropy
    with torch.no_grad():
        deviation = (ratio - 1).abs()
        # http://joschu.net/blog/kl-approx.html: unbiased, never negative, and of low variance.
        kl = (ratio - 1 - log_ratio).mean()
        clipped = (deviation > settings.clip).float().mean()
        return loss, torch.stack((deviation.mean(), policy, value, entropy, kl, clipped, beyond.mean()))


class Ppo(Agent):
    """An agent that plays a fixed number of decisions and learns from them, update by update."""

    algorithm = "ppo"
    score = "return"

    def __init__(
        self, configuration: Configuration, mitigation: Mitigation, seed: int, device: str, precision: str
    ) -> None:
        """Makes environments, network, optimiser and the storage of an update; see `Agent`."""
        configuration = mitigation.configure(configuration)
        self.settings = configuration.table(PpoSettings)
        acting = {"mode": configuration.acting.mode, "policy": "sample"}
        super().__init__(configuration, self.settings.environments, mitigation, seed, device, precision, acting)
        self.rewards = RewardNormaliser(
            self.settings.environments, self.settings.gamma, self.settings.normalise_rewards, self.settings.reward_clip
        )
        space = self.envs.single_observation_space
        dtype = torch.uint8 if space.dtype == np.uint8 else torch.float32
        size = (self.settings.rollout_steps, self.settings.environments)
        self.rollout = Rollout(*size, tuple(space.shape or ()), dtype, self.device)
        self._warnings = None if self.settings.guards is None else Warnings(self.settings.guards)
        self.episodes = PlayedEpisodes()
        self._current, _ = self.envs.reset()
        mitigation.begin(self, self.streams["mitigation"])

    @property
    def columns(self) -> tuple[str, ...]:
        """What `iterate` reports beside the mitigation's metrics and the gradient norms."""
        guarded = () if self.settings.guards is None else (HELD, UNNORMALISED)
        return (*PLAYED, *_LOGGED, _FIRST_RATIO, _EXPLAINED, *guarded, *super().columns)

    @property
    def actions(self) -> Tensor:
        """The actions of the last update."""
        return self.rollout.actions.flatten()

    @property
    def value_terms(self) -> ValueTerms:
        """The discount, and what rewards are divided by now."""
        return ValueTerms(self.settings.gamma, self.rewards.scale)

    def iterate(self, gradient_norms: bool = False) -> Metrics:
        """Shifts the task if its time has come, plays, learns; see `Trainer`."""
        scheduled = self._begin_update()
        with autocast(self.device.type, self.precision):
            # One context around all of them: the weights are cast once, not once a decision.
            metrics = self._play()
        learnt = self._learn(self._estimate(), gradient_norms)
        return metrics | learnt | scheduled | self._end_update(self.rollout.actions.numel())

    def _shifted(self, new_episodes: bool) -> None:
        self._current = self.envs.current_observations()
        self.episodes.restart()
        if new_episodes:
            # The last update took the value of the observation at which they were cut off for what would have followed.
            self.rewards.restart()

    @torch.no_grad()
    def _play(self) -> Metrics:
        """Fills the rollout; returns what the episodes came to that ended in it."""
        rollout = self.rollout
        self.network.train(self.acting["mode"] == "train")
        for time in range(len(rollout.actions)):
            rollout.observations[time] = torch.from_numpy(self._current)
            actions = self._act(time)
            self._current, rewards, terminated, truncated, infos = self.envs.step(actions.numpy())
            ended = terminated | truncated
            rollout.ended[time] = torch.from_numpy(ended)
            rollout.rewards[time] = torch.from_numpy(self.rewards(rewards, ended))
            rollout.final_values[time] = self._final_values(truncated & ~terminated, infos)
            self.episodes.add(infos)
        return self.episodes.metrics()

    def _act(self, time: int) -> Tensor:
        outputs = self._forward(self.rollout.observations[time])
        logits = outputs["actor"].cpu()
        self._require_finite({"the actor's output": logits})
        actions = policies.sample(logits, self.streams["act"])
        self.rollout.actions[time] = actions
        self.rollout.log_probabilities[time] = policies.log_probabilities(logits, actions)
        self.rollout.values[time] = outputs["critic"].cpu()
        return actions

    def _final_values(self, cut_off: NDArray[np.bool_], infos: dict[str, Any]) -> Tensor:
        """Returns V of the last observation of episodes cut off by a time limit, where the environment tells it."""
        values = torch.zeros(len(cut_off))
        if "final_obs" in infos and (rows := np.flatnonzero(cut_off & infos["_final_obs"])).size:
            final = torch.from_numpy(np.stack([infos["final_obs"][row] for row in rows]))
            values[rows] = self._forward(final.to(self.device))["critic"].cpu()
        return values

    @torch.no_grad()
    def _estimate(self) -> Decisions:
        rollout = self.rollout
        last_values = self._forward(torch.from_numpy(self._current).to(self.device))["critic"].cpu()
        advantages = generalised_advantages(
            rollout.rewards,
            rollout.values,
            rollout.ended,
            rollout.final_values,
            last_values,
            self.settings.gamma,
            self.settings.gae_lambda,
        )
        self._require_finite({"the values": rollout.values, "the advantages": advantages})
        return rollout.flat(advantages)

    def value_targets(self, count: int, rng: torch.Generator) -> ValueTargets:
        """Returns what the critic is to learn of decisions that are played for it; where it plays on is as before.

        Environments that cannot save their episodes start new ones.

        Args:
            count: How many, drawn from the first rollouts that are as many.
            rng: Draws which.
        """
        state, played = self.get_state(), []
        for _ in range(-(-count // self.rollout.actions.numel())):
            with autocast(self.device.type, self.precision):
                self._play()
            batch = self._estimate()
            played.append((batch.observations.clone(), batch.returns))
        self.set_state(state)
        observations, returns = (torch.cat(parts) for parts in zip(*played, strict=True))
        chosen = torch.randperm(len(returns), generator=rng)[:count].to(self.device)
        return ValueTargets(observations[chosen], None, returns[chosen])

    def _learn(self, batch: Decisions, gradient_norms: bool) -> Metrics:
        """Goes over the batch in shuffled minibatches; returns means over all of them."""
        self.network.train()
        explained = explained_variance(batch.values, batch.returns)
        statistics, norms = [], []
        for _ in range(self.settings.passes):
            order = torch.randperm(len(batch), generator=self.streams["batch"]).to(self.device)
            for rows in torch.split(order, self.settings.minibatch):
                statistics.append(self._minibatch(batch, rows))
                if gradient_norms:
                    norms.append(module_norms(self.network, gradients=True))
                self._optimise(dict(zip(_OF_MINIBATCH, statistics[-1].tolist(), strict=True)))
        means = dict(zip(_OF_MINIBATCH, torch.stack(statistics).mean(dim=0).tolist(), strict=True))
        metrics: Metrics = {name: means[name] for name in _LOGGED}
        metrics |= {_FIRST_RATIO: statistics[0][0].item(), _EXPLAINED: explained}
        if self._warnings is not None:
            metrics |= {name: means[name] for name in (HELD, UNNORMALISED)}
            self.notes += self._warnings.of(metrics, self.step)
        return metrics | mean_gradient_norms(norms)

    def _minibatch(self, batch: Decisions, rows: Tensor) -> Tensor:
        """Sums the gradients of one minibatch's micro-batches; returns its statistics."""
        advantages, kept = to_learn_from(batch.advantages[rows], self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(len(_STATISTICS), device=self.device)
        size = self.settings.micro_batch
        for chosen, part in zip(torch.split(rows, size), torch.split(advantages, size), strict=True):
            micro = self.mitigation.batch(replace(batch[chosen], advantages=part), self.streams["augment"])
            outputs = self._forward(micro.observations)
            loss, statistics = ppo_loss(outputs, micro, self.settings)
            added = self.mitigation.loss(self, micro, outputs)
            loss = loss if added is None else loss + added
            share = len(chosen) / len(rows)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total += statistics * share
        return torch.cat((total, total.new_tensor([kept])))

    def observations(self, samples: int) -> Tensor:
        """Returns observations of the last rollout, evenly spread over it."""
        flat = self.rollout.observations.flatten(0, 1)
        return flat if samples >= len(flat) else flat[torch.arange(samples) * len(flat) // samples]

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of everything the next update depends on; see `Trainer`."""
        return {**super().get_state(), "rewards": self.rewards.get_state(), "recent": self.episodes.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called; environments that cannot say start new episodes."""
        super().set_state(state)
        self.rewards.set_state(state["rewards"])
        self.episodes.set_state(state["recent"])
        self._current = self.envs.current_observations()
