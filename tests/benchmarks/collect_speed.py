"""Environment frames stepped per second by `probe collect`, HDF5 written, against bare stepping in the same run."""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from probe.datasets.collect import collect
from probe.datasets.environments import EnvironmentSpec
from probe.datasets.environments.procgen_library import load_environment_class
from probe.datasets.sampling import Sampling

KEYWORDS: dict[str, bool | int | float | str] = {"num_levels": 200, "distribution_mode": "easy"}
NUM_ENVS = 16
REPEATS = 3
CASES = ((8, 120_000, 0.8), (1, 48_000, 0.33))
"""Stride, frames and target."""


def bare_rate(frames: int, seed: int) -> float:
    """Returns frames/s of act and observe alone, with random actions."""
    games = load_environment_class()(num=NUM_ENVS, env_name="coinrun", num_threads=0, rand_seed=seed, **KEYWORDS)
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    for _ in range(frames // NUM_ENVS):
        games.act(rng.integers(15, size=NUM_ENVS).astype(np.int32))
        games.observe()
    rate = frames / (time.perf_counter() - start)
    games.close()
    return rate


def collect_rate(frames: int, stride: int, seed: int, folder: Path) -> float:
    """Returns frames/s of a whole collection: environments made, file written and renamed."""
    specification = EnvironmentSpec(id="procgen:coinrun", keywords=KEYWORDS)
    sampling = Sampling(samples=frames // stride, stride=stride, num_envs=NUM_ENVS, seed=seed)
    start = time.perf_counter()
    collect(specification, folder / f"{stride}-{seed}.h5", sampling)
    return sampling.decisions * NUM_ENVS / (time.perf_counter() - start)


def main() -> None:
    """Prints the ratio at each stride, the middle one of several."""
    with TemporaryDirectory() as folder:
        bare_rate(NUM_ENVS, 0)  # the first games of a process load their pictures
        for stride, frames, target in CASES:
            rates = [
                (bare_rate(frames, seed), collect_rate(frames, stride, seed, Path(folder))) for seed in range(REPEATS)
            ]
            ratio = median(collected / bare for bare, collected in rates)
            bare, collected = (median(each) for each in zip(*rates, strict=True))
            print(
                f"collect at stride {stride}: {ratio:.2f} of bare stepping (target >= {target}); "
                f"{collected:,.0f} of {bare:,.0f} frames/s, CoinRun, {NUM_ENVS} environments",
                flush=True,
            )


if __name__ == "__main__":
    main()
