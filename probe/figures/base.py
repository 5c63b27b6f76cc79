"""The contract of a figure, and the registry that finds every figure of this folder."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from matplotlib.figure import Figure

from probe.errors import UnknownNameError
from probe.figures.material import Material
from probe.figures.style import Style


class NothingToDraw(Exception):
    """The results hold no number for this figure; the message is the reason, as a sentence."""


@dataclass(frozen=True)
class Settings:
    """What a reader may choose; another choice needs no new forward pass."""

    tau: float = 0.025
    """Score at or below which a unit counts as dormant."""
    layer: str | None = None
    """Layer of the figures that show a single one, by id, label or human name; None: the last of the encoder."""


class ReportFigure(ABC):
    """One figure: words for the reader and the drawing. Stateless."""

    name: ClassVar[str]
    order: ClassVar[int]
    """Place in the report."""
    title: ClassVar[str]
    shows: ClassVar[str]
    """What one sees, with units and definitions, in plain words."""
    caution: ClassVar[str]
    """What it does not mean."""

    reads: ClassVar[Literal["analyses", "detections", "logs"]] = "analyses"
    """Figures of analyses are drawn once an observation set."""

    @abstractmethod
    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws the figure.

        Raises:
            NothingToDraw: the results hold nothing for it.
        """

    @classmethod
    def summary(cls) -> str:
        """Returns the first line of the figure's docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]


FigureClass = TypeVar("FigureClass", bound=type[ReportFigure])
_REGISTRY: dict[str, type[ReportFigure]] = {}


def register(name: str, order: int) -> Callable[[FigureClass], FigureClass]:
    """Enters a figure class under a name that no other class has; `order` is its place in a report."""

    def enter(cls: FigureClass) -> FigureClass:
        taken = _REGISTRY.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"Figure '{name}' is registered already, by {taken.__module__}.{taken.__qualname__}.")
        cls.name, cls.order = name, order
        _REGISTRY[name] = cls
        return cls

    return enter


def figure_classes() -> Mapping[str, type[ReportFigure]]:
    """Returns every figure of this folder by name, in the order of a report."""
    package = importlib.import_module("probe.figures")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"probe.figures.{module.name}")
    return dict(sorted(_REGISTRY.items(), key=lambda item: item[1].order))


def registry() -> dict[str, str]:
    """Returns the name of every figure with a line on each."""
    return {name: figure.summary() for name, figure in figure_classes().items()}


def figure_class(name: str) -> type[ReportFigure]:
    """Returns the figure of that name.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    figures = figure_classes()
    if name not in figures:
        raise UnknownNameError("figure", name, figures)
    return figures[name]
