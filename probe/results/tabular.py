"""The tidy rows in the forms that other programs read: CSV, Parquet, pandas."""

import csv
import io
from collections.abc import Iterable
from importlib import import_module
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import MissingExtraError
from probe.results.reading import Analysis
from probe.results.rows import COLUMNS, Columns

if TYPE_CHECKING:
    import pandas


def rows_as_csv(analyses: Iterable[Analysis]) -> str:
    """Returns every row of the analyses once; a null number is an empty cell, every other reads back exactly."""
    lines: dict[tuple[str, ...], None] = {}
    for analysis in analyses:
        columns = [[_cell(value) for value in analysis.rows[name].tolist()] for name in COLUMNS]
        lines.update(dict.fromkeys(zip(*columns, strict=True)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(lines)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else repr(value)
    return str(value)


def rows_as_frame(rows: Columns) -> "pandas.DataFrame":
    """Returns rows as a pandas data frame with the same columns; a null number is NaN.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    frame: pandas.DataFrame = _required("pandas").DataFrame({name: rows[name] for name in COLUMNS})
    return frame


def rows_as_parquet(rows: Columns) -> bytes:
    """Returns rows as a Parquet file; a null number is null, and `status` says why.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = _required("pyarrow"), _required("pyarrow.parquet")
    columns = {
        name: arrow.array(rows[name], mask=np.isnan(rows[name])) if kind is float else arrow.array(rows[name])
        for name, kind in COLUMNS.items()
    }
    content = io.BytesIO()
    parquet.write_table(arrow.table(columns), content)
    return content.getvalue()


def _required(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{package} cannot be imported ({error}). Install it with pip install 'plasticity-probe[export]'."
        ) from error
