"""Runs of rl-zoo3's own training script, a few hundred steps each; as a script it writes their folders below one."""

import sys
from unittest.mock import patch

from rl_zoo3.train import train

RUNS = {
    "ppo": "--env CartPole-v1 -n 400 --save-freq 64 --eval-freq 400 --eval-episodes 1"
    " -params n_envs:1 n_steps:16 batch_size:16 n_epochs:1",
    "a2c": "--env Pendulum-v1 -n 320 --save-freq 64 --eval-freq -1",
    "sac": "--env Pendulum-v1 -n 300 --save-freq 50 --eval-freq -1 -params learning_starts:290 batch_size:16",
}
"""By algorithm; those of A2C are rl-zoo3's own settings, which normalise observations."""

if __name__ == "__main__":
    for algorithm, arguments in RUNS.items():
        shared = ["rl_zoo3", "-f", sys.argv[1], "--seed", "1", "--device", "cpu", "--algo", algorithm]
        with patch.object(sys, "argv", [*shared, *arguments.split()]):
            train()
