"""TorchScript and torch.export archives, whose own loaders can run code: only on the user's word."""

import re
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from probe.checkpoints.content import Content
from probe.errors import FileError

_SEEN = {
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
}
"""Operators of exported graphs, with the function that a capture hears of."""


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
            return Content(format=kind, tensors=dict(program.state_dict), program=_unflattened(program))
    except Exception as error:  # the archive is anyone's, and so is what goes wrong
        words = re.split(r"[\n.]", str(error).strip())[0][:160]
        raise FileError(f"{path}: cannot be loaded ({type(error).__name__}: {words}). Export it again.") from error


def _unflattened(program: torch.export.ExportedProgram) -> nn.Module:
    """Returns the program's modules, with nonlinearities called as functions again."""
    network = torch.export.unflatten(program)
    for module in network.modules():
        graph = getattr(module, "graph", None)
        for node in graph.nodes if isinstance(graph, torch.fx.Graph) else ():
            node.target = _SEEN.get(node.target, node.target)
    return network
