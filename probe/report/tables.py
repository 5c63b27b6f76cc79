"""The overview as a table of LaTeX."""

from collections.abc import Sequence

from probe.figures.names import step_name
from probe.report.overview import Entry

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def overview_as_latex(entries: Sequence[Entry]) -> str:
    """Returns a table for the package booktabs: measure, series, first, last, change; a rule between measures."""
    lines = [
        "% Needs \\usepackage{booktabs}.",
        "\\begin{tabular}{llrrr}",
        "\\toprule",
        "Measure & Series & First & Last & Change \\\\",
    ]
    measure = ""
    for entry in entries:
        name = f"{entry.measure}, {entry.where}"
        if name != measure:
            lines.append("\\midrule")
        values = (entry.shown(entry.first), entry.shown(entry.last), entry.shown_change)
        cells = [name if name != measure else "", _series(entry), *values]
        lines.append(" & ".join(latex(cell) for cell in cells) + r" \\")
        measure = name
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _series(entry: Entry) -> str:
    seeds = f", {entry.seeds} seeds" if entry.seeds > 1 else ""
    return f"{entry.series} ({step_name(entry.first_step)} to {step_name(entry.last_step)}{seeds})"


def latex(text: str) -> str:
    """Returns text with every character that LaTeX would take as a command escaped."""
    return "".join(_ESCAPES.get(character, character) for character in text)
