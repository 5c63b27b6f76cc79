"""Carrying out a plan with progress: the forward passes and what shares them, then the probes that cost more."""

from collections.abc import Sequence

from probe.commands.console import messages, progress
from probe.examination import ProbeItem
from probe.planning import Plan
from probe.prices import estimate
from probe.results import Analysis


def carry_out(planned: Plan, workers: int) -> Analysis:
    """Measures what is new, says how far it is, and returns the assembled analysis."""
    if not planned.items and not planned.missing:
        messages.print("Nothing new to measure: every checkpoint is in the analysis already.")
    if planned.items:
        shared = [each for piece in planned.shared.values() for each in piece]
        if _costly(shared):
            for line in estimate(shared).lines("The forward pass with the probes that share it"):
                messages.print(line)
        with progress("Measuring checkpoints", len(planned.items), "checkpoints") as advance:
            for item in planned.measure(workers):
                advance(note=item.checkpoint.path.name)
    missing = planned.missing
    if missing:
        price = estimate(missing)
        for line in price.lines() if _costly(missing) else ():
            messages.print(line)
        with progress("Examining checkpoints", price.passes, "passes") as advance:
            for each in planned.examine(workers):
                advance(price.passes_of(each), note=f"{each.probe.name}, {each.checkpoint.path.name}")
    return planned.assemble()


def _costly(items: Sequence[ProbeItem]) -> bool:
    """Whether some of the work is beyond what the forward pass gives every probe."""
    return any(each.probe.cost == "costly" for each in items)


def print_notes(planned: Plan) -> None:
    """Says what was assumed about other tools' observations and, once a series, about other libraries' checkpoints."""
    for data in planned.data:
        for note in data.notes:
            messages.print(f"[yellow]{data.path}:[/] {note}.", highlight=False)
    for series in planned.series:
        shapes = dict.fromkeys(data.observation_shape for data in planned.data)
        for note in dict.fromkeys(note for shape in shapes for note in series.checkpoints[0].notes(shape)):
            messages.print(f"[yellow]{series.label}:[/] {note}.", highlight=False)
