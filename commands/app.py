"""The `probe` command: registers the verbs and turns errors into messages and exit codes."""

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from probe import __version__
from probe.commands.analyze import analyze
from probe.commands.collect import collect
from probe.commands.compare import compare
from probe.commands.detect import detect
from probe.commands.export import export
from probe.commands.inspect import inspect
from probe.commands.list import list_names
from probe.commands.report import report
from probe.commands.train import train
from probe.commands.watch import watch
from probe.errors import ProbeError

INTERRUPTED = 130
OUR_FAULT = 1
_DEBUG = "--debug"

app = typer.Typer(
    name="probe",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Tells whether, where and when a network loses plasticity.\n\n"
    "`probe train`, `probe collect`, `probe analyze`, `probe report`: checkpoints, observations, measures, figures.",
)


def guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """Wraps a verb: errors become a message and an exit code, with the traceback only where it helps."""

    @wraps(verb)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt:
            _say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except ProbeError as error:
            if _DEBUG in sys.argv:
                traceback.print_exc()
            _say(f"Error: {error}")
            raise typer.Exit(error.exit_code) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception:
            traceback.print_exc()
            _say("This is a fault of plasticity-probe, not of yours. Please report it with the lines above.")
            raise typer.Exit(OUR_FAULT) from None

    return run


for _verb in (train, collect, analyze, detect, compare, report, inspect, export, watch):
    app.command(_verb.__name__)(guarded(_verb))
app.command("list")(guarded(list_names))


def _version(value: bool) -> bool:
    if value:
        print(f"probe {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the verb; `--debug` may stand anywhere."""


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 2 the input is at fault, 1 our fault, 130 interrupted."""
    app([argument for argument in sys.argv[1:] if argument != _DEBUG], prog_name="probe")


def _say(message: str) -> None:
    print(message, file=sys.stderr)
