"""A run at one step, from which arms branch off; the run's own files are read and never changed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.checkpoints.native import NativeCheckpoint
from probe.errors import ConfigurationError, FileError
from probe.files import digest_of_file
from probe.networks import NetworkSpec
from probe.trainers import state as states
from probe.trainers.algorithms import make_trainer
from probe.trainers.configuration import Configuration
from probe.trainers.detect.design import Design, Source
from probe.trainers.detect.splitting import split_state
from probe.trainers.dqn import Dqn
from probe.trainers.folder import RunFolder
from probe.trainers.mitigations import make_mitigation
from probe.trainers.moments import learning_parameters
from probe.trainers.ppo import Ppo
from probe.trainers.record import NAME as RECORD
from probe.trainers.record import RunRecord
from probe.trainers.settings import DqnSettings
from probe.trainers.streams import Streams, derived_seed

Agent = Ppo | Dqn


@dataclass(frozen=True)
class Fork:
    """A run, and the step at which it is taken up."""

    run: Path
    step: int
    record: RunRecord = field(compare=False)

    @property
    def source(self) -> Source:
        """Whether there is a resume state, or a checkpoint only."""
        return "state" if self._state.exists() else "weights"

    @property
    def notes(self) -> list[str]:
        """What the user should be told."""
        if self.source == "state":
            return []
        dqn = self.record.configuration.algorithm == DqnSettings.name
        refilled = " The replay is filled anew with the checkpoint's policy." if dqn else ""
        return [
            f"{self.run} has no resume state at step {self.step:,}: the arms start from the checkpoint with a new "
            f"optimiser, so that control and moment-reset are one arm.{refilled}"
        ]

    @property
    def specification(self) -> NetworkSpec:
        """The network's."""
        if self.source == "weights":
            return self._checkpoint().metadata.network
        return NetworkSpec.model_validate(states.load_state(self._state)["trainer"]["specification"])

    @property
    def description(self) -> dict[str, Any]:
        """The checkpoint of the step as the tables of an analysis have it; where there is none, the resume state."""
        if self._folder.checkpoint(self.step).exists():
            checkpoint = self._checkpoint()
            return {**checkpoint.description, "path": str(checkpoint.path)}
        trainer = states.load_state(self._state)["trainer"]
        counters = {name: trainer[name] for name in ("task", "step", "frames", "updates")}
        record = {"run": self.record.name, "method": self.record.method, "seed": self.record.seed}
        rest = {"algorithm": self.record.configuration.algorithm, "format": states.FORMAT}
        return {**record, **counters, **rest, "digest": digest_of_file(self._state), "path": str(self._state)}

    def agent(self, design: Design, seed: int) -> Agent:
        """Makes an agent that stands where the run stood, on new episodes and random streams of a pair's seed.

        Raises:
            FileError: the state, or the replay that belongs to it, is not whole.
            ConfigurationError: the trunk cannot be split there.
        """
        configuration = self.configuration(design)
        mitigation = make_mitigation(self.record.method, configuration.mitigation)
        agent = make_trainer(configuration, mitigation, self.record.seed)
        assert isinstance(agent, Ppo | Dqn)  # `open_fork` has seen to it
        if isinstance(agent, Dqn) and design.source == "state":
            agent.replay.borrow(self._folder.replay)
        state = states.load_state(self._state)["trainer"] if design.source == "state" else self._of_weights(agent)
        if design.placement.split:
            state = split_state(state, design.placement.split)
        streams = Streams(derived_seed(self.record.seed, "detect", self.step, seed))
        agent.set_state({**state, "environments": None, "streams": streams.get_state()})
        agent.notes.clear()  # that new episodes begin is meant so
        if (rate := design.settings.learning_rate) is not None:
            for group in agent.optimizer.param_groups:
                group["lr"] = rate
        if isinstance(agent, Dqn) and design.source == "weights":
            agent.fill(max(agent.settings.learning_starts, design.settings.budget))
        return agent

    def configuration(self, design: Design) -> Configuration:
        """Returns the settings that the arms go on with.

        Raises:
            ConfigurationError: the learning rate would fall to 0 on the way.
        """
        configuration, settings = self.record.configuration, design.settings
        learning, end = configuration.learning, self.step + settings.budget
        if settings.learning_rate is not None:
            held = learning.model_copy(update={"schedule": "constant"})
            return configuration.model_copy(update={learning.name: held})
        if learning.schedule == "linear" and end > configuration.total_steps:
            raise ConfigurationError(
                f"{self.run}: its learning rate falls to 0 at step {configuration.total_steps:,}, before step {end:,} "
                "where the arms would end. Choose an earlier --at, a smaller --budget, or a --learning-rate."
            )
        return configuration

    def _of_weights(self, agent: Agent) -> dict[str, Any]:
        """Returns the state of an agent with a checkpoint's network, and all else as at the start of a run."""
        checkpoint = self._checkpoint()
        metadata, weights = checkpoint.metadata, checkpoint.tensors()
        counters = {name: getattr(metadata, name) for name in ("step", "frames", "updates", "task", "interventions")}
        group = agent.optimizer.state_dict()["param_groups"][0]
        places = list(range(len(learning_parameters(checkpoint.network()))))
        optimizer = {"state": {}, "param_groups": [{**group, "params": places}]}
        specification = metadata.network.model_dump(mode="json")
        networks = {name: weights for name in ("network", "target")}
        return {**agent.get_state(), **counters, **networks, "specification": specification, "optimizer": optimizer}

    def _checkpoint(self) -> NativeCheckpoint:
        return NativeCheckpoint(self._folder.checkpoint(self.step))

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.run)

    @property
    def _state(self) -> Path:
        return self.run / "state" / states.NAME.format(step=self.step)


def open_fork(run: Path, step: int) -> Fork:
    """Looks for a run's resume state at a step, or else for its checkpoint.

    Raises:
        FileError: there is no run, or neither of them.
        ConfigurationError: the run is of an algorithm without actions.
    """
    found = [run] if (run / RECORD).is_file() else sorted(path.parent for path in run.rglob(RECORD))
    if len(found) != 1:
        several = f"{len(found)} runs are below it, such as {found[0]}" if found else f"it has no {RECORD}"
        raise FileError(f"{run}: the folder of one run is expected, and {several}. Give <out>/<method>/seed<k>.")
    record = RunRecord.read(found[0])
    if record.configuration.algorithm == "supervised":
        raise ConfigurationError(
            f"{run}: a supervised stream, which has no actor and no critic. "
            "`probe detect --offline` asks its checkpoints whether they would learn better once injected."
        )
    fork = Fork(found[0], step, record)
    folder = RunFolder(found[0])
    if fork.source == "weights" and not folder.checkpoint(step).exists():
        raise FileError(
            f"{run}: neither a resume state nor a checkpoint at step {step:,}. States: "
            f"{_listed(folder.state_steps)}; checkpoints: {_listed(folder.checkpoint_steps)}. `probe train "
            "--keep-state STEP` keeps a state."
        )
    return fork


def _listed(steps: list[int]) -> str:
    shown = [f"{step:,}" for step in steps]
    return " ".join(shown if len(shown) <= 8 else [*shown[:3], "...", *shown[-3:]]) or "none"
