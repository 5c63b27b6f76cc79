import random

import numpy as np
import torch
from torch import nn

from probe.monitor.isolation import undisturbed

NETWORK = nn.Linear(1, 1)


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(()).item()


def test_the_global_streams_go_on_where_they_were() -> None:
    # Of Python's own stream alone: in tests, checks of annotations draw from it between any two calls.
    state = random.getstate()
    first = drawn()
    random.setstate(state)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = drawn()[1:]
    np.random.seed(1)
    torch.manual_seed(1)
    random.setstate(state)
    with undisturbed(NETWORK):
        drawn()
    assert random.getstate() == state
    assert drawn()[1:] == expected and first[0] != expected[0]


def test_the_blocks_own_streams_are_always_the_same() -> None:
    found = []
    for _ in range(2):
        with undisturbed(NETWORK):
            found.append(drawn())
        drawn()
    assert found[0] == found[1]


def test_the_streams_are_put_back_after_an_error() -> None:
    torch.manual_seed(2)
    expected = torch.get_rng_state()
    try:
        with undisturbed(NETWORK):
            drawn()
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), expected)
