"""The web page of a report: one file, nothing to download, readable offline."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from probe.cautions import warnings
from probe.detection.words import HEADER, NOTE, OFFLINE_HEADER, OFFLINE_NOTE, table, title, verdict_line
from probe.figures import Material
from probe.figures.names import step_name
from probe.recovery import LEVELS
from probe.report.detections import detections_of, offline_rows
from probe.report.diagnosis import diagnosis_rows, meanings
from probe.report.images import Drawn, Skipped
from probe.report.overview import Entry, findings
from probe.report.recovery import RECOVERY_WORDS, recovery_of
from probe.report.stylesheet import STYLESHEET

_WORDS = {
    "Step": "One decision of the agent, summed over the environments that run side by side.",
    "Unit": "One channel of a convolution or one feature of a dense layer, after its nonlinearity.",
    "Layer": "The output of one nonlinearity, named after the weights before it.",
    "Dormant": "A unit whose mean absolute activation is at most tau times the mean of its layer.",
    "Dead": "A unit that is above zero on no observation of the whole set.",
    "Activation rate": "The share of observations (and positions) on which a unit is above zero.",
    "FAU": "The fraction of active units: the share of activations above zero.",
    "Effective rank": "The exponential of the entropy of the normalised singular values of a layer's features.",
    "pp": "Percentage points: the difference of two percentages.",
    "Few samples": "Fewer than ten observations a unit: ranks come out too low.",
    "Task shift": "A change of the environment that the agent is not told of.",
}


def page(
    material: Material,
    entries: Sequence[Entry],
    drawn: Sequence[Drawn],
    skipped: Sequence[Skipped],
    versions: Mapping[str, str],
) -> str:
    """Returns the whole page as HTML."""
    title = "Plasticity report: " + ", ".join(dict.fromkeys(run for run, _ in material.series))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subject(material))}</p>',
        _contents(drawn),
        _warnings(material),
        _findings(material),
        _diagnosis(material),
        _detections(material),
        _overview(entries),
        _recovery(material),
        *map(_figure, drawn),
        _skipped(skipped),
        _words(),
        _provenance(material, versions),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLESHEET}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _subject(material: Material) -> str:
    seeds = {(each["run"], each["method"], each["seed"]) for a in material.analyses for each in a.checkpoints}
    seeds |= {(log.run, log.method, log.seed) for log in material.logs}
    checkpoints = {each["digest"] for analysis in material.analyses for each in analysis.checkpoints}
    counts = [(len(material.series), "series"), (len(seeds), "run"), (len(checkpoints), "checkpoint")]
    words = [f"{count} {noun}{'s' if count > 1 and noun != 'series' else ''}" for count, noun in counts if count]
    return f"{', '.join(material.series.values())}. {', '.join(words)}."


def _contents(drawn: Sequence[Drawn]) -> str:
    links = [f'<a href="#{each.file}-figure">{escape(_title(each))}</a>' for each in drawn]
    return f"<nav>{' '.join(links)}</nav>" if links else ""


def _title(drawn: Drawn) -> str:
    return f"{drawn.kind.title} ({drawn.view})" if drawn.view else drawn.kind.title


def _figure(drawn: Drawn) -> str:
    files = ", ".join(f"figures/{drawn.file}.{name}" for name in drawn.images)
    note = f'<p class="soft">As files: <code>{escape(files)}</code></p>' if files else ""
    return (
        f'<section class="figure" id="{drawn.file}-figure">\n<h2>{escape(_title(drawn))}</h2>\n{drawn.inline}\n'
        f"<p>{escape(drawn.kind.shows)}</p>\n"
        f"<p><strong>What it does not mean.</strong> {escape(drawn.kind.caution)}</p>\n{note}</section>"
    )


def _warnings(material: Material) -> str:
    found = [warning for analysis in material.analyses for warning in warnings(analysis)]
    if not found:
        return ""
    items = "".join(f"<p>{escape(warning)}</p>" for warning in dict.fromkeys(found))
    return f'<div class="warning"><strong>Read with care.</strong>{items}</div>'


def _findings(material: Material) -> str:
    found = findings(material)
    if not found:
        return ""
    rows = [(name, text) for name, text in found.items()]
    return "<h2>What stands out</h2>\n" + _table(("Series", "Finding"), rows)


def _diagnosis(material: Material) -> str:
    rows = diagnosis_rows(material)
    if not rows:
        return ""
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in meanings(material).items())
    header = ("Series", "Diagnosis at the last checkpoint", "Evidence")
    return "<h2>Diagnosis</h2>\n" + _table(header, rows) + (f"\n<dl>{told}</dl>" if told else "")


def _detections(material: Material) -> str:
    parts = []
    for each in detections_of(material):
        words = f"<p>{escape(title(each))}</p>\n<p><strong>{escape(verdict_line(each))}</strong></p>"
        parts.append(f"{words}\n{_table(HEADER, table(each), numbers=range(1, len(HEADER)))}")
    if parts:
        parts.append(f'<p class="soft">{escape(NOTE)}</p>')
    if offline := offline_rows(material):
        parts.append(_table(OFFLINE_HEADER, offline, numbers=range(1, len(OFFLINE_HEADER) - 1)))
        parts.append(f'<p class="soft">{escape(OFFLINE_NOTE)}</p>')
    return "\n".join(["<h2>Plasticity injection as a detector</h2>", *parts]) if parts else ""


def _overview(entries: Sequence[Entry]) -> str:
    if not entries:
        return ""
    header = ("Series", "Steps", "First", "Last", "Change")
    groups: dict[str, list[Sequence[str]]] = {}
    for entry in entries:
        name = f"{entry.measure}, {entry.where}" + (f" ({entry.note})" if entry.note else "")
        series = f"{entry.series}, mean of {entry.seeds} seeds" if entry.seeds > 1 else entry.series
        steps = f"{step_name(entry.first_step)} to {step_name(entry.last_step)}"
        values = (entry.shown(entry.first), entry.shown(entry.last), entry.shown_change)
        groups.setdefault(name, []).append((series, steps, *values))
    return "<h2>First, last, change</h2>\n" + _table(header, groups, numbers=range(2, 5))


def _recovery(material: Material) -> str:
    measured = [each for log in material.logs if (each := recovery_of(log, material)).shifts]
    if not measured:
        return ""
    header = ("Series", "Shift after", "Score before", "Lowest", "Drop", *(f"Back at {100 * x:.0f} %" for x in LEVELS))
    rows = [row for each in measured for row in each.shown_rows]
    told = "".join(f"<p>{escape(each.sawtooth_words)}</p>" for each in measured if each.sawtooth is not None)
    text = f'<p class="soft">{escape(RECOVERY_WORDS)}</p>'
    return f"<h2>Recovery after task shifts</h2>\n{text}\n{_table(header, rows, numbers=range(1, 7))}{told}"


def _skipped(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    rows = [(f"{each.kind.title}{f' ({each.view})' if each.view else ''}", each.reason) for each in skipped]
    return "<h2>Figures that were not drawn</h2>\n" + _table(("Figure", "Why"), rows)


def _words() -> str:
    items = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in _WORDS.items())
    return f"<h2>Words</h2>\n<dl>{items}</dl>"


def _provenance(material: Material, versions: Mapping[str, str]) -> str:
    parts = ["<h2>Where the numbers come from</h2>"]
    sources = [(str(analysis.path), "analysis") for analysis in material.analyses]
    sources += [(str(log.path), "training log") for log in material.logs]
    parts.append(_table(("File", "Kind"), sources))
    sets = {each["digest"]: each for analysis in material.analyses for each in analysis.data}
    if sets:
        parts += ["<h3>Observation sets</h3>", _sets(sets.values())]
    checkpoints = {each["digest"]: each for analysis in material.analyses for each in analysis.checkpoints}
    if checkpoints:
        parts += ["<h3>Checkpoints</h3>", _checkpoints(checkpoints.values())]
    parts += ["<h3>Versions</h3>", _table(("Package", "Version"), list(versions.items()))]
    return "\n".join(parts)


def _sets(sets: Iterable[Mapping[str, Any]]) -> str:
    rows = [(e["environment"], e["kind"], f"{e['samples']:,}", e["task"], e["digest"][:16]) for e in sets]
    header = ("Environment", "Kind", "Observations", "Task", "SHA-256")
    return _table(header, rows, numbers=(2, 3), code=(4,))


def _checkpoints(checkpoints: Iterable[Mapping[str, Any]]) -> str:
    rows = [(e["run"], e["method"], e["seed"], e["task"], f"{e['step']:,}", e["digest"][:16]) for e in checkpoints]
    header = ("Run", "Method", "Seed", "Task", "Step", "SHA-256")
    return _table(header, rows, numbers=(2, 3, 4), code=(5,))


def _table(
    header: Sequence[str],
    rows: Iterable[Sequence[Any]] | Mapping[str, Iterable[Sequence[Any]]],
    numbers: Iterable[int] = (),
    code: Iterable[int] = (),
) -> str:
    """Returns a table that scrolls on a narrow screen; rows under a name get a line with that name above them."""
    right, mono = set(numbers), set(code)

    def cell(tag: str, at: int, value: Any) -> str:
        text = escape(str(value))
        kind = ' class="number"' if at in right else ""
        return f"<{tag}{kind}>{f'<code>{text}</code>' if at in mono and tag == 'td' else text}</{tag}>"

    head = "".join(cell("th", at, name) for at, name in enumerate(header))
    lines = []
    for name, members in (rows if isinstance(rows, Mapping) else {"": rows}).items():
        lines += [f'<tr><th colspan="{len(header)}" class="group">{escape(name)}</th></tr>'] if name else []
        lines += [f"<tr>{''.join(cell('td', at, value) for at, value in enumerate(row))}</tr>" for row in members]
    body = "\n".join(lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
