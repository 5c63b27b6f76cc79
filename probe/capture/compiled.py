"""Networks whose calls would not be seen: those that TorchScript or `torch.compile` made."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from probe.errors import ConfigurationError

_WRAPPED = "_orig_mod"


def refuse_scripted(network: nn.Module) -> None:
    """Refuses modules of TorchScript.

    Raises:
        ConfigurationError: the network, or a part of it, is one.
    """
    scripted = [path for path, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        raise ConfigurationError(
            f"Module '{scripted[0]}' is compiled by TorchScript, which hides its nonlinearities. "
            "Build the network in Python and load its state_dict."
        )


def as_written() -> AbstractContextManager[Any]:
    """Has what `torch.compile` made run as it was written: compiled code would call no function that is seen."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def written_path(path: str) -> str:
    """Returns a module's path without what `torch.compile` put into it."""
    return ".".join(part for part in path.split(".") if part != _WRAPPED)
