"""How numba (extra `fast`) compiles our kernels; the interpreter lock is released in all of them."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder

Function = TypeVar("Function", bound=Callable[..., Any])


class Apart(CompilerBase):
    """Compiles a function none of whose writes through one array argument is seen through another.

    LLVM asks for no proof then. In short loops over several arrays the proof costs more than the loop.
    """

    def define_pipelines(self) -> list[Any]:
        """Returns numba's own passes."""
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]  # type: ignore[no-untyped-call]


def compiled(*licences: str, pipeline: type[CompilerBase] | None = None) -> Callable[[Function], Function]:
    """Compiles a function on first use and keeps the result on disk.

    Args:
        licences: of LLVM's fast-math, such as `contract`.
        pipeline: instead of numba's own.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(licences)}
    if pipeline is not None:
        options["pipeline_class"] = pipeline

    def decorate(function: Function) -> Function:
        function = cast(Function, unwrap(function))  # numba cannot take in what checks annotations in the tests
        try:
            return cast(Function, njit(function, cache=True, **options))
        except RuntimeError:
            # Neither the package's folder nor the user's cache can be written: compile in each process.
            return cast(Function, njit(function, **options))

    return decorate


def inlined(function: Function) -> Function:
    """Copies a function into its callers before types are known; as a call of its own it would not be vectorised."""
    return cast(Function, njit(unwrap(function), inline="always"))
