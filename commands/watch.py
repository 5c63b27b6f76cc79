"""`probe watch`: a live run in the terminal."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probe.trainers.following import RunFollower

_INTERVAL = 1.0
"""Seconds between looks at the folder."""


def watch(
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/pong/baseline/seed0.")],
    once: Annotated[bool, typer.Option("--once", help="Print the run as it is now, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as it is now as JSON, and end.")] = False,
) -> None:
    """Show a run while it is alive: returns, active and dormant units of each layer, collapses, speed.

    Example: `probe watch runs/pong/baseline/seed0`

    The layers are those that a run with `monitor.every` logs, as the presets pong do. Nothing in the folder is touched.
    It ends with the run; Ctrl-C ends it before, and not the run.
    """
    from probe.commands.console import console
    from probe.commands.frame import frame
    from probe.commands.plain import as_json_text
    from probe.trainers.following import RunFollower

    follower = RunFollower(run)
    if as_json:
        view = follower.look()
        print(as_json_text({**vars(view), "seconds_left": view.seconds_left}))
    elif once:
        console.print(frame(follower.look()))
    elif console.is_terminal:
        _show(follower)
    else:
        _print_lines(follower)


def _show(follower: "RunFollower") -> None:
    """Draws the run anew again and again, until it has ended."""
    from rich.live import Live

    from probe.commands.console import console
    from probe.commands.frame import frame

    view = follower.look()
    with Live(frame(view), console=console, auto_refresh=False) as live:
        while view.state == "training":
            time.sleep(_INTERVAL)
            view = follower.look()
            live.update(frame(view), refresh=True)


def _print_lines(follower: "RunFollower") -> None:
    """Prints a line every ten seconds, and the whole run when it has ended."""
    from probe.commands.console import PLAIN_INTERVAL, console
    from probe.commands.frame import frame, line

    view = follower.look()
    while view.state == "training":
        print(line(view), file=sys.stderr, flush=True)
        time.sleep(PLAIN_INTERVAL)
        view = follower.look()
    console.print(frame(view))
