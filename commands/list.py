"""`probe list`: the names that the other commands take."""

from typing import Annotated

import typer

KINDS = ("probes", "methods", "presets", "environments", "formats", "figures")


def list_names(
    kind: Annotated[str, typer.Argument(help="probes, methods, presets, environments, formats or figures.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of objects with name and summary.")] = False,
) -> None:
    """List the names that the other commands take, with a line on each.

    Example: `probe list probes`
    """
    import json

    from rich.table import Table

    from probe.commands.console import console
    from probe.errors import UnknownNameError

    if kind not in KINDS:
        raise UnknownNameError("list", kind, KINDS)
    names = _names(kind)
    if as_json:
        print(json.dumps([{"name": name, "summary": summary} for name, summary in names.items()], indent=2))
        return
    table = Table("Name", "Summary")
    for name, summary in names.items():
        table.add_row(name, summary)
    console.print(table)


def _names(kind: str) -> dict[str, str]:
    if kind == "probes":
        from probe.probes.base import registry as probes

        return {name: probe.summary() for name, probe in probes().items()}
    if kind == "methods":
        from probe.trainers.mitigations import methods

        return methods()
    if kind == "presets":
        from probe.trainers.configuration import presets

        return presets()
    if kind == "environments":
        from probe.datasets.environments import environment_names

        return environment_names()
    if kind == "formats":
        from probe.checkpoints import formats

        return formats()
    from probe.figures import registry as figures

    return figures()
