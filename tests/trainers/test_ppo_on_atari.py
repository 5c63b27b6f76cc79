"""PPO on Atari: heads with a hidden layer each, episodes that end with a life, and resuming bit for bit."""

import importlib.util
from pathlib import Path

import pytest

from probe.trainers.run import TrainingRun
from tests.trainers.runs import digests, record, rows, train

if importlib.util.find_spec("ale_py") is None:
    pytest.skip("ale-py is not installed", allow_module_level=True)

PONG = """
base = "pong"
steps = 48

[environment.keywords]
exact_resume = true

[network]
hidden = 16

[ppo]
environments = 2
rollout_steps = 8
minibatch = 16
passes = 1

[evaluation]
every = 3
episodes = 1
step_limit = 3

[diagnostics]
every = 1
samples = 16

[checkpoints]
every = 16
"""


def test_a_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    made = record(toml=PONG, folder=tmp_path)
    train(tmp_path / "whole", made)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "resumed", made) as run:
        next(iter(run))
        raise KeyboardInterrupt
    assert not train(tmp_path / "resumed", made, resume=True)
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")
    read = rows(tmp_path / "whole")
    assert rows(tmp_path / "resumed") == read
    assert all(row["network/dormant_0.025/actor"] and row["network/dormant_0.025/critic"] for row in read)
    assert all(abs(float(row["policy/first_ratio_deviation"])) < 1e-5 for row in read)
