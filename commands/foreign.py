"""The options of `probe analyze`, `probe inspect` and `probe compare` about checkpoints of other libraries."""

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Checkpoints of other libraries"

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="What makes the network: package.module:factory, or file.py:Class.", rich_help_panel=_PANEL
    ),
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option("--model-args", help="NAME=VALUE, an argument of --model's; repeatable.", rich_help_panel=_PANEL),
]
Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        help="MODULE=GLOB: layers that belong to a module, such as critic='value*'; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
SeriesBy = Annotated[
    str | None,
    typer.Option(
        "--series-by",
        help="Regular expression on paths: files with the same match are one series.",
        rich_help_panel=_PANEL,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", help="How --model takes images: chw or hwc. Default: as it runs.", rich_help_panel=_PANEL),
]
ObservationMean = Annotated[
    Path | None,
    typer.Option("--obs-mean", help="Mean of each feature (.npy, .npz), of normalised agents.", rich_help_panel=_PANEL),
]
ObservationVariance = Annotated[
    Path | None, typer.Option("--obs-var", help="Variance of each feature, likewise.", rich_help_panel=_PANEL)
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="Load files that can run code. Only if you trust them.", rich_help_panel=_PANEL
    ),
]
