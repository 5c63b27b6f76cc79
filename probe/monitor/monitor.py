"""Probes a network while it learns, in anybody's training loop."""

import atexit
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from probe.analysis import choose_probes
from probe.capture import Activations
from probe.checkpoints.base import Series
from probe.errors import ConfigurationError
from probe.headline import Headline, headline
from probe.measurement import Measurement, WorkItem
from probe.module_guess import guess_modules
from probe.modules import ModuleMap
from probe.monitor.history import History
from probe.monitor.inputs import HeldObservations, Inputs
from probe.monitor.isolation import device_of, undisturbed
from probe.monitor.live import LiveCheckpoint, Run
from probe.monitor.logs import Target, as_log
from probe.observations import ObservationSet, open_observations
from probe.planning import Plan, plan
from probe.probes.base import Probe

EVERY = 50_000
"""Steps between two measurements."""

Forward = Callable[[nn.Module, Any], Any]
"""Takes (network, observations in the form that was given) and returns the network's outputs."""


class Monitor:
    """Probes a network while it learns, and leaves the learning as it is.

    Each measurement is made on a copy in eval mode, with random streams of its own: parameters, buffers, the mode and
    all global random streams stay bit for bit. The results are the same analysis file that `probe analyze` writes, and
    a few scalars for a log.

    >>> with probe.Monitor(agent, observations, out="analysis.h5") as monitor:  # doctest: +SKIP
    ...     for step in training():
    ...         monitor.step(step)
    """

    def __init__(
        self,
        network: nn.Module,
        observations: Inputs | ObservationSet | str | Path,
        probes: Sequence[str | Probe] = ("default",),
        *,
        out: str | Path = "analysis.h5",
        every: int = EVERY,
        forward: Forward | None = None,
        modules: Mapping[str, Sequence[str]] | None = None,
        activations: Activations | None = None,
        run: str = "",
        method: str = "",
        seed: int = 0,
        log: Target | None = None,
    ) -> None:
        """Copies the observations; the network is read at each measurement.

        Args:
            network: What learns; compiled or wrapped for several devices, what is inside is measured.
            observations: What it is measured on, always the same, as it takes them: a tensor or array, a tuple of them
                (positional arguments), a mapping (keyword arguments); or an observation set of `probe collect`, whose
                batches come as stored. Ten rows for each unit of the widest layer give ranks without bias.
            probes: Names, `default`, `costly`, `all`, or probes with parameters of their own.
            out: The analysis file. One that a Monitor wrote is continued.
            every: Steps between measurements, in the unit of `step`.
            forward: Calls the network that it is given (a copy); None: `network(observations)`.
            modules: Glob patterns on layer ids by module name; None: guessed from names.
            activations: Declared nonlinearities; see `probe.capture.declared`.
            run: The series' name in tables and figures; the file's name by default.
            method: Its method, `seed`: its seed, by which series are told apart.
            seed: See `method`.
            log: A folder for TensorBoard events, a SummaryWriter, a run of Weights & Biases, or a function of
                (step, values).

        Raises:
            ProbeError: an argument is at fault; the message says how.
        """
        if every < 1:
            raise ConfigurationError(f"every is {every}; at least one step is expected.")
        self.out, self.every = Path(out), every
        self.seconds = 0.0
        """What measuring and writing have taken so far."""
        self._network = network
        self._data = _opened(observations)
        self._run = _run_of(self._data, forward or _call)
        self._probes = choose_probes(probes)
        self._activations = activations
        self._log = as_log(log)
        self._facts: dict[str, Any] = {
            "run": run or self.out.stem,
            "method": method,
            "seed": seed,
            "task": self._data.task,
        }
        self._modules = _guessed(unwrapped(network)) if modules is None else ModuleMap(dict(modules))
        self._history = History(self.out, self._facts, self._modules)
        self._due: int | None = None
        self._last = 0
        self._unwritten = False
        atexit.register(self.close)

    def step(self, step: int) -> Headline | None:
        """Measures at the first call and once in every `every` steps; cheap where not.

        A training that was killed and goes on from an earlier step is measured again after what was measured already.

        Args:
            step: What training counts, such as agent decisions; never less than in the call before.

        Returns:
            The scalars of a measurement, else None.

        Raises:
            ConfigurationError: steps go back, or a training starts anew where `out` has its series already.
        """
        if self._due is None:
            earlier = self._history.checkpoints
            self._due = self._after(earlier[-1].step) if earlier and earlier[0].step < step else step
        elif step < self._last:
            raise ConfigurationError(
                f"Step {step} comes after step {self._last}; steps must grow. With Stable-Baselines3, learn on with "
                "reset_num_timesteps=False; another training needs another `out`, `run`, `method` or `seed`."
            )
        self._last = step
        return self.measure(step) if step >= self._due else None

    def measure(self, step: int) -> Headline:
        """Measures now.

        Raises:
            ConfigurationError: that step or a later one was measured already, or no nonlinearity is found.
        """
        started = time.perf_counter()
        self._history.check_after(step)
        network = unwrapped(self._network)
        with undisturbed(network):
            live = LiveCheckpoint.taken(network, self._run, {**self._facts, "step": step}, self._modules, self.out)
            measurement = self._measured(live)
        keep = any(probe.needs == "pair" for probe in self._probes)
        self._history.add(live, keep_networks=keep)
        self._due, self._last, self._unwritten = self._after(step), step, True
        values = headline(measurement.statistics, self._modules)
        self._log(step, values)
        self.seconds += time.perf_counter() - started
        return values

    def write(self) -> None:
        """Writes the analysis file from all measurements so far; later ones extend it.

        Raises:
            FileError: the file cannot be written.
        """
        if self._unwritten:
            started = time.perf_counter()
            self._plan(self._history.checkpoints).assemble().close()
            self._unwritten = False
            self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Writes the analysis file. Called at the end of the `with` block, or of the process at the latest."""
        atexit.unregister(self.close)
        self.write()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after(self, step: int) -> int:
        return (step // self.every + 1) * self.every

    def _measured(self, live: LiveCheckpoint) -> Measurement:
        planned = self._plan([*self._history.references, live])
        for _ in planned.measure():
            pass
        for _ in planned.examine():
            pass
        item = WorkItem(live, self._data, self._data.digest, None, self.out, tuple(planned.activations.items()))
        measurement = Measurement.from_part(item)
        if measurement is None or not measurement.statistics:
            raise ConfigurationError(
                f"No nonlinearity was seen in {live.description['algorithm']}. `forward` must call the network that it "
                "is given; what cannot be told (`torch.clamp`) is declared with `activations`."
            )
        return measurement

    def _plan(self, checkpoints: Iterable[LiveCheckpoint]) -> Plan:
        facts = self._facts
        series = Series(self.out, facts["run"], facts["method"], facts["seed"], tuple(checkpoints))
        return plan([series], [self._data], self.out, self._probes, activations=self._activations)


def unwrapped(network: nn.Module) -> nn.Module:
    """Returns what `torch.compile` and the wrappers for several devices hold."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(network, wrappers):
            network = network.module
        elif "_orig_mod" in network._modules:
            network = network.get_submodule("_orig_mod")
        else:
            return network


def _guessed(network: nn.Module) -> ModuleMap:
    return guess_modules(path for path, module in network.named_modules() if next(module.children(), None) is None)


def _opened(observations: Inputs | ObservationSet | str | Path) -> ObservationSet:
    if isinstance(observations, ObservationSet):
        return observations
    if isinstance(observations, str | Path):
        return open_observations(observations)
    return HeldObservations(observations)


def _call(network: nn.Module, given: Any) -> Any:
    if isinstance(given, tuple):
        return network(*given)
    return network(**given) if isinstance(given, dict) else network(given)


def _run_of(data: ObservationSet, forward: Forward) -> Run:
    def run(network: nn.Module, batch: Tensor) -> Any:
        device = device_of(network)
        given = data.rows(batch, device) if isinstance(data, HeldObservations) else batch.to(device)
        return forward(network, given)

    return run
