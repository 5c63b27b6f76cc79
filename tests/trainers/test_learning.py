"""That agents learn what they are to learn: slow, and left out of `make test`."""

from pathlib import Path

import pytest

from probe.trainers.configuration import load
from probe.trainers.record import RunRecord
from tests.trainers.runs import rows, train


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_dqn_reaches_a_mean_return_of_400_on_cartpole(tmp_path: Path, seed: int) -> None:
    train(tmp_path / "run", RunRecord.new("run", "cartpole", "baseline", seed, load("cartpole")))
    returns = [float(row["return/test"]) for row in rows(tmp_path / "run") if row["return/test"]]
    assert max(returns) >= 475 and returns[-1] >= 400
