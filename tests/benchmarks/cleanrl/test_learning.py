"""The reading of finished runs, and their comparison, on curves that are written by hand."""

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.cleanrl.learning import _curves, _keep, _report


def test_finished_runs_of_both_kinds_are_read_and_others_left_out(tmp_path: Path) -> None:
    _keep(tmp_path / "seed0.csv", [(10, None), (20, 3.0)])
    _keep(tmp_path / "baseline" / "seed0" / "metrics.csv", [(10, 1.0), (20, 2.0)])
    _keep(tmp_path / "baseline" / "seed1" / "metrics.csv", [(10, 1.0)])
    theirs, ours = _curves(tmp_path, steps=20)
    assert np.isnan(theirs[0]) and theirs[1] == 3.0
    assert ours.tolist() == [1.0, 2.0]


def test_ends_are_means_over_seeds_with_the_difference_against_their_spread(capsys: pytest.CaptureFixture[str]) -> None:
    rising = [np.array([0.0, np.nan, 1.0, 2.0, 3.0, 3.0, 4.0, 6.0]) + shift for shift in (0.0, 2.0)]
    _report(
        {"one": rising, "other": [curve + 1 for curve in rising], "third": [curve + 9 for curve in rising], "none": []}
    )
    said = capsys.readouterr().out.splitlines()
    # Two seeds: the mean plus or minus 12.706 standard errors of 1.
    assert said[0] == "  one       first quarter: 1.00 (-11.71 to 13.71); by seed 0.00, 2.00"
    assert said[1] == "  one       last  quarter: 6.00 (-6.71 to 18.71); by seed 5.00, 7.00"
    assert said[6] == "  none      no finished run"
    # Standard error sqrt(2) at two degrees of freedom: 4.303 of them.
    assert said[7] == "  other less one, last quarter: +1.00 (-5.08 to +7.08), within the seeds' spread of 2.00"
    assert said[8].startswith("  third less one, last quarter: +9.00") and "OUTSIDE" in said[8]
