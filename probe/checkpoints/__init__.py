"""Checkpoint series: what every format offers, our own format, and how a path becomes a series."""

from probe.checkpoints.base import Checkpoint, Series
from probe.checkpoints.series import formats, open_checkpoint, open_series

__all__ = ["Checkpoint", "Series", "formats", "open_checkpoint", "open_series"]
