"""Reading an analysis file."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from probe.errors import FileError
from probe.results.rows import Columns, Row, read_table, records_of, rows_of
from probe.results.writing import FORMAT, VERSION, array_path, content_digest

if TYPE_CHECKING:
    import pandas

Series = tuple[str, str, int]
"""(run, method, seed)."""


def open_analysis(path: Path | str) -> "Analysis":
    """Opens an analysis file for reading.

    Raises:
        FileError: it is missing, damaged, incomplete, or something else than an analysis.
    """
    return Analysis(Path(path))


class Analysis:
    """An analysis file, open for reading; usable as a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens the file and reads its tables; arrays are read when asked for."""
        self.path = path
        self._file = _open(path)
        self.folder: TemporaryDirectory[str] | None = None
        """The folder that goes when this object does, where nobody named a file."""
        self.rows: Columns = read_table(self._file["rows"])
        self.checkpoints = self._records("checkpoints")
        """digest, run, method, seed, task, step, frames, updates, algorithm, format, path."""
        self.data = self._records("data")
        """digest, path, kind, environment, samples, task."""
        self.probes = self._records("probes")
        """name, version, parameters (JSON), dtype."""
        self.examinations = self._records("examinations")
        """Work of probes beyond the forward pass: checkpoint, data, reference, probe, version, parameters, samples.

        `reference` is the digest of a pair's earlier checkpoint, or those of the other sets that are compared.
        """
        self.controls = self._records("controls")
        """What probes compare checkpoints with, so that it is not done again: key, readings (JSON)."""
        self.layers = self._records("layers")
        """checkpoint, data, layer, label, module, function, position, units, elements, samples (observations)."""
        self.versions: dict[str, str] = json.loads(str(self._file.attrs["versions"]))
        self.activations: dict[str, str] = json.loads(str(self._file.attrs["activations"]))
        """Declared nonlinearities, by what is declared."""

    def select(self, **equals: Any) -> Columns:
        """Returns the rows whose columns equal the given values, e.g. `select(metric="fau", module="encoder")`."""
        chosen = np.ones(len(self.rows["run"]), dtype=bool)
        for name, value in equals.items():
            chosen &= self.rows[name] == value
        return {name: column[chosen] for name, column in self.rows.items()}

    def to_pandas(self, **equals: Any) -> "pandas.DataFrame":
        """Returns the rows as a pandas data frame, those that `select` would choose; a null number is NaN.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from probe.results.tabular import rows_as_frame

        return rows_as_frame(self.select(**equals))

    def row_list(self) -> list[Row]:
        """Returns every row."""
        return rows_of(self.rows)

    def series(self) -> list[Series]:
        """Returns the (run, method, seed) of every series, in the order of first appearance."""
        return list(dict.fromkeys((each["run"], each["method"], each["seed"]) for each in self.checkpoints))

    def array(self, checkpoint: str, data: str, layer: str, name: str) -> NDArray[Any]:
        """Returns one layer's array, such as `mean_abs` (unit,) or `singular_values` (rank,).

        Raises:
            KeyError: there is no such array.
        """
        return np.asarray(self._file[f"{array_path(checkpoint, data, layer)}/{name}"])

    def layer_arrays(self, checkpoint: str, data: str) -> dict[str, dict[str, NDArray[Any]]]:
        """Returns every array of one checkpoint on one observation set, by layer id and name; empty if not measured."""
        group = self._file.get(array_path(checkpoint, data, "").rstrip("/"))
        if group is None:
            return {}
        return {layer: {name: np.asarray(array) for name, array in arrays.items()} for layer, arrays in group.items()}

    def verify(self) -> bool:
        """Recomputes the digest; False where a byte has changed."""
        return bool(self._file.attrs["digest"] == content_digest(self._file))

    def close(self) -> None:
        """Closes the file; the tables stay readable."""
        self._file.close()

    def __enter__(self) -> "Analysis":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _records(self, name: str) -> list[dict[str, Any]]:
        return records_of(read_table(self._file[name])) if name in self._file else []


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise FileError(f"{path}: there is no such file. `probe analyze ... --out {path}` writes it.")
    if path.is_dir():
        raise FileError(f"{path}: a folder; an analysis file (*.h5) is expected.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{path}: not a whole HDF5 file. Run `probe analyze` again.") from error
    if file.attrs.get("format") != FORMAT or "rows" not in file:
        found = file.attrs.get("format", "an HDF5 file of another program")
        file.close()
        raise FileError(f"{path}: an analysis file is expected, this is {found}. `probe analyze` writes one.")
    if file.attrs.get("format_version") != VERSION:
        found = file.attrs.get("format_version")
        file.close()
        raise FileError(f"{path}: analysis format {VERSION} expected, the file has {found}. Run `probe analyze` again.")
    return file
