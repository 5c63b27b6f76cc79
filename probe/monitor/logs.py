"""Where a Monitor's scalars go."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from probe.errors import ConfigurationError
from probe.events import NAME, EventFile
from probe.headline import Headline


@runtime_checkable
class SummaryWriter(Protocol):
    """TensorBoard's writer, PyTorch's or another."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Adds a scalar."""


@runtime_checkable
class Run(Protocol):
    """A run of Weights & Biases, or of what offers the same."""

    def log(self, data: dict[str, Any], step: int) -> Any:
        """Adds values by name."""


Log = Callable[[int, Headline], object]
"""Takes (step, values by name)."""
Target = Log | SummaryWriter | Run | str | Path
"""A function, a writer, a run, or a folder for an event file of its own."""


def as_log(target: object) -> Log:
    """Returns a function that takes the scalars to a `Target`; of None they are dropped.

    Raises:
        ConfigurationError: it is nothing that takes scalars.
    """
    if target is None:
        return lambda step, values: None
    if isinstance(target, str | Path):
        return _events(Path(target))
    if isinstance(target, SummaryWriter):
        return lambda step, values: [target.add_scalar(name, value, step) for name, value in _known(values).items()]
    if isinstance(target, Run):
        return lambda step, values: target.log(_known(values), step=step)
    if callable(target):
        return target
    raise ConfigurationError(
        f"log is a {type(target).__name__}; expected a folder, TensorBoard's SummaryWriter, a run of Weights & Biases, "
        "or a function that takes (step, values)."
    )


def _events(folder: Path) -> Log:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    written = EventFile(path.open("ab"), fresh=not path.exists() or not path.stat().st_size)
    return written.write


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
