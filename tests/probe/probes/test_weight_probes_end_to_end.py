"""The probes of weights and gradients on a series of images, from checkpoints to rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.checkpoints.native import CheckpointMetadata, checkpoint_name, save
from probe.datasets.store import write_observations
from probe.networks import build, preset
from probe.networks.specification import Stage, with_options
from probe.observations import open_observations
from probe.probes.drift import Drift
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.layer_norms import LayerNorms
from probe.probes.spectral_norm import SpectralNorms
from probe.results import Analysis

SAMPLES = 12


def write_images(path: Path) -> Path:
    """Writes a few images of noise with actions and returns; the last return is missing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (SAMPLES, 64, 64, 3), np.uint8)
    whole = {name: np.arange(SAMPLES) % 3 for name in ("actions", "episodes", "environments")}
    columns = {**whole, "rewards": np.zeros(SAMPLES, np.float32), "episode_starts": np.zeros(SAMPLES, bool)}
    names = ("environment", "specification", "versions", "policy", "kind", "digest", "sha256")
    attributes = {name: "{}" for name in names} | dict.fromkeys(("frame_stack", "seed", "task", "stride", "gamma"), 1)
    with write_observations(path, SAMPLES, images[0], columns, attributes) as writer:
        writer.append(images, columns)
        writer.set_returns(np.arange(SAMPLES - 1), rng.normal(size=SAMPLES - 1).astype(np.float32))
    return path


def write_series(folder: Path) -> Path:
    """Writes two checkpoints of a small conv64 with a spectrally normalised encoder, the second one moved a little."""

    def change(stage: Stage) -> Stage:
        return with_options(stage, {"spectral_norm": True}) if stage.kind == "conv" else stage

    spec = preset("conv64", (64, 64, 3), 3, 32).map_stages(change, ("encoder",))
    network = build(spec, torch.Generator().manual_seed(0))
    for index, step in enumerate((0, 100)):
        if index:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter *= 1.1
        metadata = CheckpointMetadata(
            step=step, frames=step, updates=index, algorithm="ppo", network=spec, environment={},
            acting={"mode": "eval"}, run="images", method="baseline", seed=0, task=0, versions={},
        )  # fmt: skip
        save(folder / "checkpoints" / checkpoint_name(step), network, metadata)
    return folder


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("images")
    probes = [
        LayerNorms(losses="each"),
        Drift(),
        GradientDormancy(losses="each"),
        SpectralNorms(restarts=2, limit=30),
    ]
    data = [open_observations(write_images(folder / "o.h5"))]
    planned = plan(open_series([write_series(folder / "run")]), data, folder / "a.h5", probes)
    list(planned.measure())
    list(planned.examine())
    return planned.assemble()


def value(analysis: Analysis, **equals: object) -> float:
    (found,) = analysis.select(**equals)["value"]
    return float(found)


def test_every_layer_and_loss_has_its_rows(analysis: Analysis) -> None:
    sigmas = analysis.select(metric="sigma", step=0)
    layers = [*(f"encoder.conv{k}" for k in range(1, 5)), "encoder.dense", "actor.output", "critic.output"]
    assert sigmas["layer"].tolist() == layers
    for loss in ("critic", "actor"):
        rows = analysis.select(metric=f"gradient_rms_{loss}_depth_log_slope", module="encoder")
        assert set(rows["status"]) == {"ok"} and np.isfinite(rows["value"]).all()
        fractions = analysis.select(metric=f"gradient_dormant_fraction_{loss}", module="encoder", aggregation="layer")
        assert ((fractions["value"] >= 0) & (fractions["value"] <= 1)).all() and len(fractions["value"]) == 2 * 5 * 2


def test_growth_by_a_tenth_is_seen_as_such(analysis: Analysis) -> None:
    assert value(analysis, metric="update_to_weight", module="all") == pytest.approx(0.1, rel=1e-5)
    for metric, factor in (("sigma_raw", 1.1), ("sigma", 1.0), ("operator_norm", 1.0), ("stable_rank", 1.0)):
        before, after = (value(analysis, metric=metric, layer="encoder.conv3", step=step) for step in (0, 100))
        # u and v stay: the stored estimate grows with the weight, so the weight in use keeps its norm.
        assert after / before == pytest.approx(factor, rel=1e-5)
    assert value(analysis, metric="stored_error", layer="encoder.conv3", step=0) < 0.1


def test_a_normalised_convolution_still_stretches_and_the_bound_holds(analysis: Analysis) -> None:
    norms = [value(analysis, metric="operator_norm", layer=f"encoder.conv{k}", step=0) for k in range(1, 5)]
    dense = value(analysis, metric="operator_norm", layer="encoder.dense", step=0)
    assert max(norms) > 1.1 and max(norms) <= 2.5
    bound = value(analysis, metric="lipschitz_bound", step=0)
    assert bound == pytest.approx(float(np.prod(norms)) * dense)
    assert 0 < value(analysis, metric="lipschitz_observed", step=0) <= bound


def test_spectra_are_kept_beside_the_statistics(analysis: Analysis) -> None:
    arrays = analysis.layer_arrays(analysis.checkpoints[0]["digest"], analysis.data[0]["digest"])
    assert arrays["encoder.conv1"]["weight_singular_values"].shape == (32,)
    assert arrays["encoder.conv2"]["gradient_unit_norms_critic"].shape == (64,)
    assert "mean_abs" in arrays["encoder.relu1"]
