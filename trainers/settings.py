"""The tables of a run's configuration: network, algorithms, evaluation, what is saved and when."""

from typing import ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from probe import policies
from probe.errors import ConfigurationError
from probe.models import FrozenModel


class NetworkSettings(FrozenModel):
    """Which of the shipped architectures."""

    name: str
    hidden: int = Field(ge=1)
    """Width of the last hidden layer."""
    width: float = Field(default=1.0, gt=0)
    """Factor on every hidden width, the last one too: 2 for a network of twice the units."""


class LearningSettings(FrozenModel):
    """What the tables of all algorithms have: minibatches, optimiser and learning rate."""

    name: ClassVar[str]
    """Of the algorithm and of its table."""
    minibatch: int = Field(ge=2)
    """Rows per optimiser step."""
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(gt=0)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    """Largest L2 norm of all gradients together."""
    schedule: Literal["constant", "linear", "step"] = "constant"
    """Of the learning rate over updates: `linear` falls to 0 at the end of `steps`, `step` falls by a factor again and
    again."""
    schedule_period: int = Field(default=12, ge=1)
    """With `step`, updates between falls."""
    schedule_factor: float = Field(default=0.9, gt=0, le=1)
    """With `step`, what the learning rate is multiplied by."""
    new_optimizer_at_shift: bool = False
    """Whether the optimiser's moments start from zero after each task shift."""

    @property
    def update_steps(self) -> int:
        """Steps of one update."""
        raise NotImplementedError

    @property
    def smallest_batch(self) -> int:
        """Rows of the smallest forward and backward pass."""
        return self.minibatch


class PpoSettings(LearningSettings):
    """Proximal policy optimisation, Schulman et al. 2017, arXiv:1707.06347."""

    name = "ppo"
    environments: int = Field(ge=1)
    """Environments stepped together."""
    rollout_steps: int = Field(ge=1)
    """Decisions in each environment per update; `minibatch` divides the decisions of an update."""
    micro_batch: int = Field(default=256, ge=1)
    """Decisions per forward and backward pass; a minibatch's gradients are summed. It changes speed and rounding."""
    passes: int = Field(ge=1)
    """Times that each update goes over its decisions."""
    gamma: float = Field(ge=0, le=1)
    """Discount per decision."""
    gae_lambda: float = Field(ge=0, le=1)
    clip: float = Field(gt=0)
    """How far the probability ratio may leave 1."""
    clip_value_loss: bool = False
    """Whether the value is also held within `clip` of the value at acting time."""
    value_coefficient: float = Field(ge=0)
    """Factor on the mean squared error of the value; some papers write half of that error."""
    entropy_coefficient: float
    normalise_advantages: bool = True
    """To mean 0 and standard deviation 1, over each whole minibatch."""
    normalise_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    reward_clip: float | None = Field(default=None, gt=0)
    """Largest absolute reward that is learnt from, after normalisation."""

    @property
    def update_steps(self) -> int:
        """Steps of one update."""
        return self.environments * self.rollout_steps

    @property
    def smallest_batch(self) -> int:
        """Rows of the smallest forward and backward pass."""
        return min(self.micro_batch, self.minibatch % self.micro_batch or self.micro_batch)

    @model_validator(mode="after")
    def _fits(self) -> "PpoSettings":
        if self.update_steps % self.minibatch:
            raise ConfigurationError(
                f"'ppo.minibatch' is {self.minibatch}: expected a divisor of the {self.update_steps} decisions of an "
                "update (ppo.environments x ppo.rollout_steps)."
            )
        return self


class SupervisedSettings(LearningSettings):
    """Classification of a stream: the action names an observation's class, and each minibatch is one optimiser step."""

    name = "supervised"
    minibatches: int = Field(ge=1)
    """Optimiser steps per update."""

    @property
    def update_steps(self) -> int:
        """Steps of one update."""
        return self.minibatch * self.minibatches


class DqnSettings(LearningSettings):
    """Deep Q-learning, Mnih et al. 2015, https://doi.org/10.1038/nature14236."""

    name = "dqn"
    environments: int = Field(default=1, ge=1)
    """Environments stepped together."""
    decisions: int = Field(ge=1)
    """Decisions of an update, summed over the environments; metrics, checkpoints and states come between updates."""
    train_period: int = Field(default=4, ge=1)
    """Decisions between optimiser steps."""
    learning_starts: int = Field(ge=1)
    """Decisions before the first optimiser step."""
    capacity: int = Field(ge=2)
    """Decisions that the replay keeps; an Atari frame is 7 kB on disk."""
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount per decision."""
    n_step: int = Field(default=1, ge=1)
    """Decisions whose rewards are summed before a value is taken for the rest."""
    double: bool = True
    """Whether the learning network chooses the action that the target network values."""
    loss: Literal["huber", "squared"] = "huber"
    target_period: int = Field(ge=1)
    """Decisions between copies into the target network."""
    epsilon_first: float = Field(default=1.0, ge=0, le=1)
    """Probability of a random action at first."""
    epsilon_last: float = Field(default=0.01, ge=0, le=1)
    """Probability of a random action after `epsilon_steps`."""
    epsilon_steps: int = Field(ge=1)
    """Decisions over which it falls."""

    @property
    def update_steps(self) -> int:
        """Steps of one update."""
        return self.decisions

    @model_validator(mode="after")
    def _fits(self) -> "DqnSettings":
        if self.learning_starts < self.minibatch:
            raise ConfigurationError(
                f"'dqn.learning_starts' is {self.learning_starts}: expected at least 'dqn.minibatch', {self.minibatch}."
            )
        if self.decisions % self.environments:
            raise ConfigurationError(
                f"'dqn.decisions' is {self.decisions}: expected a multiple of 'dqn.environments', {self.environments}."
            )
        return self


Table = TypeVar("Table", bound=LearningSettings)


class ActingSettings(FrozenModel):
    """How actions and their log-probabilities are computed while data are collected."""

    mode: Literal["eval", "train"] = "eval"
    """The network's mode; it matters for layers with batch statistics or dropout only."""


class EvaluationSettings(FrozenModel):
    """Returns on test levels: one episode in each of `episodes` environments."""

    every: int = Field(ge=1)
    """Updates between evaluations; the last update is always followed by one."""
    episodes: int = Field(ge=1)
    policy: policies.Mode = "sample"
    epsilon: float = Field(default=0.001, ge=0, le=1)
    """Probability of a random action, with `epsilon-greedy`."""
    step_limit: int = Field(default=2000, ge=1)
    """Decisions after which an unfinished episode counts with its return so far."""


class DiagnosticsSettings(FrozenModel):
    """Readings of the network on its own latest observations, into metrics.csv."""

    every: int = Field(ge=1)
    """Updates between readings."""
    samples: int = Field(ge=1)
    """Observations, evenly spread over the update's; all of them where there are fewer."""


class CheckpointSettings(FrozenModel):
    """When the network is saved for analysis."""

    every: int = Field(ge=1)
    """Steps between checkpoints; each is written at the first end of an update at or after its step."""


class StateSettings(FrozenModel):
    """What `--resume` continues from; none of this changes the training."""

    interval: float = Field(default=60.0, ge=0)
    """Seconds between states; one is written with every checkpoint too."""
    keep_every: int = Field(default=0, ge=0)
    """Keep a state for good every so many steps; 0 keeps the newest two only."""
    keep: tuple[int, ...] = ()
    """Steps at which a state is kept for good."""


class ComputeSettings(FrozenModel):
    """Where and how numbers are computed; run.toml holds what was found for `auto` and 0."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """`auto`: bfloat16 for images where the processor computes in it, else, and for DQN, float32, as weights always."""
    threads: int = Field(default=0, ge=0)
    """PyTorch's threads; 0 takes its default."""
    environment_threads: int = Field(default=0, ge=0)
    """Procgen's threads beside the caller's; they change the speed and nothing else."""
