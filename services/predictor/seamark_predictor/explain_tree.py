"""Contributions to trees: TreeSHAP of shap for scikit-learn's, and what xgboost and lightgbm compute themselves.

All three weigh the two sides of a split that a row does not reach by the training rows that went there
(`tree_path_dependent`), so no background is needed. Columns made of one feature are added up afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from seamark_predictor.explain_columns import Structure, by_feature
from seamark_predictor.explain_terms import Deadline, Floats, Margins
from seamark_predictor.rows import Rows

__all__ = ["Tree", "is_tree"]

_SKLEARN = frozenset(
    f"{kind}{task}"
    for kind in ("DecisionTree", "ExtraTree", "ExtraTrees", "GradientBoosting", "HistGradientBoosting", "RandomForest")
    for task in ("Classifier", "Regressor")
)
#: Leaves times depth of the trees that shap walks in one call, 20 ns each. It holds the interpreter's lock meanwhile,
#: and with it every other request, so large forests are walked in parts.
_PART = 500_000
#: Rows in one call to xgboost and lightgbm; between calls the deadline is looked at.
_ROWS = 10

#: rows x columns into the base, and rows x columns x outputs.
_Contributions = Callable[[Floats, Deadline], tuple[Floats, Floats]]


def is_tree(estimator: Any) -> bool:
    return _library(estimator) is not None


def _library(estimator: Any) -> str | None:
    kind = type(estimator)
    library = kind.__module__.partition(".")[0]
    if library == "sklearn":
        return library if kind.__name__ in _SKLEARN else None
    return library if library in ("xgboost", "lightgbm") else None


class Tree:
    """A `Method`; raises `ModuleNotFoundError` where shap is needed and missing."""

    name = "tree"
    background = "the training rows, as each tree counted them"

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        make = {"sklearn": _shap, "xgboost": _xgboost, "lightgbm": _lightgbm}
        self._contributions = make[_library(structure.estimator) or ""](structure.estimator)

    def margins(self, rows: Rows, deadline: Deadline) -> Margins:
        base, contributions = self._contributions(self._structure.columns(rows), deadline)
        outputs = np.moveaxis(contributions, 2, 0)
        return Margins(base, np.stack([by_feature(output, self._structure) for output in outputs], axis=2))


def _shap(estimator: Any) -> _Contributions:
    tree_explainer = import_module("shap").TreeExplainer
    parts = [
        (share, tree_explainer(part, feature_perturbation="tree_path_dependent")) for share, part in _parts(estimator)
    ]
    base = sum(share * np.atleast_1d(np.asarray(part.expected_value)) for share, part in parts)

    def one(row: Floats, deadline: Deadline) -> Floats:
        total: Floats = np.zeros(())
        for share, part in parts:
            deadline.check()
            found = np.asarray(part.shap_values(row, check_additivity=False))
            total = total + share * found.reshape(1, row.shape[1], -1)
        return total

    def contributions(columns: Floats, deadline: Deadline) -> tuple[Floats, Floats]:
        return np.asarray(base), np.concatenate([one(columns[i : i + 1], deadline) for i in range(len(columns))])

    return contributions


def _parts(estimator: Any) -> Iterator[tuple[float, Any]]:
    """The estimator, or a forest's trees in parts with the share that each has in the whole."""
    trees = getattr(estimator, "estimators_", None)
    if trees is None or not type(estimator).__name__.startswith(("RandomForest", "ExtraTrees")):
        yield 1.0, estimator
        return
    sizes = np.cumsum([tree.tree_.n_leaves * max(1, tree.tree_.max_depth) for tree in trees])
    for places in np.split(np.arange(len(trees)), np.flatnonzero(np.diff(sizes // _PART)) + 1):
        part = copy.copy(estimator)
        part.estimators_ = [trees[i] for i in places]
        yield len(places) / len(trees), part


def _xgboost(estimator: Any) -> _Contributions:
    xgboost = import_module("xgboost")
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
    best = booster.attributes().get("best_iteration")
    # Only the scikit-learn wrapper leaves out what came after the best iteration; it marks the files it writes.
    stops = best is not None and (booster is not estimator or "scikit_learn" in booster.attributes())
    rounds = (0, int(best) + 1 if stops else 0)
    missing = getattr(estimator, "missing", np.nan)

    def one(columns: Floats) -> Floats:
        data = xgboost.DMatrix(columns, missing=missing, feature_names=booster.feature_names, nthread=1)
        found = booster.predict(data, pred_contribs=True, iteration_range=rounds)
        return np.asarray(found, dtype=np.float64).reshape(len(columns), -1, columns.shape[1] + 1)

    return _in_calls(one)


def _lightgbm(estimator: Any) -> _Contributions:
    booster = getattr(estimator, "booster_", estimator)

    def one(columns: Floats) -> Floats:
        found = booster.predict(columns, pred_contrib=True, num_threads=1)
        return np.asarray(found).reshape(len(columns), -1, columns.shape[1] + 1)

    return _in_calls(one)


def _in_calls(one: Callable[[Floats], Floats]) -> _Contributions:
    """one: rows x outputs x (columns, then the base), as both libraries order them."""

    def contributions(columns: Floats, deadline: Deadline) -> tuple[Floats, Floats]:
        found = []
        for i in range(0, len(columns), _ROWS):
            deadline.check()
            found.append(one(columns[i : i + _ROWS]))
        joined = np.concatenate(found).transpose(0, 2, 1)
        return joined[0, -1], joined[:, :-1]

    return contributions
