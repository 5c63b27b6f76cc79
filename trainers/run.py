"""One training run: updates, logs, checkpoints and states, in an order that survives being killed at any moment."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from probe.checkpoints.native import CheckpointMetadata, save
from probe.datasets.environments.human_scores import has_human_scores, human_normalised
from probe.errors import FileError
from probe.threads import use_threads
from probe.trainers import diagnostics
from probe.trainers.algorithms import make_trainer
from probe.trainers.base import ActivationCollapse, Metrics, NumericalFault, Trainer, ValueTerms
from probe.trainers.evaluation import evaluate
from probe.trainers.folder import RunFolder, keeps
from probe.trainers.interruption import held_back
from probe.trainers.lock import FolderLock
from probe.trainers.logs import Logs
from probe.trainers.mitigations import make_mitigation
from probe.trainers.monitoring import ActivationMonitor
from probe.trainers.record import RunRecord
from probe.trainers.schedule import period_ended
from probe.trainers.streams import derived_seed

_SPEED = "speed/steps_per_second"
_NORMALISED = "return/test_human_normalised"
_VALUES = ("value/test_bias", "value/test_explained_variance")
"""Of the evaluation's episodes; the bias in the rewards' own unit."""


@dataclass(frozen=True)
class Report:
    """What an update came to."""

    step: int
    metrics: Metrics
    notes: list[str]
    """What the user should be told."""


class TrainingRun:
    """A run folder and the trainer that fills it. Iterate over it to train; as a context it ends the environments.

    When the block is left by Ctrl-C, the state after the last whole update is saved.
    """

    def __init__(self, path: Path, record: RunRecord, resume: bool = False, steps: int | None = None) -> None:
        """Starts a run, or continues one.

        Args:
            path: the run folder.
            record: the run, not resolved; on resume it must fit the run that is there.
            resume: whether a run that is there is continued; where there is none, one is started.
            steps: on resume, where to train to now; None for where the run went.

        Raises:
            FileError: something is there already and `resume` is not given, another process trains there, or the
                folder cannot be used.
            ConfigurationError: on resume, a setting differs from the run's.
        """
        self.folder = RunFolder(path)
        self._lock = FolderLock(path)
        try:
            self._open(record, resume, steps)
        except BaseException:
            self._lock.release(keep=False)
            raise

    def _open(self, record: RunRecord, resume: bool, steps: int | None) -> None:
        self._notes: list[str] = []
        self.record, state = self._prepare(record, resume, steps)
        configuration = self.record.configuration
        compute = configuration.compute
        use_threads(compute.threads)
        mitigation = make_mitigation(self.record.method, configuration.mitigation)
        self.trainer: Trainer = make_trainer(configuration, mitigation, self.record.seed)
        if self.trainer.replay is not None:
            self.trainer.replay.store_in(self.folder.replay)
        self._tested = (f"{self.trainer.score}/test", *(_VALUES if self._value_terms else ()))
        scored = (_NORMALISED,) if has_human_scores(configuration.environment) else ()
        self._monitor = ActivationMonitor(configuration.monitor, configuration.update_steps, self.trainer)
        measured = (*diagnostics.columns(self.trainer.network), *self._monitor.columns)
        self._columns = (*self.trainer.columns, *self._tested, *scored, *mitigation.columns, *measured, _SPEED)
        if state is None:
            self._start()
        else:
            self._continue(state)

    def _prepare(self, record: RunRecord, resume: bool, steps: int | None) -> tuple[RunRecord, dict[str, Any] | None]:
        if not resume:
            self.folder.check_free()
            return record.resolved(), None
        earlier = self.folder.read_record()
        if earlier is None:
            return record.resolved(), None
        if earlier.preset != record.preset:
            raise FileError(
                f"{self.folder.path}: a run of preset '{earlier.preset}', not '{record.preset}'. Give another --out."
            )
        continued = earlier.continued(record.configuration, steps)
        state, problems = self.folder.newest_state()
        self._notes += [*problems, *earlier.machine_notes()]
        return continued, state

    def _start(self) -> None:
        self.record.write(self.folder.path)
        self._logs = Logs(self.folder.path, self._columns)
        self._save_checkpoint()
        self._take_state()
        self._save_state()

    def _continue(self, state: dict[str, Any]) -> None:
        self.record.write(self.folder.path)
        self.trainer.set_state(state["trainer"])
        if self.record.configuration.monitor.every:
            self._monitor.set_state(state["monitor"])
        self._logs = Logs(self.folder.path, self._columns, state["logs"])
        self._state = state
        self._saved_at = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.trainer.updates >= self.record.configuration.total_updates

    def __iter__(self) -> Iterator[Report]:
        """Trains to the end, one update at a time.

        Raises:
            NumericalFault: the state after the last whole update is saved.
            ActivationCollapse: a layer has collapsed and the run was to stop then; the state is saved.
        """
        while not self.finished:
            try:
                report = self._advance()
            except NumericalFault as fault:
                raise NumericalFault(f"{fault} {self._saved()}") from fault
            yield report
            if self.record.configuration.monitor.stop_on_collapse and self._monitor.collapsed:
                raise ActivationCollapse(self._why_stopped())

    def _why_stopped(self) -> str:
        (layer, why), *others = self._monitor.collapsed.items()
        more = f"; so have {', '.join(name for name, _ in others)}" if others else ""
        return (
            f"Stopped at step {self.trainer.step:,}: {layer} has collapsed ({why}){more}. {self._saved()} Train on "
            "from it with --resume and without --stop-on-collapse."
        )

    def _saved(self) -> str:
        """Saves the state after the last whole update and says where."""
        return f"The state of step {self._state['trainer']['step']:,} is in {self._save_state()}."

    def __enter__(self) -> "TrainingRun":
        """Returns the run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Saves the state if the run was interrupted, and ends the environments."""
        try:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                self._save_state()
        finally:
            self._logs.close()
            self.trainer.close()
            self._lock.release()

    def _advance(self) -> Report:
        configuration, trainer = self.record.configuration, self.trainer
        diagnosed = (trainer.updates + 1) % configuration.diagnostics.every == 0
        start = time.perf_counter()
        step = trainer.step
        metrics = trainer.iterate(gradient_norms=diagnosed)
        metrics[_SPEED] = (trainer.step - step) / (time.perf_counter() - start)
        if diagnosed:
            observations = trainer.observations(configuration.diagnostics.samples)
            metrics |= diagnostics.measure(trainer.network, observations)
        if trainer.updates % configuration.evaluation.every == 0 or self.finished:
            metrics |= self._evaluate()
        metrics |= self._monitor.read(trainer, metrics)
        images = self._monitor.draw(trainer)
        counters = {name: getattr(trainer, name) for name in ("step", "frames", "updates", "task")}
        # A checkpoint comes before the state that says it is there, and the logs before the state that has their size.
        with held_back():
            self._logs.write(counters, metrics, images)
            self._save_what_is_due()
        notes, self._notes = self._notes + trainer.notes, []
        trainer.notes.clear()
        return Report(trainer.step, metrics, notes)

    def _evaluate(self) -> Metrics:
        configuration = self.record.configuration
        found = evaluate(
            self.trainer.network,
            configuration.test_environment,
            self.trainer.task,
            configuration.evaluation,
            derived_seed(self.record.seed, "evaluate", self.trainer.updates),
            configuration.compute.precision,
            configuration.compute.environment_threads,
            self._value_terms,
        )
        told = (found.mean_return, found.value_bias, found.explained_variance)
        metrics: Metrics = dict(zip(self._tested, told, strict=False))
        if _NORMALISED in self._columns:
            metrics[_NORMALISED] = human_normalised(configuration.environment, self.trainer.task, found.mean_return)
        return metrics

    @property
    def _value_terms(self) -> ValueTerms | None:
        """What values are of, where evaluation gives the rewards and ends that they were learnt from."""
        return self.trainer.value_terms if self.record.configuration.tests_the_same_returns else None

    def _save_what_is_due(self) -> None:
        configuration, step = self.record.configuration, self.trainer.step
        checkpoint = self.finished or period_ended(step, configuration.update_steps, configuration.checkpoints.every)
        if checkpoint:
            self._save_checkpoint()
        self._take_state()
        waited = time.monotonic() - self._saved_at >= configuration.state.interval
        if checkpoint or waited or keeps(self.record, step):
            self._save_state()

    def _take_state(self) -> None:
        """Copies what training would continue from: an update that is broken off leaves no trace."""
        self._state = {
            "trainer": self.trainer.get_state(),
            "monitor": self._monitor.get_state(),
            "logs": self._logs.sizes(),
        }

    def _save_state(self) -> Path:
        path = self.folder.save_state(self._state, self._state["trainer"]["step"], self.record)
        if self.trainer.replay is not None:
            self.trainer.replay.keep_for(self.folder.state_steps)
        self._saved_at = time.monotonic()
        return path

    def _save_checkpoint(self) -> None:
        trainer, record = self.trainer, self.record
        metadata = CheckpointMetadata(
            step=trainer.step,
            frames=trainer.frames,
            updates=trainer.updates,
            algorithm=trainer.algorithm,
            network=trainer.network.spec,
            environment=trainer.environment.model_dump(mode="json"),
            acting=trainer.acting,
            run=record.name,
            method=record.method,
            seed=record.seed,
            task=trainer.task,
            interventions=trainer.interventions,
            versions=record.versions,
        )
        save(self.folder.checkpoint(trainer.step), trainer.network, metadata)
