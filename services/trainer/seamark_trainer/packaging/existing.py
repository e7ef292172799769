"""What a model that somebody already has is to the rest of packaging, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seamark.package import Schema

__all__ = ["Answers", "Existing", "Runner", "class_indices"]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """prediction: rows values, the class index (NaN for none of the classes) or the regression value.

    probabilities: rows x classes in the schema's order, None where the model gives none.
    """

    prediction: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None = None

    def logged(self, schema: Schema) -> NDArray[np.float64]:
        """rows x len(schema.outputs), as a predictor logs them (see `Schema`)."""
        if schema.task == "regression":
            return self.prediction.reshape(-1, 1)
        score = np.full(len(self.prediction), np.nan)
        if self.probabilities is not None:
            score = self.probabilities[:, 1] if schema.task == "binary" else self.probabilities.max(axis=1)
        return np.column_stack([self.prediction, score])

    def scores(self, schema: Schema) -> NDArray[np.float64]:
        """rows x classes probabilities, 1 for the predicted class where there are none; for regression rows x 1."""
        if schema.task == "regression":
            return self.prediction.reshape(-1, 1)
        if self.probabilities is not None:
            return self.probabilities
        return np.asarray(self.prediction.reshape(-1, 1) == np.arange(len(schema.classes)), dtype=np.float64)

    def values(self, schema: Schema) -> NDArray[np.float64]:
        """rows x n, every number that was answered."""
        return self.prediction.reshape(-1, 1) if self.probabilities is None else self.scores(schema)

    def are_finite(self, schema: Schema) -> NDArray[np.bool_]:
        """Which rows were answered in full."""
        return np.asarray(np.isfinite(self.prediction) & np.isfinite(self.values(schema)).all(axis=1))


class Runner(Protocol):
    """A model that is ready to answer."""

    def answers(self, matrix: NDArray[np.generic]) -> Answers:
        """matrix: rows x features as `Dataset.matrix` makes it. May raise anything that the model raises."""
        ...


class Existing(Protocol):
    """A model that was opened. Its facts are None where the model itself does not say.

    names: its features in order; count: how many; classes: in score order, () for regression.
    """

    names: tuple[str, ...] | None
    count: int | None
    classes: tuple[Any, ...] | None

    def types(self, names: Sequence[str]) -> Mapping[str, str]:
        """NUMBER or CATEGORY of those of its features, called `names` in order, of which the model tells."""
        ...

    def runner(self, schema: Schema) -> Runner:
        """Raises `UserError` where the model cannot take this schema."""
        ...


def class_indices(labels: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.float64]:
    """The index of each predicted label among the classes, NaN where it is none of them.

    A label counts as itself and as its text: ONNX has integers and texts only.
    """
    index: dict[Any, int] = {}
    for i, known in enumerate(classes):
        index |= {str(known): i, known: i}
    return np.array([index.get(label, np.nan) for label in labels.tolist()], dtype=np.float64)
