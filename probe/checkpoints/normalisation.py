"""Running statistics of observations, with which an agent saw its vectors normalised."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.arrays import NDArray
from probe.errors import FileError, ShapeError
from probe.files import reason

_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric", "numpy.core.numeric")
_ARRAY_NAMES = ("_reconstruct", "scalar", "_frombuffer")
"""NumPy's own functions for arrays, wherever its version keeps them."""


@dataclass(frozen=True)
class Normalisation:
    """(x - mean) / sqrt(variance + epsilon), clipped; the defaults are those of Stable-Baselines3's VecNormalize."""

    mean: NDArray[Any]
    variance: NDArray[Any]
    source: str
    """Where the statistics are from, for messages."""
    epsilon: float = 1e-8
    clip: float = 10.0

    def apply(self, batch: Tensor) -> Tensor:
        """Returns a batch (batch, feature) as the agent saw it, float32.

        Raises:
            ShapeError: the statistics are not of these features.
        """
        if batch.ndim != 2 or self.mean.shape != tuple(batch.shape[1:]) or self.variance.shape != self.mean.shape:
            raise ShapeError(
                f"{self.source}: mean has shape {self.mean.shape} and variance {self.variance.shape}; the observations "
                f"are {tuple(batch.shape[1:])}. Statistics of each feature of a vector are expected."
            )
        scale = torch.from_numpy(self.variance + self.epsilon).sqrt()
        return ((batch - torch.from_numpy(self.mean)) / scale).clamp(-self.clip, self.clip).float()

    @property
    def identity(self) -> list[Any]:
        """What makes it another normalisation, as plain data."""
        return [self.mean.tolist(), self.variance.tolist(), self.epsilon, self.clip]


def read_vecnormalize(path: Path) -> Normalisation | None:
    """Reads what `VecNormalize.save` pickled; None where it leaves observations as they are.

    The library is not needed: of its objects only the values are taken.

    Raises:
        FileError: it is damaged, or holds no statistics of vectors.
    """
    try:
        with path.open("rb") as file:
            held = _Values(file).load()
        state: Mapping[str, Any] = held.__dict__
        if not state["norm_obs"]:
            return None
        statistics = state["obs_rms"]
        if isinstance(statistics, dict):
            raise FileError(f"{path}: has statistics of several inputs ({', '.join(statistics)}); one is expected.")
        mean, variance = (np.asarray(each, np.float64) for each in (statistics.mean, statistics.var))
        return Normalisation(mean, variance, path.name, float(state["epsilon"]), float(state["clip_obs"]))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
    except FileError:
        raise
    except Exception as error:  # the bytes are anyone's, and so is what goes wrong
        raise FileError(
            f"{path}: no statistics of VecNormalize ({type(error).__name__}: {error}). Give --obs-mean and --obs-var."
        ) from error


class _Kept:
    """Stands for an object of any other class: it takes whatever it is made of, and keeps its attributes."""

    def __new__(cls, *_: Any, **__: Any) -> "_Kept":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Values(pickle.Unpickler):
    """Builds arrays; every other class is kept as its values, so that nothing of it runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module in _ARRAYS and name in _ARRAY_NAMES) or (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return super().find_class(module, name)
        return _Kept
