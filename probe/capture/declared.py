"""Nonlinearities that cannot be told from the calls, and are declared: `NAME=FUNCTION`.

NAME is a glob on module paths (the output of such a module is a layer, whatever runs inside), or the dotted name of a
function of PyTorch's, such as `torch.clamp` (every call of it is a layer, also as a method and in place). FUNCTION is
the nonlinearity that it stands for, whose tests are then applied; `other` has none.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from probe.capture.functions import NONLINEARITIES, forms
from probe.capture.pairs import PAIRED
from probe.errors import ConfigurationError, UnknownNameError, suggestion

Activations = Mapping[str, str]
"""NAME -> FUNCTION."""
_FUNCTION = "torch."
_KNOWN = (*dict.fromkeys(NONLINEARITIES.values()), *PAIRED, "other")
"""What a declaration can make of something."""


def parse_activations(texts: Sequence[str]) -> dict[str, str]:
    """Turns declarations as people type them into a mapping.

    Raises:
        ConfigurationError: one is not of the form NAME=FUNCTION.
    """
    parsed = {}
    for text in texts:
        name, equals, function = text.partition("=")
        if not (name and equals and function):
            raise ConfigurationError(f"--activation '{text}' is not of the form NAME=FUNCTION, as torch.clamp=relu.")
        parsed[name] = function
    return parsed


def check_activations(activations: Activations, networks: Sequence[nn.Module]) -> None:
    """Refuses declarations that would say nothing.

    Raises:
        UnknownNameError: a FUNCTION is none that is known.
        ConfigurationError: a NAME is no function of PyTorch's, or matches no module of any of the networks, or two
            declarations make one module two nonlinearities.
    """
    paths = {path for network in networks for path, _ in network.named_modules() if path}
    for name, function in activations.items():
        if function not in _KNOWN:
            raise UnknownNameError("activation function", function, _KNOWN)
        if name.startswith(_FUNCTION):
            if not _forms(name):
                raise ConfigurationError(f"--activation {name}={function}: PyTorch has no function '{name}'.")
        elif not any(fnmatchcase(path, name) for path in paths):
            raise ConfigurationError(
                f"--activation {name}={function}: no module has such a path. {suggestion(name, paths)}"
            )
    for path in sorted(paths):
        meant = sorted({function for name, function in activations.items() if fnmatchcase(path, name)})
        if len(meant) > 1:
            raise ConfigurationError(f"Module '{path}' is declared as {' and as '.join(meant)}. Narrow a pattern.")


def declared_functions(activations: Activations) -> dict[Any, str]:
    """Returns the declared functions, in all their forms."""
    named = {name: function for name, function in activations.items() if name.startswith(_FUNCTION)}
    return {each: function for name, function in named.items() for each in _forms(name)}


def declared_modules(activations: Activations, network: nn.Module) -> dict[str, str]:
    """Returns the paths of the declared modules with the nonlinearity that each stands for.

    Activations of Hugging Face transformers that write a GELU out in other functions need no declaration.
    """
    known = {path: "gelu" for path, module in network.named_modules() if path and _is_written_out(module)}
    return known | {
        path: function
        for name, function in activations.items()
        for path, _ in network.named_modules()
        if path and not name.startswith(_FUNCTION) and fnmatchcase(path, name)
    }


def _forms(name: str) -> list[Any]:
    return forms(name.rpartition(".")[2])


def _is_written_out(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ == "transformers.activations" and "GELU" in kind.__name__
