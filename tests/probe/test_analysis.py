"""Series x observations x probes, end to end on real files."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.analysis import Plan, analyze, choose_probes, plan, select_checkpoints
from probe.checkpoints import open_series
from probe.errors import ConfigurationError, FileError, ShapeError, UnknownNameError
from probe.observations import open_observations
from probe.probes.dormancy import Dormancy
from probe.results import Analysis, Row, open_analysis
from tests.probe.series import WIDTH, by_hand, spoil, write_observations, write_series


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return write_series(folder / "run"), write_observations(folder / "observations.h5")


def planned(files: tuple[Path, Path], out: Path, *probes: str) -> Plan:
    return plan(open_series([files[0]]), [open_observations(files[1])], out, choose_probes(probes or ("default",)))


def values(analysis: Analysis, **equals: object) -> list[float]:
    return [float(value) for value in analysis.select(**equals)["value"]]


def without_order(rows: list[Row]) -> set[str]:
    return {repr(row) for row in rows}


def test_the_numbers_are_those_computed_by_hand(files: tuple[Path, Path], tmp_path: Path) -> None:
    observations = torch.cat(list(open_observations(files[1]).batches(1000)))
    with analyze(files[0], files[1], tmp_path / "a.h5") as analysis:
        for checkpoint in open_series([files[0]])[0].checkpoints:
            for layer, hidden in by_hand(checkpoint.network(), observations).items():
                keys = {"step": checkpoint.step, "layer": layer, "aggregation": "layer", "reference_step": -1}
                mean = hidden.double().abs().mean(0)
                dormant = (mean / mean.mean() <= 0.025).double().mean().item()
                assert values(analysis, metric="dormant_fraction", threshold=0.025, **keys) == [dormant]
                assert values(analysis, metric="fau", **keys) == [(hidden > 0).double().mean().item()]
                dead = ((hidden > 0).sum(0) == 0).double().mean().item()
                assert values(analysis, metric="dead_fraction", **keys) == [dead]
                s = np.linalg.svd(hidden.double().numpy(), compute_uv=False)
                p = s[s > s[0] * 1e-12] / s.sum()
                rank = float(np.exp(-(p * np.log(p)).sum()))
                assert values(analysis, metric="effective_rank", **keys) == [pytest.approx(rank, rel=1e-6)]


def test_killed_units_are_found_where_they_are(files: tuple[Path, Path], tmp_path: Path) -> None:
    with analyze(files[0], files[1], tmp_path / "a.h5") as analysis:
        dead = values(analysis, metric="dead_fraction", layer="encoder.relu2", aggregation="layer")
        assert dead[2] - dead[0] == 4 / WIDTH and dead[1] - dead[0] == 2 / WIDTH
        record = analysis.checkpoints[2]
        units = analysis.array(record["digest"], analysis.data[0]["digest"], "encoder.relu2", "dead_units")
        assert {0, 1, 2, 3} <= set(units.tolist())
        pairs = analysis.select(metric="dormant_overlap", layer="encoder.relu2", threshold=0.0, step=200)
        assert sorted(pairs["reference_step"].tolist()) == [0, 100]


def test_heads_have_no_rows_of_their_own_and_are_not_applicable(files: tuple[Path, Path], tmp_path: Path) -> None:
    with analyze(files[0], files[1], tmp_path / "a.h5") as analysis:
        assert set(analysis.select(aggregation="layer")["layer"]) == {"encoder.relu1", "encoder.relu2"}
        for module in ("actor", "critic"):
            rows = analysis.select(module=module, metric="fau")
            assert set(rows["status"]) == {"not_applicable"} and np.isnan(rows["value"]).all()


def test_a_null_always_has_a_reason(files: tuple[Path, Path], tmp_path: Path) -> None:
    with analyze(files[0], files[1], tmp_path / "a.h5") as analysis:
        null = np.isnan(analysis.rows["value"])
        assert null.any() and not (analysis.rows["status"][null] == "ok").any()


def test_a_second_run_measures_nothing_and_gives_the_same_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    first = analyze(files[0], files[1], out).row_list()
    again = planned(files, out)
    assert again.items == []
    assert without_order(again.assemble().row_list()) == without_order(first)
    assert not (tmp_path / "a.h5.parts").exists()


def test_another_threshold_or_layer_needs_no_forward_pass(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    analyze(files[0], files[1], out, ["dormancy"])
    again = replace(planned(files, out), probes=[Dormancy(thresholds=(0.5,))], layers=["*dense1"], examinations=[])
    assert again.items == []
    with again.assemble() as analysis:
        rows = analysis.select(metric="dormant_fraction", threshold=0.5, aggregation="layer")
        assert set(rows["layer"]) == {"encoder.relu1"}
        assert len(analysis.select(metric="dormant_fraction", threshold=0.025)["value"]) > 0


def test_only_new_checkpoints_are_measured(tmp_path: Path, files: tuple[Path, Path]) -> None:
    out, run = tmp_path / "a.h5", write_series(tmp_path / "run", (0, 100))
    analyze(run, files[1], out)
    write_series(run, (0, 100, 200))
    again = planned((run, files[1]), out)
    assert [item.checkpoint.step for item in again.items] == [200]
    for _ in again.measure():
        pass
    fresh = analyze(run, files[1], tmp_path / "b.h5")
    assert without_order(again.assemble().row_list()) == without_order(fresh.row_list())


def test_an_interrupted_analysis_goes_on_where_it_was(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    next(planned(files, out).measure())
    assert [item.checkpoint.step for item in planned(files, out).items] == [100, 200]
    assert not out.exists()


def test_two_workers_give_the_rows_of_one(files: tuple[Path, Path], tmp_path: Path) -> None:
    one = analyze(files[0], files[1], tmp_path / "a.h5").row_list()
    two = analyze(files[0], files[1], tmp_path / "b.h5", workers=2).row_list()
    assert without_order(one) == without_order(two)


def test_two_series_share_a_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_series(tmp_path / "other", method="specnorm", seed=1)
    analyze(files[0], files[1], tmp_path / "a.h5")
    with analyze(other, files[1], tmp_path / "a.h5") as analysis:
        assert analysis.series() == [("cart", "baseline", 0), ("cart", "specnorm", 1)]
        assert analysis.layer_arrays(analysis.checkpoints[0]["digest"], analysis.data[0]["digest"])


def test_nan_weights_in_one_checkpoint_leave_the_others_alone(tmp_path: Path, files: tuple[Path, Path]) -> None:
    run = write_series(tmp_path / "run")
    spoil(run, 100)
    with analyze(run, files[1], tmp_path / "a.h5") as analysis:
        broken = analysis.select(step=100, layer="encoder.relu2")
        assert set(broken["status"]) == {"nonfinite"} and np.isnan(broken["value"]).all()
        whole = analysis.select(step=200, layer="encoder.relu2", metric="fau")
        assert set(whole["status"]) == {"ok"} and not np.isnan(whole["value"]).any()


def test_another_checkpoint_at_the_same_step_does_not_join(tmp_path: Path, files: tuple[Path, Path]) -> None:
    run = write_series(tmp_path / "run")
    out = tmp_path / "a.h5"
    analyze(run, files[1], out).close()
    before = out.read_bytes()
    spoil(run, open_series([run])[0].checkpoints[1].step)
    with pytest.raises(ConfigurationError, match=r"with other contents or as another network .* Give another --out"):
        analyze(run, files[1], out)
    assert out.read_bytes() == before


def test_fewer_samples_than_features_give_no_rank_but_a_status(tmp_path: Path, files: tuple[Path, Path]) -> None:
    few = write_observations(tmp_path / "few.h5", samples=WIDTH - 1)
    with analyze(files[0], few, tmp_path / "a.h5") as analysis:
        rows = analysis.select(metric="effective_rank", aggregation="layer")
        assert set(rows["status"]) == {"low_sample"} and np.isnan(rows["value"]).all()
        assert set(analysis.select(metric="fau", aggregation="layer")["status"]) == {"ok"}


def test_fewer_samples_are_measured_anew(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    analyze(files[0], files[1], out)
    fewer = plan(open_series([files[0]]), [open_observations(files[1])], out, choose_probes(["fau"]), samples=200)
    assert len(fewer.items) == 3
    for _ in fewer.measure():
        pass
    assert set(fewer.assemble().select(metric="fau", aggregation="layer")["samples"]) == {200}


def test_observations_that_do_not_fit_are_refused_before_any_work(tmp_path: Path, files: tuple[Path, Path]) -> None:
    import gymnasium

    from probe.datasets.collect import collect
    from probe.datasets.environments import EnvironmentSpec
    from probe.datasets.sampling import Sampling

    assert "Acrobot-v1" in gymnasium.registry
    collect(EnvironmentSpec(id="Acrobot-v1"), tmp_path / "other.h5", Sampling(samples=20, num_envs=2))
    with pytest.raises(ShapeError, match=r"takes torch.float32 observations of shape \(4,\)"):
        analyze(files[0], tmp_path / "other.h5", tmp_path / "a.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"other.h5"}


def test_a_foreign_file_in_the_way_is_left_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "thesis.h5"
    out.write_text("years of work")
    with pytest.raises(FileError, match=r"thesis\.h5"):
        analyze(files[0], files[1], out)
    assert out.read_text() == "years of work"


def test_probing_leaves_the_checkpoints_as_they_are(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in files[0].rglob("*.safetensors")}
    analyze(files[0], files[1], tmp_path / "a.h5")
    assert {path: path.read_bytes() for path in files[0].rglob("*.safetensors")} == before


def test_the_file_names_probes_versions_and_parameters(files: tuple[Path, Path], tmp_path: Path) -> None:
    analyze(files[0], files[1], tmp_path / "a.h5", ["dormancy"]).close()
    with open_analysis(tmp_path / "a.h5") as analysis:
        (record,) = analysis.probes
        assert (record["name"], record["version"]) == ("dormancy", Dormancy.version)
        assert record["parameters"] == '{"thresholds": [0.0, 0.025, 0.1]}'
        assert not isnan(analysis.select(metric="dormant_fraction")["threshold"][0])


def test_thinning_keeps_the_baseline_and_the_last(files: tuple[Path, Path]) -> None:
    series = open_series([files[0]])

    def steps(**choice: object) -> list[int]:
        return [c.step for c in select_checkpoints(series, **choice)[0].checkpoints]  # type: ignore[arg-type]

    assert steps(every=2) == [0, 200]
    assert steps(every=3) == [0, 200]
    assert steps(steps=(150, 300)) == [0, 200]
    with pytest.raises(ConfigurationError, match="no checkpoint in steps"):
        steps(steps=(500, 600))
    with pytest.raises(ConfigurationError, match="--every is 0"):
        steps(every=0)


def test_an_unknown_probe_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean: dormancy"):
        choose_probes(["dormnacy"])
