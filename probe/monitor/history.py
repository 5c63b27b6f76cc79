"""The checkpoints that a Monitor has measured: in this process, and before it was killed or ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe.earlier import existing
from probe.errors import ConfigurationError
from probe.modules import ModuleMap
from probe.monitor.live import FORMAT, LiveCheckpoint
from probe.results.parts import PartStore
from probe.results.writing import KEY_LENGTH


class History:
    """What was measured, in step order; each checkpoint's facts stand among the parts until the file has them."""

    def __init__(self, out: Path, facts: Mapping[str, Any], modules: ModuleMap) -> None:
        """Reads what earlier processes left of the same run, method and seed.

        Raises:
            FileError: something else than an analysis is at `out`.
        """
        self._store = PartStore(out)
        found = {each["digest"]: each for each in self._left(out) if all(each[k] == facts[k] for k in facts)}
        ordered = sorted(found.values(), key=lambda each: int(each["step"]))
        self.checkpoints = [LiveCheckpoint(each, modules, out) for each in ordered]

    @property
    def references(self) -> list[LiveCheckpoint]:
        """The first checkpoint and the last, which the next one is compared with."""
        return list(dict.fromkeys((*self.checkpoints[:1], *self.checkpoints[-1:])))

    def check_after(self, step: int) -> None:
        """Refuses a step that does not come after the last one.

        Raises:
            ConfigurationError: it does not.
        """
        if self.checkpoints and step <= self.checkpoints[-1].step:
            raise ConfigurationError(
                f"Step {step} comes after step {self.checkpoints[-1].step}, which was measured already. Steps must "
                "grow; another training needs another `out`, `run`, `method` or `seed`."
            )

    def add(self, checkpoint: LiveCheckpoint, keep_networks: bool) -> None:
        """Adds the newest; of networks only those that the next one is compared with are kept, or none."""
        self._store.save(f"{FORMAT}-{checkpoint.digest[:KEY_LENGTH]}", {}, checkpoint.description)
        self.checkpoints.append(checkpoint)
        kept = self.references if keep_networks else []
        for each in self.checkpoints:
            if each not in kept:
                each.forget()

    def _left(self, out: Path) -> list[dict[str, Any]]:
        earlier = existing(out)
        records = [] if earlier is None else [each for each in earlier.checkpoints if each["format"] == FORMAT]
        if earlier is not None:
            earlier.close()
        for path in self._store.folder.glob(f"{FORMAT}-*"):
            part = self._store.load(path.stem)
            if part is not None:
                records.append(part[1])
        return [{name: value for name, value in each.items() if name != "path"} for each in records]
