"""The diagnosis in a report: states and evidence a module, and what the signs mean."""

from probe.diagnosis import diagnose
from probe.diagnosis.words import evidence_line, module_line, signs_shown, standing_lines
from probe.figures import Material
from probe.figures.names import layer_name

_EVIDENCE = 2


def diagnosis_rows(material: Material) -> list[tuple[str, str, str]]:
    """Returns (series, a module's state, its evidence) of every series of the analyses, and the notes after them."""
    rows = []
    for analysis in material.analyses:
        labels = {each["layer"]: layer_name(each["label"]) for each in analysis.layers}
        for each in diagnose(analysis):
            name = f"{material.series[each.run, each.method]}, seed {each.seed}"
            name += f", observations {each.data[:8]}" if len(analysis.data) > 1 else ""
            for module in each.modules:
                told = "; ".join(evidence_line(piece, labels) for piece in module.evidence[:_EVIDENCE])
                told = told or " ".join(standing_lines(module, each.first_step, labels))
                rows.append((name, module_line(module, labels), told or "-"))
            if each.notes:
                rows.append((name, "notes", " ".join(each.notes)))
    return rows


def meanings(material: Material) -> dict[str, str]:
    """Returns what each sign that was found means and does not mean, by its name."""
    shown = signs_shown([each for analysis in material.analyses for each in diagnose(analysis)])
    return {
        f"{sign.name[:1].upper()}{sign.name[1:]}": f"It means that {sign.means}. It does not mean {sign.does_not_mean}."
        for sign in shown
    }
