"""A probe's docstring as data: its sections, its metrics, and its parameters with their defaults."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

from probe.probes.base import Probe

SECTIONS = ("Question", "Formula", "Axes", "Units", "Cost", "Status", "Source", "Do not trust")
"""What every probe's docstring says, in this order."""
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}): ", re.MULTILINE)
_METRIC = re.compile(r"((?:`[^`]+`(?:, )?)+) \(([^;)]+)(?:; ([^)]+))?\): (.+)", re.DOTALL)


class DocstringError(ValueError):
    """A docstring without what the page needs; the message names the probe and what is missing."""


@dataclass(frozen=True)
class Metric:
    """One line of the section Formula."""

    names: tuple[str, ...]
    """A part in angle brackets, such as `gradient_norm_<loss>`, stands for several words."""
    unit: str
    threshold: str
    """Parameters that the metric's threshold comes from; empty where it has none."""
    meaning: str

    def covers(self, metric: str) -> bool:
        """Whether a metric of results is one of these."""
        patterns = (re.sub("<[^>]+>", r"\\w+", name) for name in self.names)
        return any(re.fullmatch(pattern, metric) for pattern in patterns)


@dataclass(frozen=True)
class Parameter:
    """One field of a probe."""

    name: str
    default: str
    """As `--set` takes it."""
    meaning: str


@dataclass(frozen=True)
class Handbook:
    """What a probe's class says about it."""

    probe: type[Probe]

    @property
    def summary(self) -> str:
        """The first line."""
        return self.probe.summary()

    @cached_property
    def sections(self) -> Mapping[str, str]:
        """The text of every section by its heading, each paragraph or list item on a line of its own.

        Raises:
            DocstringError: a section is missing, empty or out of order.
        """
        parts = _HEADING.split(inspect.getdoc(self.probe) or "")
        found = {heading: _joined(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
        for section in SECTIONS:
            if not found.get(section):
                raise DocstringError(f"Probe {self.probe.name}: its docstring has no section '{section}'.")
        if tuple(found) != SECTIONS:
            raise DocstringError(f"Probe {self.probe.name}: its sections are not in the order {', '.join(SECTIONS)}.")
        return found

    @property
    def formula(self) -> str:
        """What the formulas of all metrics share."""
        return self.sections["Formula"].split("\n")[0]

    @cached_property
    def metrics(self) -> Sequence[Metric]:
        """What the probe emits.

        Raises:
            DocstringError: there is none, or a line does not read "- `metric` (unit; `threshold`): formula".
        """
        lines = self.sections["Formula"].split("\n")[1:]
        matches = [_METRIC.fullmatch(line.removeprefix("- ")) for line in lines]
        if not matches or None in matches:
            wrong = lines[matches.index(None)] if matches else "none"
            raise DocstringError(
                f"Probe {self.probe.name}: in its section 'Formula' a line a metric is expected, "
                f"'- `metric` (unit; `parameter of its threshold`): formula'; found: {wrong}"
            )
        return [
            Metric(tuple(re.findall("`([^`]+)`", match[1])), match[2], match[3] or "", match[4])
            for match in matches
            if match is not None
        ]

    @cached_property
    def parameters(self) -> Sequence[Parameter]:
        """The fields of the dataclass.

        Raises:
            DocstringError: a field has no docstring below it.
        """
        explained = _field_docstrings(self.probe)
        found = []
        for field in fields(cast(Any, self.probe)):
            if field.name not in explained:
                raise DocstringError(
                    f"Probe {self.probe.name}: parameter '{field.name}' has no docstring below it that says what it is."
                )
            found.append(Parameter(field.name, _as_setting(field.default), explained[field.name]))
        return found


def _joined(text: str) -> str:
    """Joins the lines of a paragraph and of each list item."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    return re.sub(r"\n(?!- )", " ", "\n".join(lines))


def _field_docstrings(probe: type[Probe]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(probe))).body
    found = {}
    body = cast(ast.ClassDef, definition).body
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                found[field.target.id] = inspect.cleandoc(below.value.value).replace("\n", " ")
    return found


def _as_setting(default: Any) -> str:
    if default is MISSING:
        return "-"  # made when the probe is; the docstring says how
    values = default if isinstance(default, tuple | list) else [default]
    return ",".join(each if isinstance(each, str) else f"{each:g}" for each in values)
