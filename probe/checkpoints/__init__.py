"""Checkpoint series: what every format offers, our own format, others, and how a path becomes a series."""

from probe.checkpoints.base import Checkpoint, Series
from probe.checkpoints.formats import is_checkpoint
from probe.checkpoints.hints import Hints
from probe.checkpoints.series import formats, open_checkpoint, open_series

__all__ = ["Checkpoint", "Hints", "Series", "formats", "is_checkpoint", "open_checkpoint", "open_series"]
