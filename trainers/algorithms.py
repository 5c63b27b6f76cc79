"""Which algorithms there are, and the one function that makes their trainers."""

from collections.abc import Callable

from probe.trainers.base import Trainer
from probe.trainers.configuration import Configuration
from probe.trainers.dqn import Dqn
from probe.trainers.mitigations import Combination
from probe.trainers.ppo import Ppo
from probe.trainers.supervised import Supervised

_TRAINERS: dict[str, Callable[[Configuration, Combination, int, str, str], Trainer]]
_TRAINERS = {"dqn": Dqn, "ppo": Ppo, "supervised": Supervised}


def make_trainer(configuration: Configuration, mitigation: Combination, seed: int) -> Trainer:
    """Makes the trainer of a configuration's algorithm, which has learnt nothing yet.

    Args:
        configuration: resolved; see `RunRecord.resolved`.
        mitigation: what steps into the training.
        seed: everything random follows from it.
    """
    compute = configuration.compute
    return _TRAINERS[configuration.algorithm](configuration, mitigation, seed, compute.device, compute.precision)
