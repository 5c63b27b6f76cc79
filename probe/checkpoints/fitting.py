"""Loading a state_dict into a network that somebody else described, and saying why it does not fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from probe.checkpoints.targets import is_target
from probe.errors import FileError

_NAMED = 4
"""Names that a message lists of each kind."""


@dataclass(frozen=True)
class Mismatch:
    """What keeps a state_dict from fitting a network."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    """In both, with other shapes."""

    @property
    def size(self) -> int:
        """How much is wrong."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, network_name: str) -> str:
    """Gives a network its values, in place, and returns the prefix that the names had beyond the network's; often none.

    Of a state_dict that holds the network under a prefix (`net.`, `agent.`) what has other prefixes is left out.

    Raises:
        FileError: it does not fit; names what is missing, unexpected and misshapen, and the likeliest cause.
    """
    expected = network.state_dict()
    candidates = list(_prefixed(tensors, expected))
    prefix, chosen, wrong = min(
        ((prefix, each, _mismatch(each, expected)) for prefix, each in candidates), key=lambda found: found[2].size
    )
    if wrong.size:
        raise FileError(_explained(path, network_name, wrong, chosen, expected))
    with torch.no_grad():
        network.load_state_dict(dict(chosen))
    return prefix


def fitting_prefixes(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns the prefixes under which a state_dict holds a network; `load_tensors` takes the first."""
    expected = network.state_dict()
    return [prefix for prefix, each in _prefixed(tensors, expected) if not _mismatch(each, expected).size]


def _prefixed(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yields the tensors as they are, and those under each prefix that leads to a name of the network's.

    Those of target networks come last.
    """
    yield "", tensors
    first = next(iter(expected), None)
    ends = [name.removesuffix(str(first)) for name in tensors if name.endswith(f".{first}")]
    for prefix in sorted(dict.fromkeys(ends), key=is_target):
        yield prefix, {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
    heads = {name.split(".")[0] for name in expected}
    if len(heads) == 1:  # the network wraps the one that was saved
        (head,) = heads
        yield "", {f"{head}.{name}": tensor for name, tensor in tensors.items()}


def _mismatch(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mismatch:
    return Mismatch(
        tuple(name for name in expected if name not in tensors),
        tuple(name for name in tensors if name not in expected),
        tuple(name for name, tensor in tensors.items() if name in expected and tensor.shape != expected[name].shape),
    )


def _explained(
    path: Path, network: str, wrong: Mismatch, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> str:
    shapes = [
        f"{name} {tuple(tensors[name].shape)} in the file, {tuple(expected[name].shape)} in the network"
        for name in wrong.misshapen
    ]
    parts = [
        f"{kind}: {_few(names)}"
        for kind, names in (("missing", wrong.missing), ("unexpected", wrong.unexpected), ("misshapen", shapes))
        if names
    ]
    return f"{path}: its state_dict does not fit {network}. {'; '.join(parts)}.\n{_cause(wrong, tensors, expected)}"


def _few(names: "tuple[str, ...] | list[str]") -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _cause(wrong: Mismatch, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Returns the likeliest reason and what to do."""
    apart = (*wrong.missing, *wrong.unexpected)
    if not apart:
        return _cause_of_shapes(wrong, tensors, expected)
    if all(name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked") for name in apart):
        return "One of them has BatchNorm and the other has not."
    if any(word in name for name in apart for word in ("parametrizations.", "weight_orig", "weight_g", "weight_v")):
        return "Spectral or weight normalisation was applied to one of them and not to the other."
    if all(name.endswith(".bias") for name in apart):
        return "The layers of one of them have biases and those of the other have not."
    shapes = [sorted(tuple(each[n].shape) for n in names) for each, names in _both(wrong, tensors, expected)]
    if wrong.missing and shapes[0] == shapes[1]:
        return "The shapes agree and the names do not: likely the same network, with its layers named otherwise."
    if not wrong.unexpected:
        return "The network is likely larger than the one that was saved: its arguments (--model-args) or class differ."
    if not wrong.missing:
        return "The file likely holds more than this network: save or name the part that it is of."
    return "It is likely another network: check --model and --model-args."


def _both(
    wrong: Mismatch, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[tuple[Mapping[str, Tensor], tuple[str, ...]], ...]:
    return (tensors, wrong.unexpected), (expected, wrong.missing)


def _cause_of_shapes(wrong: Mismatch, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    weights = [name for name in expected if expected[name].ndim > 1]
    if all(name == weights[0] for name in wrong.misshapen):
        return "Only the first layer differs: likely other observations (size, channels or frame stack)."
    layers = {name.rpartition(".")[0] for name in wrong.misshapen}
    if layers <= {name.rpartition(".")[0] for name in weights[-2:]}:
        return "Only the last layers differ: likely another number of actions."
    return "Layers in between differ: likely another width, an argument of the network's (--model-args)."
