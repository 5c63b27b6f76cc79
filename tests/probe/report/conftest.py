"""A report on synthetic runs and their analysis."""

import pytest

from probe.figures import Material, registry
from probe.report import FORMATS, Report, open_material, write_report
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run

DRAWN = [name for name in registry() if name != "detection"]
"""Figures of analyses and logs; there is no detection among them."""


@pytest.fixture(scope="package")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("inputs")
    analysis = write_synthetic_analysis(folder / "analysis.h5", nonfinite_step=8192)
    for method in ("baseline", "specnorm"):
        write_synthetic_run(folder / "runs" / method / "seed0", method)
    return open_material([analysis, folder / "runs"])


@pytest.fixture(scope="package")
def report(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(material, tmp_path_factory.mktemp("out") / "report", FORMATS)
