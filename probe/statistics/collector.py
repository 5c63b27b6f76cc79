"""The statistics of every layer of a network: the consumer that `capture` feeds."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import Tensor

from probe.capture import Layer
from probe.statistics.layer import LayerStatistics


class StatisticsCollector:
    """Keeps one `LayerStatistics` a layer, in call order.

    Attributes:
        layers: Statistics by layer id.
        descriptions: The layers themselves by id.
    """

    def __init__(self, rank: bool = True, layers: Sequence[str] = ("*",)) -> None:
        """Starts empty.

        Args:
            rank: Whether to keep what spectra need.
            layers: Glob patterns on ids and labels; other layers are passed over.
        """
        self.layers: dict[str, LayerStatistics] = {}
        self.descriptions: dict[str, Layer] = {}
        self._rank = rank
        self._patterns = tuple(layers)
        self._passed_over: set[str] = set()

    def __call__(self, layer: Layer, output: Tensor, pre_activation: Tensor | None = None) -> None:
        """Adds a batch of one layer's outputs; what has no batch axis (softplus of a parameter) is no layer."""
        if output.ndim < 2 or layer.id in self._passed_over:
            return
        if layer.id not in self.layers:
            if not any(fnmatchcase(name, pattern) for name in (layer.id, layer.label) for pattern in self._patterns):
                self._passed_over.add(layer.id)
                return
            self.layers[layer.id] = LayerStatistics(self._rank)
            self.descriptions[layer.id] = layer
        self.layers[layer.id].update(output)

    def drop(self, layers: Iterable[str]) -> None:
        """Forgets layers by id; unknown ones are passed over."""
        for layer in layers:
            self.layers.pop(layer, None)
            self.descriptions.pop(layer, None)
