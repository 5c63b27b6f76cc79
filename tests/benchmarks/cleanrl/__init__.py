"""Our PPO beside CleanRL's own ppo_procgen.py, of a checkout whose path is given: its update, its speed, its learning."""

from tests.benchmarks.cleanrl.update import main

__all__ = ["main"]
