"""Plasticity Probe: whether, where and when a deep reinforcement learning network loses plasticity.

>>> import probe
>>> probe.__version__
'0.1.0'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.analysis import analyze
    from probe.checkpoints import open_series
    from probe.comparison import compare
    from probe.errors import ProbeError
    from probe.exporting import export
    from probe.monitor import Monitor
    from probe.observations import open_observations
    from probe.probes.base import Probe, Reading, register
    from probe.results import open_analysis
    from probe.statistics.layer import LayerStatistics

__version__ = "0.1.0"
__all__ = [
    "LayerStatistics",
    "Monitor",
    "Probe",
    "ProbeError",
    "Reading",
    "analyze",
    "compare",
    "export",
    "open_analysis",
    "open_observations",
    "open_series",
    "register",
]

_HOME = {
    "LayerStatistics": "probe.statistics.layer",
    "Monitor": "probe.monitor",
    "Probe": "probe.probes.base",
    "ProbeError": "probe.errors",
    "Reading": "probe.probes.base",
    "analyze": "probe.analysis",
    "compare": "probe.comparison",
    "export": "probe.exporting",
    "open_analysis": "probe.results",
    "open_observations": "probe.observations",
    "open_series": "probe.checkpoints",
    "register": "probe.probes.base",
}


def __getattr__(name: str) -> Any:
    # Names load on first use, so that `probe --help` does not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'probe' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
