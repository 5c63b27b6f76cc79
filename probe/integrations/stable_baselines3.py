"""A Monitor as a callback of Stable-Baselines3, for its policies and those of sb3-contrib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from probe.monitor import Monitor
from probe.monitor.inputs import Inputs
from probe.observations import ObservationSet
from probe.probes.base import Probe


class MonitorCallback(BaseCallback):
    """Probes the policy of any algorithm while it learns; the scalars go to the algorithm's own logger.

    >>> model.learn(1_000_000, callback=MonitorCallback(observations, out="analysis.h5"))  # doctest: +SKIP
    """

    def __init__(
        self,
        observations: Inputs | ObservationSet | str | Path,
        probes: Sequence[str | Probe] = ("default",),
        **options: Any,
    ) -> None:
        """Keeps what the Monitor is made of when training starts.

        Args:
            observations: As the environment gives them, stacked frames included, before VecNormalize: its statistics of
                the moment are applied at each measurement. Images may have their channels first or last.
            probes: See `probe.Monitor`.
            **options: Further arguments of `probe.Monitor`: `out`, `every` (in environment steps), `modules`, ...
        """
        super().__init__()
        self._observations, self._probes, self._options = observations, probes, options
        self.monitor: Monitor | None = None
        """The Monitor, once training has started."""

    def _on_training_start(self) -> None:
        if self.monitor is None:  # `learn` may be called again
            seed = 0 if self.model.seed is None else int(self.model.seed)
            options = {"seed": seed, "forward": self._forward, "log": self._record, **self._options}
            self.monitor = Monitor(self.model.policy, self._observations, self._probes, **options)
        self.monitor.step(self.num_timesteps)

    def _on_step(self) -> bool:
        if self.monitor is not None:
            self.monitor.step(self.num_timesteps)
        return True

    def _on_training_end(self) -> None:
        if self.monitor is not None:
            self.monitor.write()

    def _record(self, step: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self.logger.record(name, value)

    def _forward(self, policy: BasePolicy, given: Any) -> dict[str, Any]:
        normalize = self.model.get_vec_normalize_env()
        observations = _as_arrays(given)
        if normalize is not None:
            observations = normalize.normalize_obs(observations)
        return policy_outputs(policy, policy.obs_to_tensor(observations)[0])


def policy_outputs(policy: BasePolicy, observations: Any) -> dict[str, Any]:
    """Runs every network of a policy that learns, once, and returns outputs by name; target networks do not run.

    Nothing is sampled. A critic of state and action is given the actor's own action. To a recurrent policy each
    observation is the first of an episode.

    Args:
        policy: Of PPO, A2C, DQN, SAC, TD3, DDPG, TRPO, QR-DQN, TQC, CrossQ, RecurrentPPO, MaskablePPO.
        observations: As `policy.obs_to_tensor` gives them.
    """
    if hasattr(policy, "lstm_actor"):
        return _recurrent(policy, observations)
    if hasattr(policy, "action_net"):
        return _actor_critic(policy, observations)
    for name in ("q_net", "quantile_net"):
        if hasattr(policy, name):
            return {"critic": getattr(policy, name)(observations)}
    action = policy._predict(observations, deterministic=True)
    return {"action": action, "critics": policy.critic(observations, action)}


def random_observations(env: VecEnv, samples: int = 2_560, seed: int = 0) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Plays an environment with random actions and returns the observations, (sample, ...); a dict where it gives one.

    Args:
        env: One of its own: training must not notice.
        samples: How many; the environments take turns.
        seed: Environments and actions follow from it.
    """
    env.seed(seed)
    env.action_space.seed(seed)
    rows = [env.reset()]
    while len(rows) * env.num_envs < samples:
        rows.append(env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))[0])
    if isinstance(rows[0], dict):
        return {name: np.concatenate([each[name] for each in rows])[:samples] for name in rows[0]}
    observations: NDArray[Any] = np.concatenate(rows)[:samples]
    return observations


def _actor_critic(policy: ActorCriticPolicy, observations: Any) -> dict[str, Any]:
    features = policy.extract_features(observations)
    pi_features, vf_features = (features, features) if policy.share_features_extractor else features
    actor = policy.action_net(policy.mlp_extractor.forward_actor(pi_features))
    return {"actor": actor, "critic": policy.value_net(policy.mlp_extractor.forward_critic(vf_features))}


def _recurrent(policy: Any, observations: Tensor) -> dict[str, Any]:
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    layers, _, width = policy.lstm_hidden_state_shape
    count = len(observations)
    blank = torch.zeros(layers, count, width, device=policy.device)
    starts = torch.ones(count, device=policy.device)
    action, value, *_ = policy(observations, RNNStates((blank, blank), (blank, blank)), starts, deterministic=True)
    return {"action": action, "critic": value}


def _as_arrays(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {name: part.cpu().numpy() for name, part in given.items()}
    return given.cpu().numpy()
