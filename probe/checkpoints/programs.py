"""TorchScript and torch.export archives, whose own loaders can run code: only on the user's word."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from probe.checkpoints.content import Content
from probe.errors import FileError

_SEEN: dict[Any, Any] = {
    torch.ops.aten.relu.default: torch.relu,
    torch.ops.aten.tanh.default: torch.tanh,
    torch.ops.aten.sigmoid.default: torch.sigmoid,
    torch.ops.aten.gelu.default: F.gelu,
    torch.ops.aten.silu.default: F.silu,
    torch.ops.aten.mish.default: F.mish,
    torch.ops.aten.elu.default: F.elu,
    torch.ops.aten.leaky_relu.default: F.leaky_relu,
    torch.ops.aten.hardtanh.default: F.hardtanh,
    torch.ops.aten.softplus.default: F.softplus,
    # Images come with other strides than those that a program was exported with.
    torch.ops.aten.view.default: torch.reshape,
    torch.ops.aten.reshape.default: torch.reshape,
}
"""Operators of exported graphs, with the function that a capture hears of, or that takes any strides."""


def read_program(path: Path, kind: str, trust: bool) -> Content:
    """Loads an archive; of TorchScript the tensors, of torch.export the network too.

    Args:
        path: The archive.
        kind: `torchscript` or `torch-export`.
        trust: The user's explicit word.

    Raises:
        FileError: it was not given, or the archive is damaged.
    """
    if not trust:
        what = "a TorchScript" if kind == "torchscript" else "a torch.export"
        raise FileError(
            f"{path}: {what} archive, and loading one can run code that stands in it. Save a state_dict, or give "
            "--trust-pickle if you trust the file."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "torchscript":
                # Hooks cannot be placed in compiled code, but the tensors are all there.
                return Content(format=kind, tensors=dict(torch.jit.load(str(path), map_location="cpu").state_dict()))  # type: ignore[no-untyped-call]
            program = torch.export.load(str(path))
            return Content(format=kind, tensors=dict(program.state_dict), program=_unflattened(program, path))
    except FileError:
        raise
    except Exception as error:  # the archive is anyone's, and so is what goes wrong
        words = re.split(r"[\n.]", str(error).strip())[0][:160]
        raise FileError(f"{path}: cannot be loaded ({type(error).__name__}: {words}). Export it again.") from error


def _unflattened(program: torch.export.ExportedProgram, path: Path) -> nn.Module:
    """Returns the program's modules, with nonlinearities called as functions again, for batches of any size."""
    network = torch.export.unflatten(program)
    for node in _calls(network):
        node.target = _SEEN.get(node.target, node.target)
    placeholders = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    inputs = [node.meta["val"] for node in placeholders]
    sizes = [each.shape[0] if isinstance(each, Tensor) and each.ndim else None for each in inputs]
    size = sizes[0] if sizes else None
    if isinstance(size, int) and sizes == [size] * len(sizes):  # one that is not fixed is a symbol
        _loosen(network, size)
        if not _agree(network, torch.export.unflatten(program), inputs):
            raise FileError(
                f"{path}: exported for batches of {size}, and its program cannot be run on others. Export it with "
                "dynamic_shapes, such as ({0: torch.export.Dim('batch')},)."
            )
    return network


def _calls(network: nn.Module) -> Iterator[torch.fx.Node]:
    for module in network.modules():
        graph = getattr(module, "graph", None)
        if isinstance(graph, torch.fx.Graph):
            yield from (node for node in graph.nodes if node.op == "call_function")


def _loosen(network: Any, size: int) -> None:
    """Lets a program whose batch size was written into it take others: reshapes infer their first axis."""
    network.check_input_constraints = False
    for node in _calls(network):
        if node.target is torch.reshape and list(node.meta["val"].shape)[:1] == [size]:
            node.args = (node.args[0], [-1, *node.meta["val"].shape[1:]])


@torch.no_grad()
def _agree(loosened: nn.Module, original: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether a program gives for two batches side by side what its original gives for each."""
    generator = torch.Generator().manual_seed(0)
    ones, others = ([_drawn(each, generator) for each in inputs] for _ in range(2))
    apart = [tree_leaves(original(*given)) for given in (ones, others)]
    try:
        together = tree_leaves(loosened(*map(torch.cat, zip(ones, others, strict=True))))
    except Exception:  # what else the size was written into is anyone's
        return False
    wanted = [torch.cat(pair) for pair in zip(*apart, strict=True)]
    same = zip(together, wanted, strict=True)
    return all(one.shape == other.shape and torch.allclose(one, other, atol=1e-5) for one, other in same)


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    shape = tuple(like.shape)
    if like.is_floating_point():
        return torch.rand(shape, generator=generator).to(like.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(like.dtype)
