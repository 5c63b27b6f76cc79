"""Network outputs -> actions, for the trainers, for collection and for evaluation alike."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Mode = Literal["greedy", "sample"]


def act(outputs: dict[str, Tensor], mode: Mode, generator: torch.Generator) -> Int[Tensor, "batch"]:
    """Chooses discrete actions from a network's outputs (`actor`: logits)."""
    logits = outputs["actor"].float()
    return greedy(logits) if mode == "greedy" else sample(logits, generator)


def greedy(logits: Float[Tensor, "batch action"]) -> Int[Tensor, "batch"]:
    """Returns the most probable action; the first of equals."""
    return logits.argmax(dim=-1)


def sample(logits: Float[Tensor, "batch action"], generator: torch.Generator) -> Int[Tensor, "batch"]:
    """Draws an action from softmax(logits)."""
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(-1)


def log_probabilities(logits: Float[Tensor, "batch action"], actions: Int[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """Returns log softmax(logits) at the actions, in nats."""
    return logits.log_softmax(dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Float[Tensor, "batch action"]) -> Float[Tensor, "batch"]:
    """Returns the entropy of softmax(logits), in nats."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
