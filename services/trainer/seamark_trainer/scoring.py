"""How good answers are: the numbers candidates are chosen by and packages are described with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seamark.package import Schema

__all__ = ["as_logged", "loss", "measure", "measure_champion"]

_SMALLEST = 1e-15


def as_logged(schema: Schema, answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """rows x len(schema.outputs), from class probabilities (rows x classes) or, for regression, values (rows x 1)."""
    if schema.task == "regression":
        return answers
    predicted = np.argmax(answers, axis=1)
    score = answers[:, 1] if schema.task == "binary" else answers[np.arange(len(answers)), predicted]
    return np.column_stack([predicted.astype(np.float64), score])


def loss(schema: Schema, answers: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """What candidates are ranked by, smaller is better: log loss, or the mean absolute error."""
    if schema.task == "regression":
        return float(np.mean(np.abs(answers[:, 0] - labels)))
    chosen = answers[np.arange(len(labels)), labels.astype(np.int64)]
    return float(-np.mean(np.log(np.clip(chosen, _SMALLEST, 1.0))))


def measure(schema: Schema, answers: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, float]:
    """accuracy and logLoss; for regression mae and r2."""
    if schema.task == "regression":
        return {"mae": loss(schema, answers, labels), "r2": _r2(answers[:, 0], labels)}
    accuracy = float(np.mean(np.argmax(answers, axis=1) == labels))
    return {"accuracy": accuracy, "logLoss": loss(schema, answers, labels)}


def measure_champion(schema: Schema, champion: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, float]:
    """The champion's own answers to the same rows, where it gave one; nothing where it gave none."""
    known = np.isfinite(champion)
    if not known.any():
        return {}
    rows = {"championRows": float(np.count_nonzero(known))}
    champion, labels = champion[known], labels[known]
    if schema.task == "regression":
        return {**rows, "championMae": float(np.mean(np.abs(champion - labels))), "championR2": _r2(champion, labels)}
    return {**rows, "championAccuracy": float(np.mean(champion == labels))}


def _r2(values: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """1 - residual / total variation; 0 where labels do not vary."""
    total = float(np.sum((labels - labels.mean()) ** 2))
    return 1.0 - float(np.sum((labels - values) ** 2)) / total if total else 0.0
