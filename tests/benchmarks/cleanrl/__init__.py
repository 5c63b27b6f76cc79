"""Our PPO beside CleanRL's own ppo_procgen.py, which is run from a checkout whose path is given."""


def main() -> None:
    """Compares one update; see `update`."""
    from tests.benchmarks.cleanrl.update import main as compare  # the old gym, which it needs, prints a notice

    compare()
