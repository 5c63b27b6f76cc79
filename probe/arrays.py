"""NumPy's `NDArray` in the form that jaxtyping reads on every version: NumPy 2.5 made its own a `type` alias."""

from typing import Any, TypeVar

import numpy as np

Scalar = TypeVar("Scalar", bound=np.generic, covariant=True)

NDArray = np.ndarray[Any, np.dtype[Scalar]]
"""An array of any shape: `NDArray[np.float64]`."""
