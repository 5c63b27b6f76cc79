"""One tidy row a number; tables of rows in HDF5."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_type_hints

import h5py
import numpy as np
from numpy.typing import NDArray

NONE = -1
"""Where an integer column does not apply."""


@dataclass(frozen=True)
class Row:
    """One measured number with everything that says what it is. Column order is file order."""

    run: str
    method: str
    seed: int
    task: int
    """The checkpoint's task index."""
    step: int
    """Agent decisions at the checkpoint."""
    reference_step: int
    """The other checkpoint of a pair measure, else -1."""
    arm: str
    draw: int
    checkpoint: str
    """SHA-256 of the checkpoint."""
    data: str
    """SHA-256 of the observation set."""
    module: str
    layer: str
    """Layer id; empty for a module's average."""
    probe: str
    metric: str
    aggregation: str
    """layer, micro (weighted by units), macro (mean of layers) or none."""
    value: float
    """NaN where `status` says why there is no number."""
    status: str
    samples: int
    units: int
    threshold: float
    """NaN where the metric has none."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes the row itself: all but value, status and the counts."""
        dropped = {"value", "status", "samples", "units"}
        return tuple(str(value) for name, value in asdict(self).items() if name not in dropped)


COLUMNS: dict[str, type] = get_type_hints(Row)
Columns = dict[str, NDArray[Any]]
"""A table by column: object arrays of str, int64 and float64 arrays of equal length."""


def columns_of(rows: Sequence[Row]) -> Columns:
    """Turns rows into columns."""
    return {name: _column([getattr(row, name) for row in rows], kind) for name, kind in COLUMNS.items()}


def rows_of(columns: Columns) -> list[Row]:
    """Turns columns into rows; the inverse of `columns_of`."""
    lists = [[kind(value) for value in columns[name]] for name, kind in COLUMNS.items()]
    return [Row(*values) for values in zip(*lists, strict=True)]


def write_table(group: h5py.Group, name: str, columns: Columns) -> None:
    """Writes columns as one compound dataset; strings are UTF-8 of any length."""
    stored = [(key, h5py.string_dtype() if array.dtype == object else array.dtype) for key, array in columns.items()]
    table = np.empty(len(next(iter(columns.values()))), dtype=np.dtype(stored))
    for key, array in columns.items():
        table[key] = array
    group.create_dataset(name, data=table)


def read_table(dataset: h5py.Dataset) -> Columns:
    """Reads what `write_table` wrote."""
    table = dataset[()]
    return {
        name: np.array([value.decode() for value in table[name]], dtype=object)
        if table.dtype[name].hasobject
        else np.asarray(table[name])
        for name in table.dtype.names
    }


def table_of(records: Sequence[dict[str, Any]]) -> Columns:
    """Turns records with the same keys into columns; the type of the first record's value decides."""
    return {name: _column([record[name] for record in records], type(records[0][name])) for name in records[0]}


def records_of(columns: Columns) -> list[dict[str, Any]]:
    """Turns columns into records; the inverse of `table_of`."""
    names = list(columns)
    lists = [columns[name].tolist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def _column(values: list[Any], kind: type) -> NDArray[Any]:
    return np.array(values, dtype={str: object, int: np.int64, bool: np.bool_, float: np.float64}[kind])
