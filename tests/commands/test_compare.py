"""`probe compare`."""

import json
from pathlib import Path

import pytest

from tests.commands.invoke import Invoke
from tests.probe.series import SPEC, WIDTH, spoil, write_observations, write_series

LONG = (0, 100, 200, 300, 400)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 0 to 2 of `a` with four killed units and of `b` with eight, 1 to 3 of `c`, and a set of observations."""
    folder = tmp_path_factory.mktemp("files")
    for seed in range(3):
        write_series(folder / "a" / f"seed{seed}", seed=seed)
        write_series(folder / "b" / f"seed{seed}", LONG, "other", seed)
        write_series(folder / "c" / f"seed{seed + 1}", LONG, "third", seed + 1)
    write_observations(folder / "observations.h5")
    return folder


@pytest.fixture
def compare(probe: Invoke, files: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.chdir(files)
    monkeypatch.setenv("COLUMNS", "120")
    return probe


def table(printed: str) -> dict[str, list[str]]:
    """Returns the cells behind `measure | place` of every row."""
    rows = [[cell for cell in line.strip().split("  ") if cell] for line in printed.splitlines()]
    return {f"{row[0].strip()} | {row[1].strip()}": [cell.strip() for cell in row[2:]] for row in rows if len(row) > 3}


def test_two_checkpoints_stand_side_by_side(compare: Invoke) -> None:
    folder = "a/seed0/checkpoints/step_000000"
    outcome = compare("compare", f"{folder}000.safetensors", f"{folder}200.safetensors", "--data", "observations.h5")
    assert outcome.code == 0 and "2/2 checkpoints" in outcome.error
    assert "(cart / baseline / seed 0), step 0" in outcome.out and "(cart / baseline / seed 0), step 200" in outcome.out
    a, b, difference = table(outcome.out)["dead fraction | dense 2"]
    assert difference == "+25.0 pp" and float(b.split()[0]) - float(a.split()[0]) == pytest.approx(25, abs=0.11)
    assert "One seed a side: no interval." in outcome.out
    assert "encoder.relu" not in outcome.out, "raw layer ids are for files, people get labels"
    assert "collapse" in outcome.out, "what is left out is said"


def test_seeds_of_both_sides_have_an_interval_and_a_p_value(compare: Invoke) -> None:
    arguments = ("compare", "a", "b", "--data", "observations.h5", "--probe", "activity")
    outcome = compare(*arguments, "--step", "210")
    assert "(cart / baseline / seeds 0, 1, 2), step 200" in outcome.out
    assert "(cart / other / seeds 0, 1, 2), step 200" in outcome.out, "the nearest step is taken and named"
    outcome = compare(*arguments)
    *_, difference, p = table(outcome.out)["dead fraction | dense 2"]
    assert difference.startswith("+") and " ± " in difference and difference.endswith(" pp") and p == "0.25"
    assert "paired t intervals" in outcome.out and "with 3 pairs it is at least 0.25" in outcome.out


def test_the_kind_of_interval_and_the_seeds_behind_it_are_named(compare: Invoke) -> None:
    arguments = ("--data", "observations.h5", "--probe", "fau")
    shared = compare("compare", "a", "c", *arguments).out
    assert "Seeds 1, 2 are on both sides: paired t intervals." in shared
    assert "only A has them: seeds 0." in shared and "only B has them: seeds 3." in shared
    different = compare("compare", "a", "c/seed[23]", *arguments).out
    assert "Seeds 0, 1, 2 of A, 2, 3 of B: Welch's t intervals." in different
    assert "A has one seed: no interval." in compare("compare", "a/seed0", "c", *arguments).out


def test_json_holds_every_row_and_is_alone_on_standard_output(compare: Invoke) -> None:
    printed = json.loads(compare("compare", "a", "b", "--data", "observations.h5", "--probe", "activity", "--json").out)
    assert printed["design"] == "paired" and printed["seeds"] == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert [each["step"] for each in printed["b"]["checkpoints"]] == [400, 400, 400]
    (dead,) = (
        each
        for each in printed["differences"]
        if each["metric"] == "dead_fraction" and each["layer"] == "encoder.dense2"
    )
    assert dead["low"] < dead["difference"] < dead["high"] and dead["p"] == 0.25
    assert dead["difference"] == pytest.approx(dead["b"]["value"] - dead["a"]["value"])
    assert dead["a"]["seeds"]["0"]["units"] == WIDTH
    (actor,) = (
        each for each in printed["differences"] if each["metric"] == "dead_fraction" and each["module"] == "actor"
    )
    assert actor["difference"] is None and actor["a"]["value"] is None and actor["a"]["status"] == "not_applicable"


def test_all_shows_what_the_table_leaves_out_and_says_how_much(compare: Invoke) -> None:
    arguments = ("compare", "a/seed0", "b/seed0", "--data", "observations.h5", "--probe", "activity")
    short, long = compare(*arguments).out, compare(*arguments, "--all").out
    assert "dead fraction | dense 1" not in table(short), "it does not differ"
    assert table(long)["dead fraction | dense 1"][2] == "0.0 pp"
    hidden = len(table(long)) - len(table(short))
    assert hidden > 0 and f"{hidden} more rows with --all" in short and "more rows" not in long


def test_the_same_checkpoint_twice_is_no_error_and_is_said(compare: Invoke) -> None:
    outcome = compare("compare", "a", "a/", "--data", "observations.h5")
    assert outcome.code == 0 and "A and B are the same: every difference is 0." in outcome.out


def test_nan_and_few_samples_are_shown_with_their_status(compare: Invoke, tmp_path: Path) -> None:
    spoil(write_series(tmp_path / "run"), 200)
    outcome = compare("compare", "a/seed0", tmp_path / "run", "--data", "observations.h5", "--samples", "50")
    assert table(outcome.out)["dead fraction | encoder"][1:] == ["-", "B nonfinite"]
    outcome_of_few = compare("compare", "a/seed0", "a/seed1", "--data", "observations.h5", "--samples", "50")
    assert table(outcome_of_few.out)["effective rank | encoder, macro"][2] == "low sample"
    assert "Rows not compared, low sample: " in outcome_of_few.out
    assert "NaN or infinite activations" in outcome.error and "50 samples for 16 units" in outcome_of_few.error


def test_one_broken_seed_is_left_out_and_named(compare: Invoke, tmp_path: Path) -> None:
    for seed in range(3):
        write_series(tmp_path / "runs" / f"seed{seed}", method="broken", seed=seed)
    spoil(tmp_path / "runs" / "seed1", 200)
    outcome = compare("compare", "a", tmp_path / "runs", "--data", "observations.h5", "--probe", "fau")
    assert "Rows without seed 1 of B (nonfinite): " in outcome.out


def test_what_only_one_side_has_is_listed(compare: Invoke, tmp_path: Path) -> None:
    encoder = SPEC.modules["encoder"]
    short = encoder.model_copy(update={"stages": tuple(each for each in encoder.stages if each.name != "relu1")})
    write_series(tmp_path / "short", spec=SPEC.model_copy(update={"modules": {**SPEC.modules, "encoder": short}}))
    outcome = compare("compare", "a/seed0", tmp_path / "short", "--data", "observations.h5", "--probe", "dormancy")
    assert "Only A has: dense 1 (dormant fraction at 0, dormant fraction at 0.025, dormant" in outcome.out


def test_the_analysis_is_kept_on_demand_and_used_again(compare: Invoke, tmp_path: Path) -> None:
    arguments = ("compare", "a/seed0", "b/seed0", "--data", "observations.h5", "--out", tmp_path / "kept.h5")
    first = compare(*arguments)
    again = compare(*arguments, "--set", "dormancy.thresholds=0.3")
    assert "2/2 checkpoints" in first.error and "Nothing new to measure" in again.error
    assert any(name.startswith("dormant fraction at 0.3 | ") for name in table(again.out))


# What stands after `probe compare`, and words of the message.
BAD_INPUT = {
    "no such path": ("a none --data observations.h5", "none: there is no such file"),
    "a folder without checkpoints": ("a empty --data observations.h5", "no checkpoint"),
    "no data": ("a b --data none.h5", "none.h5"),
    "data that do not fit": ("a other/seed0 --data observations.h5", "observations of shape (5,)"),
    "a damaged checkpoint": ("a damaged --data observations.h5", "cut.safetensors"),
    "several methods on a side": (". b --data observations.h5", "one side of a comparison is one method"),
    "no checkpoint near the step": ("a b --data observations.h5 --step 1M", "no checkpoint near step 1,000,000"),
    "no step": ("a b --data observations.h5 --step soon", "'soon' is no whole number"),
    "a probe of series": ("a b --data observations.h5 --probe drift", "drift: measured between the checkpoints"),
    "an unknown probe": ("a b --data observations.h5 --probe dormnacy", "Did you mean: dormancy?"),
    "a negative threshold": (
        "a b --data observations.h5 --set dormancy.thresholds=-0.1",
        "dormancy.thresholds is -0.1; numbers of at least 0, none of them twice, are expected",
    ),
    "nothing in common": ("a linear --data observations.h5 --probe fau", "no layer, module and measure in common"),
    "no worker": ("a b --data observations.h5 --workers 0", "--workers"),
    "a foreign file in the way": ("a b --data observations.h5 --out text.h5", "text.h5"),
}


@pytest.fixture(scope="module")
def wrong(files: Path) -> None:
    from probe.networks import preset

    (files / "empty").mkdir()
    (files / "text.h5").write_text("years of work")
    whole = (files / "a" / "seed0" / "checkpoints" / "step_000000000.safetensors").read_bytes()
    (files / "damaged").mkdir()
    (files / "damaged" / "cut.safetensors").write_bytes(whole[:2000])
    write_series(files / "other" / "seed0", spec=preset("mlp", (5,), 2, WIDTH))
    modules = {
        name: module.model_copy(update={"stages": tuple(each for each in module.stages if each.kind != "relu")})
        for name, module in SPEC.modules.items()
    }
    write_series(files / "linear", spec=SPEC.model_copy(update={"modules": modules}))


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_a_message_and_leaves_nothing(compare: Invoke, files: Path, case: str) -> None:
    line, words = BAD_INPUT[case]
    before = sorted(files.rglob("*"))
    outcome = compare("compare", *line.split())
    assert outcome.code == 2
    assert words in outcome.error and "Traceback" not in outcome.error
    last = outcome.error[outcome.error.index("Error: ") :]
    assert last.count("\n") <= 2
    assert sorted(files.rglob("*")) == before
