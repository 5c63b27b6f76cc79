"""A small file with the imports of CleanRL's, run the way that one is."""

from pathlib import Path

import numpy as np

from probe.trainers.rewards import RewardNormaliser
from tests.benchmarks.cleanrl.loop import FILE, Played, play

SCRIPT = """
from dataclasses import dataclass
import gym
import numpy as np
import tyro
from procgen import ProcgenEnv

@dataclass
class Args:
    seed: int
    env_id: str = "coinrun"

if __name__ == "__main__":
    args = tyro.cli(Args)
    envs = ProcgenEnv(num_envs=4, env_name=args.env_id, num_levels=0, start_level=0, distribution_mode="easy")
    envs = gym.wrappers.TransformObservation(envs, lambda obs: obs["rgb"])
    envs.single_observation_space = envs.observation_space["rgb"]
    envs.is_vector_env = True
    envs = gym.wrappers.RecordEpisodeStatistics(envs)
    envs = gym.wrappers.NormalizeReward(envs, gamma=0.999)
    envs = gym.wrappers.TransformReward(envs, lambda reward: np.clip(reward, -10, 10))
    first, rewards, episodes = envs.reset(), [], []
    for step in range(200):
        observations, reward, done, info = envs.step(np.full(4, step % 15))
        rewards.append(reward)
        episodes += [item["episode"]["r"] for item in info if "episode" in item]
        assert [("episode" in item) for item in info] == done.tolist()
        if step % 100 == 99:
            print("SPS:", 1)
    envs.close()
"""


def run(folder: Path, seed: int) -> Played:
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT)
    return play(folder, {"seed": seed, "env_id": "fruitbot"})


def test_the_file_is_run_to_its_end_with_steps_of_four_parts(tmp_path: Path) -> None:
    played = run(tmp_path, seed=3)
    left = played.variables
    assert left["args"].env_id == "fruitbot"
    assert left["first"].shape == left["observations"].shape == (4, 64, 64, 3)
    assert [value for _, value in played.episodes] == left["episodes"] and len(left["episodes"]) >= 4
    assert len(played.update_ends) == 2
    returns = sum(value for _, value in played.episodes)
    ended = np.array(played.ended)
    unfinished = sum(np.array(played.rewards)[:, game][last_end(ended[:, game]) :].sum() for game in range(4))
    assert np.isclose(returns + unfinished, np.array(played.rewards).sum())


def last_end(ended: np.ndarray) -> int:
    return int(np.flatnonzero(ended).max(initial=-1)) + 1


def test_gym_scales_rewards_as_ours_are_scaled(tmp_path: Path) -> None:
    played = run(tmp_path, seed=3)
    ours = RewardNormaliser(4, gamma=0.999, normalise=True, clip=10.0)
    scaled = [ours(*each) for each in zip(played.rewards, played.ended, strict=True)]
    assert np.abs(np.array(played.rewards)).sum() > 0
    assert np.allclose(scaled, played.variables["rewards"], rtol=1e-6)


def test_the_games_follow_from_the_seed(tmp_path: Path) -> None:
    one, same, other = (run(tmp_path, seed).variables["observations"] for seed in (3, 3, 4))
    assert (one == same).all() and (one != other).any()
