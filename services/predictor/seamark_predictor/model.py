"""What a loaded model is to the rest of the service, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.errors import SeamarkError
from seamark_predictor.rows import Rows

__all__ = ["Model", "ModelError", "Output", "Spec", "TensorModel"]


class ModelError(SeamarkError):
    """The model raised, or gave an answer of the wrong shape or with NaN, for input that kept every rule: HTTP 500."""


class Output(msgspec.Struct, frozen=True, eq=False):
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


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor that a model takes or gives: the protocol's datatype, and its shape with -1 where any size will do."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class TensorModel(Protocol):
    """A model without a schema of features: any tensors in, any tensors out. Safe to call from several threads.

    batched: whether the first axis of every input and output counts independent rows, so that requests may be joined.
    """

    platform: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    batched: bool

    def infer(self, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The wanted outputs. Texts are arrays of objects: str in, str or bytes out. May raise anything."""
