"""Network outputs -> actions, for the trainers, for collection and for evaluation alike."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Mode = Literal["greedy", "sample", "epsilon-greedy"]


def act(
    outputs: dict[str, Tensor], mode: Mode, generator: torch.Generator, epsilon: int | float = 0.0
) -> Int[Tensor, "batch"]:
    """Chooses discrete actions from a network's outputs."""
    preferred = preferences(outputs).float()
    if mode == "epsilon-greedy":
        return epsilon_greedy(preferred, epsilon, generator)
    return greedy(preferred) if mode == "greedy" else sample(preferred, generator)


def preferences(outputs: dict[str, Tensor]) -> Tensor:
    """Returns what actions are chosen by: `actor`, logits, or where there is none `critic`, values of actions."""
    return outputs["actor" if "actor" in outputs else "critic"]


def greedy(preferred: Float[Tensor, "batch action"]) -> Int[Tensor, "batch"]:
    """Returns the action of the largest logit or value; the first of equals."""
    return preferred.argmax(dim=-1)


def epsilon_greedy(
    preferred: Float[Tensor, "batch action"], epsilon: int | float, generator: torch.Generator
) -> Int[Tensor, "batch"]:
    """Returns the greedy action, or with probability epsilon one drawn from all; each draws the same numbers."""
    count, actions = preferred.shape
    explores = torch.rand(count, generator=generator) < epsilon
    return torch.where(explores, torch.randint(actions, (count,), generator=generator), greedy(preferred))


def sample(logits: Float[Tensor, "batch action"], generator: torch.Generator) -> Int[Tensor, "batch"]:
    """Draws an action from softmax(logits)."""
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(-1)


def gaussian(
    mean: Float[Tensor, "batch action"], log_std: Float[Tensor, "batch action"], generator: torch.Generator
) -> Float[Tensor, "batch action"]:
    """Draws a continuous action from the normal distribution of a mean and the log of a deviation."""
    return mean + log_std.exp() * torch.randn(mean.shape, generator=generator)


def log_probabilities(logits: Float[Tensor, "batch action"], actions: Int[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """Returns log softmax(logits) at the actions, in nats."""
    return logits.log_softmax(dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Float[Tensor, "batch action"]) -> Float[Tensor, "batch"]:
    """Returns the entropy of softmax(logits), in nats."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
