"""The diagnosis in words, for people and for scripts."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from probe.diagnosis.series import SeriesDiagnosis
from probe.diagnosis.signs import Sign, lost_of_working
from probe.diagnosis.verdict import Evidence, ModuleDiagnosis, Standing
from probe.modules import ALL

_ONSETS = {
    "catastrophic": "lost early and never back (catastrophic)",
    "benign": "lost after it had worked, or back for a while (benign)",
}


def evidence_line(evidence: Evidence, labels: Mapping[str, str]) -> str:
    """Returns one piece of evidence as a line: what, where, from which value to which, since when, by which probe.

    Args:
        evidence: one sign of a module.
        labels: readable label by layer id.
    """
    sign = evidence.sign
    where = f" in {labels.get(evidence.layer, evidence.layer)}" if evidence.layer else ""
    change = "" if sign.unit == "flag" else f" {_change(evidence)}"
    return f"{sign.name}{where}:{change} since step {evidence.since:,} ({sign.probe})".replace(": since", " since")


def standing_lines(module: ModuleDiagnosis, first_step: int, labels: Mapping[str, str]) -> list[str]:
    """Returns the evidence of health in two lines: which probes saw no loss, and how near their measures came.

    Args:
        module: one that shows no sign.
        first_step: step of the checkpoint that it is compared with.
        labels: readable label by layer id.
    """
    if not module.standing or module.evidence:
        return []
    last = max(each.step for each in module.standing)
    probes = ", ".join(dict.fromkeys(each.sign.probe for each in module.standing))
    seen = " in the layers that were measured" if module.unseen else ""
    none = [each.sign.name for each in module.standing if _is_none(each, last)]
    words = [_standing_words(each, last, labels) for each in module.standing if not _is_none(each, last)]
    return [
        f"no sign of loss{seen} at step {last:,} against step {first_step:,} ({probes}); nearest to one are:",
        "; ".join([*words, f"none: {', '.join(none)}"] if none else words),
    ]


def module_line(module: ModuleDiagnosis, labels: Mapping[str, str]) -> str:
    """Returns a module's state as a line.

    Args:
        module: what it has come to.
        labels: readable label by layer id.
    """
    name = "whole network" if module.module == ALL else module.module
    onset = f", {_ONSETS[module.onset]}" if module.onset in _ONSETS else ""
    unjudged = f"; not judged: {', '.join(module.not_judged)}" if module.not_judged else ""
    unseen = ", ".join(labels.get(each, each) for each in module.unseen)
    if not unseen:
        return f"{name}: {module.state}{onset}{unjudged}"
    state = "not judged as a whole" if module.state == "unknown" else module.state
    return f"{name}: {state}{onset}; layers not measured (--layer): {unseen}{unjudged}"


def signs_shown(diagnoses: Sequence[SeriesDiagnosis]) -> list[Sign]:
    """Returns every sign that some module shows, once."""
    shown = [each.sign for one in diagnoses for module in one.modules for each in module.evidence]
    return list(dict.fromkeys(shown))


def plain(diagnoses: Sequence[SeriesDiagnosis], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns diagnoses as JSON takes them; null where there is no number."""
    return [
        {
            "run": each.run,
            "method": each.method,
            "seed": each.seed,
            "data": each.data,
            "state": each.state,
            "first_step": each.first_step,
            "last_step": each.last_step,
            "modules": [_plain_module(module, each.first_step, labels) for module in each.modules],
            "notes": list(each.notes),
        }
        for each in diagnoses
    ]


def _plain_module(module: ModuleDiagnosis, first_step: int, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "module": module.module,
        "state": module.state,
        "onset": module.onset,
        "text": [module_line(module, labels), *standing_lines(module, first_step, labels)],
        "evidence": [
            {
                **_plain_measure(each, labels),
                "severity": each.severity,
                "since_step": each.since,
                "text": evidence_line(each, labels),
                "means": each.sign.means,
                "does_not_mean": each.sign.does_not_mean,
            }
            for each in module.evidence
        ],
        "no_sign": [
            {
                **_plain_measure(each, labels),
                "last_step": each.step,
                "layers_judged": each.judged,
                "layers_measured": each.measured,
            }
            for each in module.standing
        ],
        "not_judged": list(module.not_judged),
        "layers_not_measured": list(module.unseen),
        "not_measured": [{"sign": each.name, "probe": each.probe} for each in module.not_measured],
    }


def _plain_measure(each: Evidence | Standing, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "sign": each.sign.name,
        "probe": each.sign.probe,
        "metric": each.sign.metric,
        "layer": each.layer,
        "label": labels.get(each.layer, each.layer),
        "first": None if isnan(each.first) else each.first,
        "last": None if isnan(each.last) else each.last,
    }


def _is_none(standing: Standing, last_step: int) -> bool:
    """Whether there was and is nothing, in all layers and up to the last checkpoint: that takes no number."""
    sign, whole = standing.sign, standing.judged == standing.measured and standing.step == last_step
    counts = sign.unit == "flag" or (sign.unit == "%" and sign.extent is lost_of_working)
    return whole and counts and not standing.last and not standing.first


def _standing_words(standing: Standing, last_step: int, labels: Mapping[str, str]) -> str:
    """Returns a measure's name, where and what it is; its step where its probe was not run at the last checkpoint.

    Where few samples left it open in other layers, in how many it was judged.
    """
    sign, earlier = standing.sign, f" at step {standing.step:,}" if standing.step < last_step else ""
    if standing.judged < standing.measured:
        earlier += f" (judged in {standing.judged} of {standing.measured} layers)"
    where = f" in {labels.get(standing.layer, standing.layer)}" if standing.layer else ""
    change = _flagged(standing) if sign.unit == "flag" else _change(standing)
    return f"{sign.name}{where}: {change}{earlier}"


def _flagged(standing: Standing) -> str:
    return "at the first checkpoint already" if standing.last else "no"


def _change(each: Evidence | Standing) -> str:
    if each.sign.unit == "x":
        return f"{each.last:.2f} times"
    return f"{_shown(each.first, each.sign)} to {_shown(each.last, each.sign)}"


def _shown(value: float, sign: Sign) -> str:
    if isnan(value):
        return "-"
    return f"{100 * value:.1f} %" if sign.unit == "%" else f"{value:.4g}"
