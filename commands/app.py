"""The `probe` command: registers the verbs and turns errors into messages and exit codes."""

import sys
import traceback
from typing import Annotated

import click
import typer

from probe import __version__
from probe.commands.analyze import analyze
from probe.commands.collect import collect
from probe.commands.inspect import inspect
from probe.commands.list import list_names
from probe.commands.report import report
from probe.commands.train import train

INTERRUPTED = 130

app = typer.Typer(
    name="probe",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Tells whether, where and when a network loses plasticity.\n\n"
    "`probe train`, `probe collect`, `probe analyze`, `probe report`: checkpoints, observations, measures, figures.",
)
for verb in (train, collect, analyze, report, inspect):
    app.command()(verb)
app.command("list")(list_names)


def _version(value: bool) -> None:
    if value:
        print(f"probe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the verb."""


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 2 the input is at fault, 1 our fault, 130 interrupted."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, prog_name="probe", standalone_mode=False) or 0
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        code = _explain(error, debug)
    sys.exit(code)


def _explain(error: Exception, debug: bool) -> int:
    # Imported here: on the way to `--help` nothing of this is needed.
    from probe.errors import ProbeError

    if debug:
        traceback.print_exc()
    if isinstance(error, ProbeError):
        _say(f"Error: {error}")
        return error.exit_code
    if not debug:
        traceback.print_exc()
    _say("This is a fault of plasticity-probe, not of yours. Please report it with the lines above.")
    return 1


def _say(message: str) -> None:
    print(message, file=sys.stderr)
