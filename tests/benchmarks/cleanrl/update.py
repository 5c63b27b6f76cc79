"""One update of CleanRL's ppo_procgen and of ours, in float32, from the same weights, decisions and minibatches."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from probe.memory import keep_freed_memory
from probe.networks import build
from probe.policies import log_probabilities
from probe.trainers.configuration import load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo
from tests.benchmarks.cleanrl.loop import Played, play
from tests.benchmarks.cleanrl.process import CHECKOUT
from tests.trainers.plain_ppo import PlainPpo, StepByStep, distance

SETTINGS = {"env_id": "starpilot", "num_steps": 16, "total_timesteps": 64 * 16, "seed": 1, "cuda": False}
"""Of CleanRL's file, whose rollouts have 256 steps: as many minibatches, of 128 decisions. The game pays early."""
AIM = 1e-5


def main() -> None:
    """Prints the largest difference of each quantity on the way to the new weights, and of these."""
    checkout = os.environ.get(CHECKOUT)
    if checkout is None:
        print(f"  {CHECKOUT} gives no folder of a checkout of github.com/vwxyzjn/cleanrl: not compared")
        return
    keep_freed_memory()
    played = play(Path(checkout), SETTINGS)
    weights, orders = _weights_before(played.variables), _orders(played.variables)
    for name, theirs, ours in _before_learning(played, _ours(played, weights)):
        difference, largest = float((theirs - ours).abs().max()), float(theirs.abs().max())
        print(f"  {name}: largest difference {difference:.1e}, of values up to {largest:.2g}", flush=True)
    _compare_weights(played, weights, orders)


def _compare_weights(played: Played, weights: Sequence[Tensor], orders: Sequence[Tensor]) -> None:
    theirs, minibatch = played.variables["agent"], played.variables["args"].minibatch_size
    plain = _plain(_ours(played, weights), torch.float32)
    plain.update(orders, minibatch)
    trainer = _ours(played, weights)
    trainer.mitigation = beside = StepByStep(_plain(trainer, torch.float32), orders, minibatch)
    _learn(trainer, orders)
    steps = beside.differences
    alone = _learn(_ours(played, weights), orders)
    double = _plain(_ours(played, weights), torch.float64)
    double.update(orders, minibatch)
    print(f"  weights after {len(steps)} steps, largest difference from those of CleanRL's file:")
    print(f"    plain_ppo.py, its formulas written out: {distance(theirs, plain.network):.1e}")
    print(
        f"    ours, each step from plain_ppo.py's weights: {max(steps):.1e}; of all steps together {sum(steps):.1e} "
        f"(aim {AIM:.0e})"
    )
    print(
        f"    ours, all steps on its own: {distance(theirs, alone.network):.1e}; plain_ppo.py in float64, the size of "
        f"float32's own error: {distance(theirs, double.network):.1e}"
    )
    print(f"    before the update: {distance(theirs, _ours(played, weights).network):.1e}")


def _weights_before(variables: dict[str, Any]) -> list[Tensor]:
    """Returns the weights that the file began with: drawing them is the first thing it does with its seed."""
    torch.manual_seed(variables["args"].seed)
    return [parameter.detach() for parameter in variables["Agent"](variables["envs"]).parameters()]


def _orders(variables: dict[str, Any]) -> list[Tensor]:
    """Returns the order of decisions in each pass: the file's only draws from NumPy."""
    np.random.seed(variables["args"].seed)
    rows, orders = np.arange(variables["args"].batch_size), []
    for _ in range(variables["args"].update_epochs):
        np.random.shuffle(rows)
        orders.append(torch.from_numpy(rows.copy()))
    if not np.array_equal(rows, variables["b_inds"]):
        raise RuntimeError("CleanRL's file drew more from NumPy than the order of its minibatches: it has changed.")
    return orders


def _ours(played: Played, weights: Sequence[Tensor]) -> Ppo:
    """Returns our agent with their weights and their decisions, before the update."""
    theirs = played.variables
    settings = [f"ppo.rollout_steps={theirs['args'].num_steps}", f"ppo.minibatch={theirs['args'].minibatch_size}"]
    trainer = Ppo(load("coinrun-cleanrl", settings), make_mitigation("baseline", {}), 0, "cpu", "float32")
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


def _plain(trainer: Ppo, dtype: torch.dtype) -> PlainPpo:
    """Returns the plain learner with the weights and the decisions of ours."""
    torch.set_default_dtype(dtype)
    try:
        network = build(trainer.network.spec, torch.Generator()).to(dtype)
        made = PlainPpo(network, len(trainer.rollout.actions), trainer.envs.num_envs)
    finally:
        torch.set_default_dtype(torch.float32)
    made.take(trainer)
    return made


def _learn(trainer: Ppo, orders: Sequence[Tensor]) -> Ppo:
    """Lets ours learn, a pass in each of the orders."""
    with patch("torch.randperm", side_effect=orders):
        trainer._learn(trainer._estimate(), gradient_norms=False)
    return trainer


def _before_learning(played: Played, trainer: Ppo) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yields a name, their tensor and ours."""
    theirs, decisions = played.variables, trainer._estimate()
    scaled = [trainer.rewards(*each) for each in zip(played.rewards, played.ended, strict=True)]
    with torch.no_grad():
        outputs = trainer._forward(decisions.observations)
    yield "rewards, scaled and clipped", theirs["rewards"], torch.from_numpy(np.stack(scaled))
    acted = log_probabilities(outputs["actor"], decisions.actions)
    yield "log-probabilities", theirs["logprobs"].flatten(), acted
    yield "values", theirs["values"].flatten(), outputs["critic"]
    yield "advantages", theirs["advantages"].flatten(), decisions.advantages
