"""Classification of a stream, guess by guess: the setting in which lost plasticity shows within a minute.

Source: the continual supervised problems of Dohare et al. 2024, https://doi.org/10.1038/s41586-024-07711-7.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from probe.errors import ConfigurationError
from probe.trainers.agent import Agent
from probe.trainers.base import Metrics, mean_gradient_norms, module_norms
from probe.trainers.configuration import Configuration
from probe.trainers.mitigations import Mitigation
from probe.trainers.rollout import Batch
from probe.trainers.settings import SupervisedSettings

_ACCURACY, _LOSS = "accuracy/train", "loss/classification"
_TASK_ACCURACY = "accuracy/task"
"""Mean over a whole task, in the last update of the task."""


class Supervised(Agent):
    """Guesses the class of each observation, is told it, and takes one step on it.

    The environment's action is the guess, its reward 1 for a right one, and its `labels` are the classes. Guesses are
    made by the weights before the step that learns from them, in train mode: the accuracy is that before learning.
    """

    algorithm = "supervised"
    score = "accuracy"
    outputs = ("actor",)

    def __init__(
        self, configuration: Configuration, mitigation: Mitigation, seed: int, device: str, precision: str
    ) -> None:
        """Makes the stream, network and optimiser; see `Agent`.

        Raises:
            ConfigurationError: the environment does not tell the classes, or does not fit the network.
        """
        configuration = mitigation.configure(configuration)
        self.settings = configuration.table(SupervisedSettings)
        acting = {"mode": "train", "policy": "greedy"}
        super().__init__(configuration, self.settings.minibatch, mitigation, seed, device, precision, acting)
        if self.envs.labels is None:
            raise ConfigurationError(
                f"Environment '{self.environment.id}' does not tell what the right action is, as algorithm "
                f"'{self.algorithm}' needs. Choose one that does, such as frames:procgen, or another algorithm."
            )
        observations, _ = self.envs.reset()
        self._current = torch.from_numpy(observations)
        # What was learnt from last, for methods that look at units in the midst of an update.
        self._seen = torch.zeros((self.settings.update_steps, *observations.shape[1:]), dtype=self._current.dtype)
        self._right, self._asked = 0.0, 0
        mitigation.begin(self, self.streams["mitigation"])

    @property
    def columns(self) -> tuple[str, ...]:
        """What `iterate` reports beside the mitigation's metrics and the gradient norms."""
        return (_ACCURACY, _TASK_ACCURACY, _LOSS, *super().columns)

    def iterate(self, gradient_norms: bool = False) -> Metrics:
        """Shifts the task if its time has come, then guesses and learns minibatch by minibatch; see `Trainer`."""
        scheduled = self._begin_update()
        self.network.train()
        losses, norms, right = [], [], 0.0
        for index in range(self.settings.minibatches):
            loss, guesses = self._minibatch(index)
            if gradient_norms:
                norms.append(module_norms(self.network, gradients=True))
            self._optimise({_LOSS: loss})
            observations, rewards, _, _, _ = self.envs.step(guesses.numpy())
            self._current = torch.from_numpy(observations)
            losses.append(loss)
            right += float(rewards.sum())
        steps = self.settings.update_steps
        self._right, self._asked = self._right + right, self._asked + steps
        metrics: Metrics = {_ACCURACY: right / steps, _LOSS: sum(losses) / len(losses)}
        metrics |= mean_gradient_norms(norms) | scheduled | self._end_update(steps)
        if self._due_task() != self.task:
            metrics[_TASK_ACCURACY] = self._right / self._asked
        return metrics

    def _shifted(self, new_episodes: bool) -> None:
        self._current = torch.from_numpy(self.envs.current_observations())
        self._right, self._asked = 0.0, 0

    def _minibatch(self, index: int) -> tuple[float, Tensor]:
        """Computes the gradients of the current observations; returns the loss and the guesses."""
        rows = self.settings.minibatch
        self._seen[index * rows : (index + 1) * rows] = self._current
        classes = torch.from_numpy(self.envs.labels).to(self.device)
        batch = self.mitigation.batch(Batch(self._current.to(self.device)), self.streams["augment"])
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self._forward(batch.observations)
        loss = cross_entropy(outputs["actor"], classes)
        added = self.mitigation.loss(self, batch, outputs)
        total = loss if added is None else loss + added
        total.backward()  # type: ignore[no-untyped-call]
        return loss.item(), outputs["actor"].detach().argmax(dim=1).cpu()

    def observations(self, samples: int) -> Tensor:
        """Returns the observations that were learnt from last, evenly spread over them."""
        seen = self._seen[: self.settings.update_steps if self.updates else len(self._current)]
        return seen if samples >= len(seen) else seen[torch.arange(samples) * len(seen) // samples]

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of everything the next update depends on; see `Trainer`."""
        own = {"seen": self._seen.clone(), "right": self._right, "asked": self._asked}
        return {**super().get_state(), "stream": own}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called."""
        super().set_state(state)
        own = state["stream"]
        self._seen, self._right, self._asked = own["seen"].clone(), own["right"], own["asked"]
        self._current = torch.from_numpy(self.envs.current_observations())
