"""Series of pairs and declared nonlinearities, from checkpoints to rows: what is measured, and what anew."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from probe.analysis import analyze, choose_probes, plan
from probe.checkpoints import open_series
from probe.errors import ConfigurationError, UnknownNameError
from probe.observations import open_observations
from probe.planning import Plan
from probe.results import Analysis, open_analysis
from tests.probe.series import SPEC, WIDTH, with_activation, write_observations, write_series


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "o.h5", samples=200)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("series"), steps=(0, 100))


def planned(series: Path, data: Path, out: Path, activations: Mapping[str, str] | None = None) -> Plan:
    return plan(
        open_series([series]),
        [open_observations(data)],
        out,
        choose_probes(["dormancy", "saturation"]),
        activations=activations,
    )


def value(analysis: Analysis, **equals: object) -> float:
    (found,) = analysis.select(**equals)["value"].tolist()
    return float(found)


def test_a_series_with_crelu_is_read_by_pairs(observations: Path, tmp_path: Path) -> None:
    series = write_series(tmp_path / "run", spec=with_activation(SPEC, "crelu"))
    with analyze(series, observations, tmp_path / "a.h5", ["default", "saturation"]) as analysis:
        assert set(analysis.select(aggregation="layer")["layer"]) == {"encoder.relu1:crelu", "encoder.relu2:crelu"}
        assert {each["function"] for each in analysis.layers} == {"crelu"}
        assert {each["units"] for each in analysis.layers} == {2 * WIDTH}
        for layer in ("encoder.relu1:crelu", "encoder.relu2:crelu"):
            for step in (0, 100, 200):
                assert value(analysis, metric="fau", layer=layer, step=step) == 0.5
        observed = torch.cat(list(open_observations(observations).batches(1000)))
        for checkpoint in open_series([series])[0].checkpoints:
            for index, z in enumerate(pre_activations(checkpoint.network(), observed), start=1):
                at = {"layer": f"encoder.relu{index}:crelu", "aggregation": "layer", "step": checkpoint.step}
                fixed = ((z > 0).all(0) | (z < 0).all(0)).double().mean().item()
                assert value(analysis, metric="fixed_sign_fraction", **at) == fixed
                assert value(analysis, metric="dead_fraction", reference_step=-1, **at) == fixed / 2
                assert value(analysis, metric="dead_pair_fraction", **at) == 0
        # A bias that no input overcomes leaves the first pairs one half, at the second checkpoint two, then four.
        units = analysis.array(
            analysis.checkpoints[2]["digest"], analysis.data[0]["digest"], "encoder.relu2:crelu", "dead_units"
        )
        assert {0, 1, 2, 3} <= set(units.tolist())
        rows = analysis.select(metric="fixed_sign_fraction")
        units = dict(zip(rows["aggregation"].tolist(), rows["units"].tolist(), strict=True))
        assert units == {"layer": WIDTH, "micro": 2 * WIDTH, "macro": 2 * WIDTH}


def pre_activations(network: nn.Module, observed: Tensor) -> list[Tensor]:
    first = network.get_submodule("encoder.dense1")(observed).detach()
    both = torch.cat([first.clamp(min=0), (-first).clamp(min=0)], dim=1)
    return [first, network.get_submodule("encoder.dense2")(both).detach()]


def test_a_series_with_fourier_features_is_read_by_pairs(observations: Path, tmp_path: Path) -> None:
    series = write_series(tmp_path / "run", steps=(0,), spec=with_activation(SPEC, "fourier"))
    with analyze(series, observations, tmp_path / "a.h5", ["default", "saturation"]) as analysis:
        assert set(analysis.select(aggregation="layer")["layer"]) == {"encoder.relu1:fourier", "encoder.relu2:fourier"}
        means = analysis.array(
            analysis.checkpoints[0]["digest"], analysis.data[0]["digest"], "encoder.relu1:fourier", "mean_square"
        )
        # sin^2 + cos^2 = 1 in every pair.
        assert means[:WIDTH] + means[WIDTH:] == pytest.approx(1, abs=1e-6)
        assert set(analysis.select(metric="linearised_pair_fraction")["status"]) == {"ok"}
        flags = analysis.select(metric="collapsed_fau")
        assert set(flags["status"]) == {"not_applicable"} and all(isnan(each) for each in flags["value"])


def test_a_declared_module_takes_the_place_of_what_runs_inside(
    series: Path, observations: Path, tmp_path: Path
) -> None:
    declared = {"encoder": "other"}
    with analyze(series, observations, tmp_path / "a.h5", activations=declared) as analysis:
        assert set(analysis.select(aggregation="layer")["layer"]) == {"encoder"}
        assert analysis.activations == declared


def test_another_declaration_is_another_measurement(series: Path, observations: Path, tmp_path: Path) -> None:
    out, declared = tmp_path / "a.h5", {"encoder.relu1": "other"}
    plain = planned(series, observations, out)
    list(plain.measure())
    list(plain.examine())
    other = planned(series, observations, out, declared)
    assert len(other.items) == 2 and len(other.missing) == 2
    list(other.measure())
    list(other.examine())
    for each, functions in ((plain, {"relu"}), (other, {"relu", "other"})):
        again = planned(series, observations, out, each.activations)
        assert not again.items and not again.missing
        assert {layer["function"] for item in each.items for layer in _layers(each, item.key)} == functions
    with other.assemble() as analysis:
        assert {(row["layer"], row["function"]) for row in analysis.layers} == {
            ("encoder.relu1", "other"),
            ("encoder.relu2", "relu"),
        }


def _layers(made: Plan, key: str) -> list[dict[str, str]]:
    from probe.results.parts import PartStore

    part = PartStore(made.out).load(key)
    assert part is not None and part[1]["samples"] == 200
    return list(part[1]["layers"].values())


def test_an_analysis_is_not_extended_under_another_declaration(
    series: Path, observations: Path, tmp_path: Path
) -> None:
    out, declared = tmp_path / "a.h5", {"encoder.relu*": "relu", "torch.clamp": "relu"}
    analyze(series, observations, out, ["dormancy"], activations=declared).close()
    content = out.read_bytes()
    with pytest.raises(
        ConfigurationError, match=r"made with --activation encoder.relu\*=relu --activation torch.clamp"
    ):
        analyze(series, observations, out)
    assert out.read_bytes() == content
    again = planned(series, observations, out, dict(reversed(declared.items())))
    assert not again.items and len(again.missing) == 2
    bare = tmp_path / "bare.h5"
    analyze(series, observations, bare).close()
    with pytest.raises(ConfigurationError, match="without --activation"):
        analyze(series, observations, bare, activations=declared)
    assert open_analysis(bare).activations == {}


@pytest.mark.parametrize(
    ("activations", "error", "words"),
    [
        ({"encoder.rlu1": "relu"}, ConfigurationError, "no module has such a path. Did you mean: encoder.relu1"),
        ({"encoder.relu1": "rectifier"}, UnknownNameError, "Unknown activation function 'rectifier'"),
    ],
)
def test_a_declaration_that_says_nothing_is_refused_before_anything_is_measured(
    series: Path, observations: Path, tmp_path: Path, activations: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        analyze(series, observations, tmp_path / "a.h5", activations=activations)
    assert not list(tmp_path.iterdir())
