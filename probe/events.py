"""TensorBoard's event files, written without PyTorch's writer, which queues and names files by the clock."""

import io
import time
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Png
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from probe.arrays import NDArray

Image = UInt8[NDArray[np.uint8], "height width"]
"""Grey, from 0, black, to 255."""
NAME = "events.out.tfevents.probe"
"""A file name under which TensorBoard finds events."""


class EventFile:
    """Scalars and images by step, on the disk as soon as they are written."""

    def __init__(self, file: BinaryIO, fresh: bool) -> None:
        """Takes an open file; a fresh one gets its header."""
        self._records = RecordWriter(file)
        if fresh:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, step: int, values: Mapping[str, float | None], images: Mapping[str, Image] | None = None) -> None:
        """Adds the values and images of a step; a value of None is no event.

        Raises:
            OSError: the disk is full.
        """
        known = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        drawn = [Summary.Value(tag=name, image=_encoded(image)) for name, image in (images or {}).items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[*known, *drawn])))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()


def _encoded(image: Image) -> Summary.Image:
    content = io.BytesIO()
    Png.fromarray(image).save(content, "PNG")
    height, width = image.shape
    return Summary.Image(height=height, width=width, colorspace=1, encoded_image_string=content.getvalue())
