"""Plasticity injection, in the form of the paper."""

import torch

from probe.injection import find_cut
from probe.inputs import blank_observation
from probe.networks import build
from probe.trainers.base import Trainer
from probe.trainers.injecting import HeadMoments, inject_agent
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import AtMoments, MomentSettings
from probe.trainers.moments import reset_moments


@register("injection")
class PlasticityInjection(AtMoments):
    """Plasticity injection: behind a cut the network is frozen, and a newly drawn copy learns a change to its outputs.

    The output becomes h(theta) [frozen] + h(theta1') [learns] - h(theta2') [frozen], theta1' = theta2' newly drawn: at
    that moment nothing changes, and as many parameters learn as before, theta1' without moments. The encoder before the
    cut goes on learning through all three; a target network gets the same copies. Another injection freezes theta1' too
    and adds another pair, which costs another two passes through the part. The part must have a hidden nonlinear layer,
    since a linear one would learn as if nothing had been injected. Source: Nikishin et al. 2023, arXiv:2305.15555.
    """

    class Settings(MomentSettings):
        """Where and when it is injected."""

        cut: str = ""
        """Stage of a module from which on it is injected, such as `encoder.dense`; empty: before the last hidden
        layer of every head."""
        head_moments: HeadMoments = "fresh"
        """Whether theta1' begins without moments, or with those of the parameters that it replaces."""
        reset_moments: bool = False
        """Whether the moments of everything are forgotten, as in an ablation of the paper."""
        all_learn: bool = False
        """Whether nothing is frozen and all three parts learn, as in another."""

    settings: Settings

    def begin(self, agent: Trainer, rng: torch.Generator) -> None:
        """Finds the cut.

        Raises:
            ConfigurationError: there is no such stage, no hidden nonlinear layer behind it, or never a time.
        """
        super().begin(agent, rng)
        network = agent.network.eval()
        example = blank_observation(network.spec.observation_shape).to(next(network.parameters()).device)
        self._cut = find_cut(network, example, self.settings.cut or None).layer
        network.branch(self._cut)

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Injects."""
        fresh = build(agent.network.spec, rng)
        settings = self.settings
        learning = inject_agent(agent, optimizer, self._cut, fresh, settings.head_moments, settings.all_learn)
        if settings.reset_moments:
            reset_moments(optimizer, list(agent.network.parameters()))
        self.record(agent, sum(parameter.numel() for parameter in learning), cut=self._cut)
