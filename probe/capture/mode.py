"""One forward pass -> every nonlinearity's output, under a stable layer name, for any `nn.Module`.

A function mode sees each nonlinearity as it is called, whether a module or the `forward` of the network calls it; hooks
keep the path of the module that runs. The consumer gets the output inside the call, before a later in-place operation
can change it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from probe.capture.compiled import as_written, refuse_scripted, written_path
from probe.capture.declared import Activations, declared_functions, declared_modules
from probe.capture.functions import (
    CONCATENATIONS,
    NEGATIONS,
    NONLINEARITIES,
    WAVES,
    Arguments,
    Keywords,
    concatenated,
    largest_given,
    may_overwrite,
    negated,
    only_looks,
)
from probe.capture.layout import Layout
from probe.capture.outputs import Outputs
from probe.capture.pairs import Call, Pairs, Seen
from probe.capture.recurrent import CELLS, RECURRENT_MODULES, STACKS, run_cell, run_stack
from probe.capture.trace import Layer, Place, Trace, has_weights, is_activation

Consumer = Callable[[Layer, Tensor, Tensor | None], None]
"""Takes (layer, output, pre-activation or None)."""
Run = Callable[[Any, Arguments, Keywords], Any]
"""Runs (function, arguments, keywords) and returns the function's result."""


@contextmanager
def capture(
    network: nn.Module, consume: Consumer, pre_activation: bool = False, activations: Activations | None = None
) -> Iterator[Outputs]:
    """Hands every nonlinearity's output to `consume` while `network` runs inside the block.

    A layer is the output of one of PyTorch's nonlinearities, called as a module or function, in place or not. Further:

    - CReLU, relu(z) beside relu(-z) along the unit axis, is one layer of pairs `crelu`, and deep Fourier features,
      sin z beside cos z, are one of pairs `fourier`; the output is the concatenation, the pre-activation is z. The
      halves must be made of one tensor and be joined at once; a sine or cosine alone (positional encodings) is none.
    - Recurrent modules and cells give h_t, one row a time step and sequence, without a pre-activation; every layer of a
      stack is one, `#k` from the second on, and all calls in one forward pass are time steps of one layer. Gates and
      cell states stay inside. Of padded sequences the padding counts, of packed ones there is none.
    - Softmax and attention are no layers.
    - After a convolution over one axis outputs are given as (batch, channel, length, 1), and those of PyTorch's
      transformer layers as (batch, time, unit), also where time comes first.
    - What `torch.compile` made runs as it was written, under the paths that it had; exported programs are seen too.
    - What else bends (`clamp(min=0)`, `maximum(x, 0)`) is one where it is declared.

    Any number of forward passes may run; the network is left without hooks, also after an error. What is called outside
    of the network's modules is not seen.

    Args:
        network: Any module; its parameters, buffers and mode are not touched.
        consume: Called within each nonlinearity's call, of a rectifier that may be half a CReLU before the next
            operation runs. It may write the output, which then goes on, and must not keep it, as it may change later.
        pre_activation: Whether the consumer gets the nonlinearity's input too.
        activations: Declared nonlinearities; see `probe.capture.declared`.

    Yields:
        Which of the layers were nothing but a squashing of the network's outputs, such as the tanh of a bounded action.
        Whoever counts hidden layers leaves them out; that is known at the end of a forward pass.

    Raises:
        ConfigurationError: the network, or a part of it, is compiled by TorchScript, which hides its calls.
    """
    refuse_scripted(network)
    declared = activations or {}
    modules = declared_modules(declared, network)
    mode = _NonlinearityMode(consume, pre_activation, declared_functions(declared), Outputs(modules))
    handles = [
        each
        for path, module in network.named_modules()
        for each in mode.follow(written_path(path), module, modules.get(path))
    ]
    try:
        with as_written(), mode:
            yield mode.outputs
    finally:
        for handle in handles:
            handle.remove()


class _NonlinearityMode(TorchFunctionMode):
    """Calls the consumer for each nonlinearity, while the mode is off, so that inner calls are not seen again.

    PyTorch turns it off in `__torch_function__`; in hooks, and within a declared module, `_deaf` does.
    """

    def __init__(self, consume: Consumer, pre_activation: bool, declared: Mapping[Any, str], outputs: Outputs) -> None:
        super().__init__()
        self.outputs = outputs
        self._consume = consume
        self._pre_activation = pre_activation
        self._trace = Trace()
        self._layout = Layout()
        self._pairs = Pairs(self._take)
        self._deaf = False
        self._known = {**NONLINEARITIES, **WAVES}
        self._declared = declared
        self._runs: dict[Any, Run] = {
            **dict.fromkeys(NEGATIONS, self._negation),
            **dict.fromkeys(CONCATENATIONS, self._concatenation),
            **dict.fromkeys(STACKS, self._stack),
            **dict.fromkeys(CELLS, self._cell),
            **dict.fromkeys(self._known, self._nonlinearity),
            **dict.fromkeys(declared, self._declared_function),
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._deaf or not self._trace.depth:
            return func(*args, **(kwargs or {}))
        output = self._runs.get(func, self._any_other)(func, args, kwargs or {})
        self.outputs.follow(func, args, output)
        return output

    def follow(self, path: str, module: nn.Module, declared: str | None) -> Iterator[RemovableHandle]:
        """Registers the hooks of one module."""
        stands_alone = declared is not None or is_activation(module)
        recurrent = isinstance(module, RECURRENT_MODULES)
        weights = declared is None and has_weights(module)
        tensors = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        opened: list[tuple[int, Call | None]] = []

        def enter(_: nn.Module, inputs: Arguments) -> None:
            if not self._trace.depth:
                self._layout = Layout()
            self._trace.enter(path, stands_alone, recurrent, weights)
            self._layout.enter(module, weights)
            if self._deaf:
                return
            if tensors:
                self._settle()
            if declared is not None:
                self._deaf = True
                opened.append((self._trace.depth, None))  # leaving the module ends the deafness, whatever comes
                given = largest_given(inputs, {})
                if given is not None:
                    opened[-1] = (self._trace.depth, self._begin(declared, given, overwrites=True))

        def leave(_: nn.Module, __: Arguments, output: Any) -> None:
            depth = self._trace.depth
            self._trace.leave()
            self._layout.leave(module)
            if opened and opened[-1][0] == depth:
                call = opened.pop()[1]
                try:
                    if call is not None and isinstance(output, Tensor):
                        self._pairs.end(call, output)
                finally:
                    self._deaf = False
            if depth == 1:
                self._settle()
                self.outputs.returned(output)

        # First, so that whoever follows the network's modules too hears of a nonlinearity before the next module.
        yield module.register_forward_pre_hook(enter, prepend=True)
        # always_call: the stack must be right also after an error that the network itself catches.
        yield module.register_forward_hook(leave, always_call=True)

    def _nonlinearity(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        given = args[0] if args else kwargs["input"]
        call = self._begin(self._known[func], given, may_overwrite(func, args, kwargs))
        output = func(*args, **kwargs)
        self._pairs.end(call, output)
        return output

    def _declared_function(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        given = largest_given(args, kwargs)
        if given is None:
            return self._any_other(func, args, kwargs)
        call = self._begin(self._declared[func], given, may_overwrite(func, args, kwargs))
        output = func(*args, **kwargs)
        self._pairs.end(call, output)
        return output

    def _negation(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        given = negated(func, args, kwargs)
        if given is None:
            return self._any_other(func, args, kwargs)
        return self._pairs.negate(given, partial(func, *args, **kwargs))

    def _concatenation(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        parts, axis = concatenated(func, args, kwargs)
        return self._pairs.concatenate(parts, axis, self._trace.place, partial(func, *args, **kwargs))

    def _stack(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        self._pairs.settle()
        return run_stack(func, args, partial(self._hidden_state, STACKS[func]))

    def _cell(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        self._pairs.settle()
        return run_cell(func, args, kwargs, partial(self._hidden_state, CELLS[func]))

    def _any_other(self, func: Any, args: Arguments, kwargs: Keywords) -> Any:
        if self._pairs.waiting and not only_looks(func):
            self._pairs.settle()
        return func(*args, **kwargs)

    def _begin(self, function: str, given: Tensor, overwrites: bool) -> Call:
        """Notes a nonlinearity before it runs."""
        before = None
        if self._pre_activation:
            before = given.clone() if overwrites else given
        call = Call(function, self._trace.place, Seen.now(given), before)
        self._pairs.begin(call)
        return call

    def _hidden_state(self, function: str, depth: int, output: Tensor) -> Tensor:
        rows = output.reshape(-1, output.shape[-1])
        self._consume(self._trace.hidden_state(function, self._trace.place, depth), rows, None)
        return rows.view(output.shape)  # what the consumer wrote goes on also where the rows are a copy

    def _take(self, function: str, place: Place, output: Tensor, pre_activation: Tensor | None) -> None:
        layer = self._trace.layer(function, place)
        before = None if pre_activation is None else self._layout.of(pre_activation)
        self._consume(layer, self._layout.of(output), before)
        self.outputs.bent(layer, output)

    def _settle(self) -> None:
        """Settles from a hook, where the mode is on: the consumer's own calls must not be heard."""
        if self._pairs.waiting:
            self._deaf = True
            try:
                self._pairs.settle()
            finally:
                self._deaf = False
