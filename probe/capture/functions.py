"""Which of PyTorch's functions are nonlinearities, and what else capture has to know of a call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from probe.networks.rational import rational

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]

_NAMES = (
    *(
        "relu",
        "leaky_relu",
        "prelu",
        "rrelu",
        "relu6",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "tanh",
        "sigmoid",
    ),
    *("hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid"),
)
"""The nonlinearities that are known by one function of PyTorch's."""
HOMES = (torch, Tensor, F, torch.special)
_SYNONYMS = {"sigmoid": ("sigmoid", "expit")}
_NEGATIVES = frozenset({torch.neg, torch.negative, Tensor.neg, Tensor.negative})
_PRODUCTS = frozenset({torch.mul, torch.multiply, Tensor.mul, Tensor.multiply})
_LOOKS = frozenset({Tensor.dim, Tensor.ndimension, Tensor.size, Tensor.numel, Tensor.__len__})


def forms(name: str) -> list[Any]:
    """Returns every function under which PyTorch offers a name: plain, as a method, in place, in exported programs."""
    written = (name, f"{name}_")
    found = (getattr(home, form, None) for home in HOMES for form in written)
    exported = (getattr(getattr(torch.ops.aten, form, None), "default", None) for form in written)
    return [each for each in (*found, *exported) if callable(each)]


def _by_function(names: Iterable[str]) -> dict[Any, str]:
    return {each: name for name in names for form in _SYNONYMS.get(name, (name,)) for each in forms(form)}


NONLINEARITIES: Mapping[Any, str] = {**_by_function(_NAMES), rational: "rational"}
"""Function -> the nonlinearity's name; the function's first argument is what it bends."""
WAVES: Mapping[Any, str] = _by_function(("sin", "cos"))
"""Function -> `sin` or `cos`, which are nonlinearities as a pair alone."""
NEGATIONS = _NEGATIVES | _PRODUCTS | {Tensor.__rsub__}
"""Functions that can give the negative of a tensor; `negated` says whether a call does."""
CONCATENATIONS = frozenset({torch.cat, torch.concat, torch.concatenate, torch.hstack})


def largest_given(args: Arguments, kwargs: Keywords) -> Tensor | None:
    """Returns what an unknown function bends: the largest floating tensor among the arguments, of equals the first."""
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    return max(tensors, key=lambda each: (each.is_floating_point(), each.numel()), default=None)


def may_overwrite(func: Any, args: Arguments, kwargs: Keywords) -> bool:
    """Whether a call may write its input; in doubt yes, which costs a copy and nothing else."""
    asked = kwargs.get("inplace", False) or "out" in kwargs or any(arg is True for arg in args[1:])
    return bool(asked) or func.__name__.removesuffix(".default").endswith("_")


def negated(func: Any, args: Arguments, kwargs: Keywords) -> Tensor | None:
    """Returns the tensor whose negative a call of `NEGATIONS` gives, as -z, -1 * z or 0 - z; None where it does not."""
    if func in _NEGATIVES:
        return args[0] if len(args) == 1 and not kwargs else None
    if len(args) != 2 or kwargs or not isinstance(args[1], int | float):
        return None
    return args[0] if args[1] == (0 if func is Tensor.__rsub__ else -1) else None


def concatenated(func: Any, args: Arguments, kwargs: Keywords) -> tuple[Sequence[Tensor], int]:
    """Returns the tensors that a call of `CONCATENATIONS` joins, and the axis."""
    named = {**dict(zip(("tensors", "dim"), args, strict=False)), **kwargs}
    axis = 1 if func is torch.hstack else named.get("dim", named.get("axis", 0))
    return named["tensors"], axis


def only_looks(func: Any) -> bool:
    """Whether a function asks for a tensor's shape or another attribute, and changes nothing."""
    return func in _LOOKS or getattr(func, "__name__", "") == "__get__"
