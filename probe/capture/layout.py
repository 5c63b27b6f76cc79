"""Which axis is what in a layer's output, where its shape alone would mislead."""

from torch import Tensor, nn

_ONE_DIMENSIONAL = (nn.Conv1d, nn.ConvTranspose1d)
_TRANSFORMER_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Layout:
    """Follows the modules that run and turns outputs of three axes into a form that says what they are.

    Of a convolution over one axis, (batch, channel, length) becomes (batch, channel, length, 1); of PyTorch's
    transformer layers that put time first, (time, batch, unit) becomes (batch, time, unit). Both are views: what is
    written into them is written into the output.
    """

    def __init__(self) -> None:
        """Starts outside of the network."""
        self._time_first = 0
        self._one_dimensional = False

    def enter(self, module: nn.Module, has_weights: bool) -> None:
        """Follows the forward pass into a module."""
        self._time_first += is_time_first(module)
        if has_weights:
            self._one_dimensional = isinstance(module, _ONE_DIMENSIONAL)

    def leave(self, module: nn.Module) -> None:
        """Follows the forward pass out of a module."""
        self._time_first -= is_time_first(module)

    def of(self, output: Tensor) -> Tensor:
        """Returns an output in the form that says what its axes are."""
        if output.ndim != 3:
            return output
        if self._time_first:
            return output.transpose(0, 1)
        return output.unsqueeze(-1) if self._one_dimensional else output


def is_time_first(module: nn.Module) -> bool:
    """Whether a module is a layer of PyTorch's transformers that takes (time, batch, unit)."""
    return isinstance(module, _TRANSFORMER_LAYERS) and not module.self_attn.batch_first
