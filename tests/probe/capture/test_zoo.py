"""Capture beside hooks placed by hand, on the networks of the table in docs/networks.md."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from probe.capture import capture
from tests.probe.capture.zoo import ZOO, Entry, Hooks

PAGE = Path(__file__).parents[3] / "docs" / "networks.md"


def layers_of(entry: Entry) -> dict[str, Tensor]:
    """Returns hidden layers as capture sees them."""
    found: dict[str, Tensor] = {}
    with torch.no_grad(), capture(entry.network, lambda layer, h, _: found.update({layer.id: h.clone()})) as outputs:
        entry.network(*entry.inputs)
    return {layer: output for layer, output in found.items() if layer not in outputs.layers}


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_is_what_a_hook_placed_by_hand_shows(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        entry = ZOO[name]()
    entry.network.eval()
    found = layers_of(entry)
    hooks = Hooks(copy.deepcopy(entry.network), *entry.inputs)
    assert found.keys() == entry.layers.keys()
    for layer, by_hand in entry.layers.items():
        # Equal to rounding: a function rounds otherwise on other strides.
        torch.testing.assert_close(found[layer], by_hand(hooks), rtol=1e-6, atol=1e-6)


def test_the_page_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| (.+?) \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(ZOO)
    for name, count in rows:
        if "SB3" not in name and "sb3" not in name and "Hugging Face" not in name:
            assert len(ZOO[name]().layers) == int(count)
