"""One update of CleanRL's ppo_procgen and of ours, in float32, from the same weights, decisions and minibatches."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from probe.memory import keep_freed_memory
from probe.policies import log_probabilities
from probe.trainers.configuration import load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo
from probe.trainers.rollout import Decisions
from tests.benchmarks.cleanrl.loop import Played, play
from tests.benchmarks.cleanrl.process import CHECKOUT

ROLLOUT_STEPS = 32
"""256 with CleanRL's settings; the minibatches are as many, and smaller."""
SEED = 1
AIM = 1e-5
_MOMENTS = ("exp_avg", "exp_avg_sq")


def main() -> None:
    """Prints the largest difference of each quantity on the way to the new weights, and of these."""
    checkout = os.environ.get(CHECKOUT)
    if checkout is None:
        print(f"  {CHECKOUT} gives no folder of a checkout of github.com/vwxyzjn/cleanrl: not compared")
        return
    keep_freed_memory()
    settings = {"env_id": "coinrun", "num_steps": ROLLOUT_STEPS, "total_timesteps": 64 * ROLLOUT_STEPS, "seed": SEED}
    played = play(Path(checkout), {**settings, "cuda": False})
    before = _weights_before(played.variables)
    trainer = _ours(played, before)
    for name, theirs, ours in _compared(played, trainer):
        difference = max(float((one - other).abs().max()) for one, other in zip(theirs, ours, strict=True))
        largest = max(float(each.abs().max()) for each in theirs)
        print(f"  {name}: largest difference {difference:.1e}, of values up to {largest:.2g}", flush=True)
    moved = max(float((one - other).abs().max()) for one, other in zip(_parameters(trainer), before, strict=True))
    print(f"  the weights moved by up to {moved:.1e} (aim for the difference: {AIM:.0e})")


def _weights_before(variables: dict[str, Any]) -> list[Tensor]:
    """Returns the weights that the file began with: drawing them is the first thing it does with its seed."""
    torch.manual_seed(SEED)
    return [parameter.detach() for parameter in variables["Agent"](variables["envs"]).parameters()]


def _orders(variables: dict[str, Any]) -> list[Tensor]:
    """Returns the order of decisions in each pass: the file's only draws from NumPy."""
    np.random.seed(SEED)
    rows, orders = np.arange(variables["args"].batch_size), []
    for _ in range(variables["args"].update_epochs):
        np.random.shuffle(rows)
        orders.append(torch.from_numpy(rows.copy()))
    if not np.array_equal(rows, variables["b_inds"]):
        raise RuntimeError("CleanRL's file drew more from NumPy than the order of its minibatches: it has changed.")
    return orders


def _ours(played: Played, weights: Iterable[Tensor]) -> Ppo:
    """Returns our agent with their weights and their decisions, before the update."""
    theirs = played.variables
    settings = [f"ppo.rollout_steps={ROLLOUT_STEPS}", f"ppo.minibatch={theirs['args'].minibatch_size}"]
    trainer = Ppo(load("coinrun-cleanrl", settings), make_mitigation("baseline", {}), SEED, "cpu", "float32")
    with torch.no_grad():
        for parameter, weight in zip(trainer.network.parameters(), weights, strict=True):
            parameter.copy_(weight)
    rollout = trainer.rollout
    rollout.observations.copy_(theirs["obs"])
    rollout.actions.copy_(theirs["actions"])
    for name, found in (("log_probabilities", "logprobs"), ("values", "values"), ("rewards", "rewards")):
        getattr(rollout, name).copy_(theirs[found])
    rollout.ended.copy_(torch.cat((theirs["dones"][1:], theirs["next_done"].unsqueeze(0))))
    trainer._current = theirs["next_obs"].byte().numpy()
    return trainer


def _compared(played: Played, trainer: Ppo) -> Iterable[tuple[str, list[Tensor], list[Tensor]]]:
    """Yields a name, their tensors and ours; trains ours on the way."""
    theirs = played.variables
    yield "rewards, scaled and clipped", [theirs["rewards"]], [_scaled(played, trainer)]
    decisions = trainer._estimate()
    acted = _acted(trainer, decisions)
    yield "log-probabilities", [theirs["logprobs"].flatten()], [acted[0]]
    yield "values", [theirs["values"].flatten()], [acted[1]]
    yield "advantages", [theirs["advantages"].flatten()], [decisions.advantages]
    with patch("torch.randperm", side_effect=_orders(theirs)):
        trainer._learn(decisions, gradient_norms=False)
    parameters = list(theirs["agent"].parameters())
    for moment in _MOMENTS:
        states = [theirs["optimizer"].state[each][moment] for each in parameters]
        yield f"Adam's {moment}", states, [trainer.optimizer.state[each][moment] for each in _parameters(trainer)]
    steps = int(theirs["optimizer"].state[parameters[0]]["step"])
    yield f"weights after {steps} steps", parameters, _parameters(trainer)


def _parameters(trainer: Ppo) -> list[Tensor]:
    return list(trainer.network.parameters())


def _scaled(played: Played, trainer: Ppo) -> Tensor:
    scaled = [trainer.rewards(*each) for each in zip(played.rewards, played.ended, strict=True)]
    return torch.from_numpy(np.stack(scaled))


@torch.no_grad()
def _acted(trainer: Ppo, decisions: Decisions) -> tuple[Tensor, Tensor]:
    outputs = trainer._forward(decisions.observations)
    return log_probabilities(outputs["actor"], decisions.actions), outputs["critic"]
