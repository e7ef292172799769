"""Contributions to a linear model: coefficient times distance from the mean of the background. Exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from seamark_predictor.explain_background import Background
from seamark_predictor.explain_columns import Structure, by_feature
from seamark_predictor.explain_terms import Deadline, Floats, Margins
from seamark_predictor.rows import Rows

__all__ = ["Linear", "is_linear"]

#: Linear estimators outside `sklearn.linear_model`.
_ELSEWHERE = frozenset({"LinearDiscriminantAnalysis", "LinearSVC", "LinearSVR"})


def is_linear(estimator: Any) -> bool:
    kind = type(estimator)
    of_sklearn = kind.__module__.startswith("sklearn.linear_model.") or (
        kind.__module__.startswith("sklearn.") and kind.__name__ in _ELSEWHERE
    )
    return of_sklearn and hasattr(estimator, "coef_") and hasattr(estimator, "intercept_")


class Linear:
    """A `Method`. The sum over the columns of a feature is its Shapley value: columns of features do not interact."""

    name = "linear"

    def __init__(self, structure: Structure, background: Background) -> None:
        self.background = background.text
        self._structure = structure
        columns = len(structure.origins)
        self._weights: Floats = np.asarray(structure.estimator.coef_, dtype=np.float64).reshape(-1, columns).T
        self._mean: Floats = structure.columns(background.rows).mean(axis=0)
        self._base: Floats = np.asarray(structure.estimator.intercept_).reshape(-1) + self._mean @ self._weights

    def margins(self, rows: Rows, deadline: Deadline) -> Margins:
        deadline.check()
        distance = self._structure.columns(rows) - self._mean
        parts = [by_feature(distance * weights, self._structure) for weights in self._weights.T]
        return Margins(self._base, np.stack(parts, axis=2))
