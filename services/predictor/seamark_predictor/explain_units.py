"""Which unit a model's sum has, found by comparing it with what the model answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamark_predictor.explain_terms import Floats, Margins
from seamark_predictor.model import Output

__all__ = ["Unit", "unit_of"]

#: How far a sum may be from the answer, of probabilities and relative to values: models compute in single precision.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Unit:
    """error: the largest difference, over the rows, between the answer and what the sum makes of it."""

    name: str
    error: float


def unit_of(margins: Margins, served: Output, classes: int) -> Unit | None:
    """None where the sum makes no answer of the model's: it is not what it looked like. classes: 0 for regression."""
    outputs = margins.total.shape[1]
    if classes == 0:
        return _value(margins, served.prediction) if outputs == 1 else None
    if outputs not in ((1, 2) if classes == 2 else (classes,)):
        return None
    if served.probabilities is None:
        return _margin(margins.total, served.prediction)
    return _probability(margins.total, served.probabilities)


def _value(margins: Margins, value: NDArray[np.float64]) -> Unit | None:
    total = margins.total[:, 0]
    scale = np.abs(value) + np.abs(margins.base).sum() + np.abs(margins.contributions).sum(axis=(1, 2))
    with np.errstate(over="ignore"):
        links = {"value": (total, scale), "logarithm of the value": (np.exp(total), np.abs(value))}
    for name, (made, allowed) in links.items():
        error = np.abs(made - value)
        if (error <= _TOLERANCE * allowed).all():
            return Unit(name, float(error.max()))
    return None


def _probability(total: Floats, probabilities: Floats) -> Unit | None:
    links: dict[str, Callable[[Floats], Floats]]
    if total.shape[1] == 1:
        links, wanted = {"log-odds": _logistic}, probabilities[:, 1:]
    else:
        links, wanted = {"probability": np.asarray, "softmax input": _softmax}, probabilities
    for name, link in links.items():
        error = float(np.abs(link(total) - wanted).max())
        if error <= _TOLERANCE:
            return Unit(name, error)
    return None


def _logistic(total: Floats) -> Floats:
    """Without the overflow that the usual form has."""
    return np.asarray((1 + np.tanh(total / 2)) / 2)


def _softmax(total: Floats) -> Floats:
    powers = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _margin(total: Floats, prediction: NDArray[np.float64]) -> Unit | None:
    """A classifier without probabilities: the sign, or the largest, must name the class."""
    named = total[:, 0] > 0 if total.shape[1] == 1 else np.argmax(total, axis=1)
    return Unit("margin", 0.0) if (named == prediction).all() else None
