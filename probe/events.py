"""TensorBoard's event files, written without PyTorch's writer, which queues and names files by the clock."""

import time
from collections.abc import Mapping
from typing import BinaryIO

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

NAME = "events.out.tfevents.probe"
"""A file name under which TensorBoard finds events."""


class EventFile:
    """Scalars by step, on the disk as soon as they are written."""

    def __init__(self, file: BinaryIO, fresh: bool) -> None:
        """Takes an open file; a fresh one gets its header."""
        self._records = RecordWriter(file)
        if fresh:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Adds the values of a step; None is no event.

        Raises:
            OSError: the disk is full.
        """
        known = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=known)))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()
