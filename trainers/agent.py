"""What every agent that learns update by update has: environments, network, optimiser, task shifts and their state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar

import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from probe.datasets.environments import make
from probe.errors import ConfigurationError
from probe.networks import Network, NetworkSpec, build
from probe.trainers.architecture import specification
from probe.trainers.base import Metrics, NumericalFault, ValueTerms
from probe.trainers.configuration import Configuration
from probe.trainers.learning_rate import learning_rate_factor
from probe.trainers.machine import autocast
from probe.trainers.mitigations import Mitigation
from probe.trainers.moments import learning_parameters
from probe.trainers.optimiser_state import load_optimiser_state, optimiser_state
from probe.trainers.replay import Replay
from probe.trainers.settings import LearningSettings
from probe.trainers.streams import Streams

_RATE = "optimizer/learning_rate"


class Agent(ABC):
    """The part of a `Trainer` that no algorithm changes."""

    algorithm: str
    score: str
    outputs: ClassVar[tuple[str, ...]] = ("actor", "critic")
    """The network's modules beside the encoder."""
    values_actions: ClassVar[bool] = False
    """Whether the critic has a value for each action, or one for the state."""
    replay: Replay | None = None

    def __init__(
        self,
        configuration: Configuration,
        environments: int,
        mitigation: Mitigation,
        seed: int,
        device: str,
        precision: str,
        acting: Mapping[str, str | float],
    ) -> None:
        """Makes environments, network and optimiser.

        Args:
            configuration: the run's settings, with the mitigation's changes.
            environments: how many are stepped together.
            mitigation: what steps into the training.
            seed: everything random follows from it.
            device: `cpu` or `cuda`.
            precision: `bfloat16` or `float32`, for acting and learning alike.
            acting: in which mode and by which policy actions are chosen.

        Raises:
            ConfigurationError: actions are not discrete, or the network does not take the observations.
        """
        self.learning: LearningSettings = configuration.learning
        self.environment = configuration.environment
        self.mitigation = mitigation
        self.streams = Streams(seed)
        self.device, self.precision = torch.device(device), precision
        self.step = self.frames = self.updates = 0
        self._total_updates = configuration.total_updates
        self.task = self.environment.task
        self.acting: dict[str, Any] = {**acting, "precision": precision}
        self.interventions: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.envs = make(
            self.environment,
            environments,
            self.streams.draw_seed("environment"),
            configuration.compute.environment_threads,
        )
        self._make_network(self._specification(configuration))

    @property
    def value_terms(self) -> ValueTerms | None:
        """What the output `critic` has learnt to tell; there is none, unless an algorithm has one."""
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """What `iterate` reports beside the mitigation's metrics and the gradient norms."""
        return () if self.learning.schedule == "constant" else (_RATE,)

    @abstractmethod
    def iterate(self, gradient_norms: bool = False) -> Metrics:
        """Makes one update; see `Trainer`."""

    @abstractmethod
    def observations(self, samples: int) -> Tensor:
        """Returns observations that the agent has just learnt from; see `Trainer`."""

    @property
    def actions(self) -> Tensor | None:
        """The actions of the last update; None, unless an algorithm keeps them."""
        return None

    @property
    def copies(self) -> tuple[Network, ...]:
        """Networks that follow the learning one, such as a target network."""
        return ()

    def synchronise(self) -> None:
        """Gives the copies the learning network's parameters."""
        for copied in self.copies:
            copied.load_state_dict(self.network.state_dict())

    def _specification(self, configuration: Configuration) -> NetworkSpec:
        space = self.envs.single_action_space
        if not isinstance(space, Discrete):
            raise ConfigurationError(
                f"Environment '{self.environment.id}' has actions {space}; algorithm '{self.algorithm}' here needs a "
                "Discrete action space. Choose an environment with discrete actions."
            )
        if space.start != 0:
            raise ConfigurationError(
                f"Environment '{self.environment.id}' numbers its actions from {space.start}, not 0."
            )
        shape = tuple(self.envs.single_observation_space.shape or ())
        values = int(space.n) if self.values_actions else 1
        spec = specification(configuration.network, shape, int(space.n), values)
        kept = {name: module for name, module in spec.modules.items() if name in ("encoder", *self.outputs)}
        return self.mitigation.specify(spec.model_copy(update={"modules": kept}))

    def _make_network(self, spec: NetworkSpec) -> None:
        self.network = build(spec, self.streams["init"]).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
        self.optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.learning.optimizer == "adamw" else torch.optim.Adam
        learning = learning_parameters(self.network)
        own = kind(
            learning,
            lr=self.learning.learning_rate,
            eps=self.learning.adam_epsilon,
            weight_decay=self.learning.weight_decay,
            fused=True,
        )
        brought = self.mitigation.optimizer(learning, own)
        return own if brought is None else brought

    def _begin_update(self) -> Metrics:
        """Shifts the task if its time has come, and sets the learning rate that the schedule says."""
        self._shift_if_due()
        if self.learning.schedule == "constant":
            return {}
        factor = learning_rate_factor(self.learning, self.updates, self._total_updates)
        for group in self.optimizer.param_groups:
            # The rate that the optimiser was made with is that of a factor of 1.
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        return {_RATE: self.optimizer.param_groups[0]["lr"]}

    def _end_update(self, decisions: int) -> Metrics:
        """Counts the update and lets the mitigation act; returns its metrics.

        Raises:
            NumericalFault: the optimiser has left a weight that is not finite.
        """
        self._require_finite(self.network.state_dict())
        self.step += decisions
        self.frames += decisions * self.environment.action_repeat
        self.updates += 1
        self.mitigation.at("update", self, self.optimizer, self.streams["mitigation"])
        return self.mitigation.metrics()

    def _shift_if_due(self) -> None:
        task = self._due_task()
        if task != self.task:
            self.task = task
            self._shifted(new_episodes=self.envs.set_task(task))
            self.mitigation.at("shift", self, self.optimizer, self.streams["mitigation"])
            if self.learning.new_optimizer_at_shift:
                self.optimizer = self._new_optimizer()

    def _due_task(self) -> int:
        """Returns the task that the next update is made on."""
        shift = self.environment.shift
        if shift is None:
            return self.environment.task
        return self.environment.task + shift.shifts_until(self.updates if shift.unit == "updates" else self.step)

    @abstractmethod
    def _shifted(self, new_episodes: bool) -> None:
        """Takes over what a task shift changed: the current observations, and perhaps the episodes."""

    def _forward(self, observations: Tensor) -> dict[str, Tensor]:
        return self._outputs(self.network, observations)

    def _outputs(self, network: Network, observations: Tensor) -> dict[str, Tensor]:
        with autocast(self.device.type, self.precision):
            outputs = network(observations)
        return {name: output.float() for name, output in outputs.items()}

    def _optimise(self, losses: dict[str, float]) -> None:
        """Clips the gradients and steps the optimiser.

        Args:
            losses: what the gradients are of and what that was made of, causes first.

        Raises:
            NumericalFault: one of them or a gradient is not finite; the parameters are left as they were.
        """
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if not all(map(isfinite, (*losses.values(), norm.item()))):
            gradients = {f"the gradient of {name}": p.grad for name, p in self.network.named_parameters()}
            found = {name: torch.tensor(value) for name, value in losses.items()}
            found |= {name: gradient for name, gradient in gradients.items() if gradient is not None}
            self._require_finite({**found, "the norm of all gradients": norm})
        if self.learning.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.learning.gradient_clip, norm)
        self.optimizer.step()
        self.mitigation.after_step(self, self.optimizer, self.streams["mitigation"])

    def _require_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Ends the training at the first tensor that is not finite.

        Raises:
            NumericalFault: there is one; the message names it.
        """
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                kind = "NaN" if tensor.isnan().any() else "infinity"
                raise NumericalFault(
                    f"Training stopped in update {self.updates + 1} (step {self.step}): {kind} in {name}. Train anew "
                    f"with a smaller {self.algorithm}.learning_rate or with compute.precision=float32."
                )

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of everything the next update depends on; see `Trainer`."""
        return {
            "step": self.step,
            "frames": self.frames,
            "updates": self.updates,
            "task": self.task,
            "interventions": list(self.interventions),
            "specification": self.network.spec.model_dump(mode="json"),
            "network": {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()},
            "optimizer": optimiser_state(self.optimizer),
            "streams": self.streams.get_state(),
            "mitigation": self.mitigation.get_state(),
            "environments": self.envs.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called; environments that cannot say start new episodes."""
        self.step, self.frames, self.updates = state["step"], state["frames"], state["updates"]
        self.task, self.interventions = state["task"], list(state["interventions"])
        spec = NetworkSpec.model_validate(state["specification"])
        if spec != self.network.spec:  # a mitigation has changed it since the start
            self._make_network(spec)
            self.mitigation.begin(self, self.streams["mitigation"])
        self.network.load_state_dict(state["network"])
        load_optimiser_state(self.optimizer, state["optimizer"])
        self.streams.set_state(state["streams"])
        self.mitigation.set_state(state["mitigation"])
        if state["environments"] is None:
            self.envs.reset(seed=self.streams.draw_seed("environment"))
            self.envs.set_task(self.task)
            self.notes.append(
                f"{self.environment.id} cannot save its episodes: new ones have started, so this is not bit for bit "
                "what an uninterrupted run gives."
            )
        else:
            self.envs.set_state(state["environments"])

    def close(self) -> None:
        """Ends the environments."""
        self.envs.close()
