"""Which ends of updates something is due at, when updates are many steps long."""

from collections.abc import Iterable


def period_ended(step: int, update_steps: int, every: int) -> bool:
    """Whether `step` is the first end of an update at or after a multiple of `every`; step 0 is, of all but `every` 0.

    Args:
        step: a multiple of `update_steps`.
        update_steps: steps of one update.
        every: the period in steps; 0 means never.
    """
    return every > 0 and (step == 0 or step // every > (step - update_steps) // every)


def moment_reached(step: int, update_steps: int, moments: Iterable[int]) -> bool:
    """Whether `step` is the first end of an update at or after one of the moments."""
    return any(step - update_steps < moment <= step for moment in moments)
