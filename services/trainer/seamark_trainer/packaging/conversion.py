"""ONNX offered for a scikit-learn model: converted, and compared with the original on the whole sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.package import Schema
from seamark.texts import first_line
from seamark_trainer.converter import convert
from seamark_trainer.packaging.blocks import in_blocks
from seamark_trainer.packaging.estimator import predicts_highest
from seamark_trainer.packaging.existing import Answers, Runner
from seamark_trainer.packaging.onnx_model import OnnxModel
from seamark_trainer.packaging.sklearn_input import needs_frame

__all__ = ["TOLERANCE", "Converted", "Failed", "Parity", "compare", "to_onnx"]

#: The most that a probability may differ; for regression, a value, as a share of the values' standard deviation.
TOLERANCE = 1e-4


class Failed(Exception):  # noqa: N818 - names are states, not suffixes
    """There is no ONNX model that could be compared; says why."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Answers of two models to `rows` rows.

    difference: the largest, of probabilities or values; labels: rows with another label, of which `ties` are ones whose
    two best classes are no further apart than twice the tolerance. limit: the largest difference allowed. what: was
    compared, "" where only labels could be.
    """

    what: str
    rows: int
    difference: float
    labels: int
    ties: int
    limit: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.limit and self.labels == self.ties

    def text(self) -> str:
        """As a sentence's end: how far the answers are apart."""
        parts: list[str] = []
        if self.what:
            parts.append(f"{self.what} differ by {self.difference:.2g} at most, {self.limit:.2g} is allowed")
        if self.what != "values":
            ties = f" ({self.ties} of them ties)" if self.ties else ""
            parts.append(f"{self.labels} of {self.rows} labels differ{ties}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Converted:
    content: bytes
    runner: Runner
    answers: Answers
    parity: Parity


def to_onnx(
    estimator: Any, schema: Schema, matrix: NDArray[np.generic], wanted: Answers, tolerance: float
) -> Converted:
    """The estimator as ONNX, and how far its answers to `matrix` are from those `wanted`. Raises `Failed`."""
    try:
        content, runner = _attempt(estimator, schema)
        answers = in_blocks(runner, matrix)
    # The converter and the runtime fail in many ways of their own.
    except Exception as error:
        raise Failed(first_line(error, type(error).__name__, 200)) from error
    return Converted(content, runner, answers, compare(schema, answers, wanted, tolerance))


def _attempt(estimator: Any, schema: Schema) -> tuple[bytes, Runner]:
    content = convert(
        estimator,
        schema,
        together=not schema.categories and not needs_frame(estimator),
        # Not needed where it follows from the probabilities, and texts cost time.
        labelled=not predicts_highest(estimator),
        scored=hasattr(estimator, "predict_proba"),
    )
    return content, OnnxModel(content, schema.classes or None).runner(schema)


def compare(schema: Schema, got: Answers, wanted: Answers, tolerance: float) -> Parity:
    """See `Parity`; NaN is as far as can be."""
    spread = float(np.std(wanted.prediction)) or 1.0 if schema.task == "regression" else 1.0
    with np.errstate(invalid="ignore"):
        differences = np.abs(got.values(schema) - wanted.values(schema))
    differ, what = np.zeros(len(wanted.prediction), dtype=np.bool_), "values"
    if schema.task != "regression":
        differ, what = got.prediction != wanted.prediction, "probabilities"
        if wanted.probabilities is None:
            differences, what = np.zeros((len(differ), 1)), ""
    return Parity(
        what=what,
        rows=len(differ),
        difference=float(np.max(np.where(np.isnan(differences), np.inf, differences))),
        labels=int(np.count_nonzero(differ)),
        ties=int(np.count_nonzero(differ & _tied(wanted, tolerance))),
        limit=tolerance * spread,
    )


def _tied(answers: Answers, tolerance: float) -> NDArray[np.bool_]:
    if answers.probabilities is None:
        return np.zeros(len(answers.prediction), dtype=np.bool_)
    best = np.sort(answers.probabilities, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] <= 2 * tolerance)
