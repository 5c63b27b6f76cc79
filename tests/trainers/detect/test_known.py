"""Detections of heads whose state is known; `tests/benchmarks/detector.py` has a hundred of each kind."""

from pathlib import Path

import pytest

from tests.benchmarks.detector import WIDTH, Case, detect


@pytest.mark.parametrize(("share", "verdict"), [(0.9, "lost"), (0.0, "none")])
def test_a_head_with_nine_of_ten_units_killed_is_found_and_a_new_one_is_not(
    tmp_path: Path, share: float, verdict: str
) -> None:
    assert detect(Case("known", WIDTH, 0, share > 0, share=share), tmp_path / "run")["verdict"] == verdict
