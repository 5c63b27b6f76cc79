"""A PPO of one file in CleanRL's shape, for a few updates on CartPole; the state_dict is saved after each."""

from pathlib import Path

import gymnasium
import torch
from torch import Tensor, nn

from tests.probe.checkpoints.agents import MlpAgent

ENVIRONMENTS, STEPS = 4, 16


def train(folder: Path, updates: int) -> None:
    """Writes `ppo_<step>.cleanrl_model` files, the first of the untrained agent."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        agent = MlpAgent()
        optimizer = torch.optim.Adam(agent.parameters(), lr=0.02)
        games = gymnasium.make_vec("CartPole-v1", num_envs=ENVIRONMENTS, vectorization_mode="sync")
        state = torch.from_numpy(games.reset(seed=1)[0])
        for update in range(updates):
            torch.save(agent.state_dict(), folder / f"ppo_{update * ENVIRONMENTS * STEPS}.cleanrl_model")
            rollout, state = _played(agent, games, state)
            for _ in range(2):
                loss = _loss(agent, *rollout)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


@torch.no_grad()
def _played(agent: MlpAgent, games: gymnasium.vector.VectorEnv, state: Tensor) -> tuple[list[Tensor], Tensor]:  # type: ignore[type-arg]
    """Returns states, actions, their log probabilities and undiscounted returns, and the state after them."""
    states, actions, chances, rewards = [], [], [], []
    for _ in range(STEPS):
        action, chance, _, _ = agent.get_action_and_value(state)
        after, reward, *_ = games.step(action.numpy())
        for kept, each in ((states, state), (actions, action), (chances, chance), (rewards, torch.from_numpy(reward))):
            kept.append(each)
        state = torch.from_numpy(after)
    returns = torch.stack(rewards).flip(0).cumsum(0).flip(0).float()
    return [torch.cat(states), torch.cat(actions), torch.cat(chances), returns.flatten()], state


def _loss(agent: MlpAgent, states: Tensor, actions: Tensor, before: Tensor, returns: Tensor) -> Tensor:
    _, chance, entropy, value = agent.get_action_and_value(states, actions)
    advantage = returns - value.detach().flatten()
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (chance - before).exp()
    policy = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    return policy + 0.5 * nn.functional.mse_loss(value.flatten(), returns) - 0.01 * entropy.mean()
