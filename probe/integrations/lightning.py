"""A Monitor as a callback of Lightning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from probe.monitor import Monitor
from probe.monitor.inputs import Inputs
from probe.observations import ObservationSet
from probe.probes.base import Probe

EVERY = 5_000
"""Optimizer steps between two measurements; those of a small MLP take a millisecond or two each."""


class MonitorCallback(Callback):
    """Probes a LightningModule while it learns; the scalars go to the trainer's loggers, steps are optimizer steps.

    >>> Trainer(callbacks=[MonitorCallback(inputs, out="analysis.h5")]).fit(module, loader)  # doctest: +SKIP
    """

    def __init__(
        self,
        observations: Inputs | ObservationSet | str | Path,
        probes: Sequence[str | Probe] = ("default",),
        **options: Any,
    ) -> None:
        """Keeps what the Monitor is made of when training starts.

        Args:
            observations: As the module's `forward` takes them.
            probes: See `probe.Monitor`.
            **options: Further arguments of `probe.Monitor`: `out`, `every` (in optimizer steps), `forward`, ...
        """
        super().__init__()
        self._observations, self._probes = observations, probes
        self._options = {"every": EVERY, **options}
        self.monitor: Monitor | None = None
        """The Monitor, once training has started."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures before the first step."""
        if not trainer.is_global_zero:
            return

        def record(step: int, values: Mapping[str, float | None]) -> None:
            known = {name: value for name, value in values.items() if value is not None}
            for logger in trainer.loggers:
                logger.log_metrics(known, step=step)

        if self.monitor is None:
            options = {"log": record, **self._options}
            self.monitor = Monitor(pl_module, self._observations, self._probes, **options)
        self.monitor.step(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures where the interval has come round; with accumulated gradients a step can span several batches."""
        if self.monitor is not None:
            self.monitor.step(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the analysis file."""
        self._write()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Writes what was measured until then."""
        self._write()

    def _write(self) -> None:
        if self.monitor is not None:
            self.monitor.write()
