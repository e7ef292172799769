"""What a loaded model is to the rest of the service, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seamark.errors import SeamarkError
from seamark_predictor.rows import Rows

__all__ = ["Model", "ModelError", "Output"]


class ModelError(SeamarkError):
    """The model raised, or gave an answer of the wrong shape or with NaN, for input that kept every rule: HTTP 500."""


@dataclass(frozen=True, slots=True)
class Output:
    """prediction: rows values, the class index or the regression value.

    probabilities: rows x classes in schema order, float32 or float64; None for regression and for classifiers
    that have none.
    """

    prediction: NDArray[np.float64]
    probabilities: NDArray[np.floating[Any]] | None = None


class Model(Protocol):
    """Safe to call from several threads. `predict` may raise anything: the dataplane finds the cause."""

    platform: str

    def predict(self, rows: Rows) -> Output: ...
