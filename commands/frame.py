"""What is shown of a live run."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from probe.commands.console import duration, number, sparkline
from probe.trainers.following import LayerReading, RunView

_BAR = 20
"""Characters of a full bar."""
_POINTS = 40
"""Scores in the course."""
_STATES = {"training": "cyan", "finished": "green", "stopped": "yellow"}


def frame(view: RunView) -> Group:
    """Returns the whole picture of a run, 80 characters wide."""
    parts: list[RenderableType] = [_title(view), Text(_progress(view)), Text(_scores(view))]
    if view.layers:
        parts.append(_layers(view.layers))
    elif view.modules:
        dormant = ", ".join(f"{module} {share:.1%}" for module, share in view.modules.items())
        parts.append(Text(f"dormant units: {dormant}. Layers are not logged: monitor.every is 0."))
    if view.actions:
        parts.append(Text(_actions(view)))
    return Group(*parts, *_alerts(view))


def line(view: RunView) -> str:
    """Returns a run in a line."""
    dormant = [reading.dormant for reading in view.layers if reading.dormant is not None]
    score = f"{view.score} {view.scores[-1][1]:.2f}" if view.scores else ""
    most = f"dormant at most {max(dormant):.1%}" if dormant else ""
    collapsed = [reading.name for reading in view.layers if reading.collapsed_since is not None]
    parts = (_progress(view), score, most, f"collapsed: {', '.join(collapsed)}" if collapsed else "")
    return "  ".join(part for part in parts if part)


def _title(view: RunView) -> Text:
    title = Text(f"{view.name} / {view.method} / seed {view.seed}  ", style="bold")
    return title.append(view.state, style=_STATES[view.state])


def _progress(view: RunView) -> str:
    speed = "" if view.steps_per_second is None else f"{number(view.steps_per_second)} steps/s"
    left = "" if view.seconds_left is None else f"{duration(view.seconds_left)} left"
    parts = (f"step {view.step:,} of {view.total:,} ({view.step / view.total:.1%})", speed, left)
    return "  ".join(part for part in parts if part)


def _scores(view: RunView) -> str:
    if not view.scores:
        return f"{view.score}: no episode has ended yet"
    shown = view.scores[-_POINTS:]
    test = "" if view.test is None else f"  test {view.test:.2f}"
    course = sparkline(tuple(value for _, value in shown))
    return f"{view.score} {shown[-1][1]:.2f}{test}  {course}  since step {shown[0][0]:,}"


def _layers(layers: tuple[LayerReading, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Layer")
    table.add_column("Active units (FAU)")
    for name in ("Dormant", "Mean |h|"):
        table.add_column(name, justify="right")
    table.add_column("")
    for reading in layers:
        collapsed = reading.collapsed_since is not None
        table.add_row(
            escape(reading.name),
            _bar(reading.fau),
            _share(reading.dormant),
            "-" if reading.mean_abs is None else number(reading.mean_abs),
            "collapsed" if collapsed else "",
            style="red" if collapsed else "",
        )
    return table


def _bar(share: float | None) -> str:
    filled = round((share or 0.0) * _BAR)
    return f"{'█' * filled}{'░' * (_BAR - filled)} {_share(share):>7}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}".replace("%", " %")


def _actions(view: RunView) -> str:
    # From zero, so that a bar's height is the share and not the rank.
    bars = sparkline((0.0, *view.actions, 1.0))[1:-1]
    most = max(range(len(view.actions)), key=view.actions.__getitem__)
    balance = "" if view.balance is None else f", balance {view.balance:.2f} of 1"
    return f"actions {bars}  most often {most} ({_share(view.actions[most])}){balance}"


def _alerts(view: RunView) -> list[Text]:
    collapses = [
        f"{reading.name} has collapsed, first seen at step {reading.collapsed_since:,}"
        for reading in view.layers
        if reading.collapsed_since is not None
    ]
    spikes = [f"{each.metric} at step {each.step:,} was {each.deviations:+.0f} deviations off" for each in view.spikes]
    return [Text(f"! {words}", style="red") for words in collapses] + [
        Text(f"! {words}", style="yellow") for words in spikes[-3:]
    ]
