"""Where scalars go, read back by the programs that they are for."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from probe.errors import ConfigurationError
from probe.monitor.logs import as_log

VALUES = {"network/dead/actor": 0.25, "network/effective_rank/actor": None}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_folder_gets_events_that_tensorboard_reads_and_a_second_process_adds_to_them(tmp_path: Path) -> None:
    for step in (5, 10):
        as_log(tmp_path / "logs")(step, VALUES)
    assert scalars(tmp_path / "logs") == {"network/dead/actor": [(5, 0.25), (10, 0.25)]}


def test_a_summary_writer_gets_what_is_known(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        as_log(writer)(5, VALUES)
    assert scalars(tmp_path) == {"network/dead/actor": [(5, 0.25)]}


def test_a_run_of_weights_and_biases_gets_what_is_known(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    with wandb.init(mode="offline", dir=tmp_path) as run:
        for step in (5, 10):  # a step is complete when the next one comes
            as_log(run)(step, VALUES)
        summary = dict(run.summary)
        assert summary["network/dead/actor"] == 0.25 and "network/effective_rank/actor" not in summary


def test_a_function_gets_everything() -> None:
    heard: list[Any] = []
    as_log(lambda step, values: heard.append((step, values)))(5, VALUES)
    assert heard == [(5, VALUES)]


def test_what_takes_no_scalars_is_named() -> None:
    with pytest.raises(ConfigurationError, match="log is a int"):
        as_log(3)
