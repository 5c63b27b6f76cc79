"""The course of the learning rate over a run."""

from probe.trainers.settings import LearningSettings


def learning_rate_factor(settings: LearningSettings, updates: int, total_updates: int) -> float:
    """Returns the factor on the learning rate after so many updates: 1 at first."""
    if settings.schedule == "linear":
        return max(0.0, 1 - updates / total_updates)
    if settings.schedule == "step":
        return settings.schedule_factor ** (updates // settings.schedule_period)
    return 1.0
