"""The arithmetic of common scikit-learn models without scikit-learn's checks, which cost more than the arithmetic.

The dataplane has already checked what scikit-learn would check again in each step and in each tree. A shortcut serves
only where it gives the estimator's own answers, to the last bit, on rows made up for the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils.extmath import softmax

__all__ = ["shortcut"]

Array = NDArray[np.floating[Any]]
#: rows x features without NaN -> rows x classes probabilities, or rows values for regression.
Step = Callable[[Array], Array]

_LINEAR = frozenset({"ElasticNet", "Lasso", "LinearRegression", "Ridge"})
_TREES = frozenset({"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"})
_FORESTS = frozenset({"ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor"})
_ROWS = 32


def shortcut(estimator: Any, width: int) -> Step | None:
    """None where the model is of another kind, or the answers differ."""
    try:
        steps = _steps(estimator)
        return steps if steps is not None and _agrees(steps, estimator, width) else None
    except Exception:
        # Attributes of other versions of scikit-learn; the estimator itself serves then.
        return None


def _steps(estimator: Any) -> Step | None:
    chain = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    found = [_transform(step) for step in chain[:-1]]
    last = _predict(chain[-1])
    transforms = [step for step in found if step is not None]
    if last is None or len(transforms) < len(found):
        return None

    def run(x: Array) -> Array:
        for transform in transforms:
            x = transform(x)
        return last(x)

    return run


def _is_sklearn(step: Any) -> bool:
    """A subclass may do anything; its own module tells."""
    return type(step).__module__.startswith("sklearn.")


def _transform(step: Any) -> Step | None:
    if isinstance(step, str) and step == "passthrough":
        return lambda x: x
    if not _is_sklearn(step):
        return None
    kind = type(step).__name__
    if kind == "StandardScaler":
        return _standard(step)
    if kind == "MinMaxScaler" and not step.clip:
        return lambda x: x * step.scale_ + step.min_
    if kind == "MaxAbsScaler" and not getattr(step, "clip", False):
        return lambda x: x / step.scale_
    if kind == "SimpleImputer" and _imputes_only(step):
        return lambda x: x
    return None


def _standard(step: Any) -> Step:
    mean = step.mean_ if step.with_mean else 0.0
    if not step.with_std:
        return lambda x: x - mean
    return lambda x: (x - mean) / step.scale_


def _imputes_only(step: Any) -> bool:
    """Changes nothing but NaN, of which there is none, and drops no column."""
    missing = isinstance(step.missing_values, float) and np.isnan(step.missing_values)
    return bool(missing and not step.add_indicator and not np.isnan(step.statistics_).any())


def _predict(step: Any) -> Step | None:
    kind = type(step).__name__
    if not _is_sklearn(step):
        return None
    if kind == "LogisticRegression":
        return _logistic(step)
    if kind in _LINEAR and np.ndim(step.coef_) == 1:
        return lambda x: x @ step.coef_ + step.intercept_
    if kind in _TREES and step.n_outputs_ == 1:
        return _forest([step], classes=len(getattr(step, "classes_", ())))
    if kind in _FORESTS and step.n_outputs_ == 1:
        return _forest(step.estimators_, classes=len(getattr(step, "classes_", ())))
    return None


def _logistic(step: Any) -> Step:
    weights, intercept = step.coef_.T, step.intercept_
    if len(step.classes_) > 2:
        return lambda x: softmax(x @ weights + intercept, copy=False)

    def binary(x: Array) -> Array:
        score = expit((x @ weights + intercept).reshape(-1))
        return np.stack([1 - score, score], axis=1)

    return binary


def _forest(estimators: list[Any], *, classes: int) -> Step:
    """The mean of the trees, added in their order."""
    trees = [estimator.tree_ for estimator in estimators]

    def run(x: Array) -> Array:
        single = np.ascontiguousarray(x, dtype=np.float32)
        total = np.zeros((len(x), classes) if classes else len(x))
        for tree in trees:
            found = tree.predict(single)
            total += found[:, :classes] if classes else found[:, 0]
        return total / len(trees) if len(trees) > 1 else total

    return run


def _agrees(steps: Step, estimator: Any, width: int) -> bool:
    random = np.random.default_rng(0)
    x = random.normal(size=(_ROWS, width)) * np.logspace(-3, 4, _ROWS).reshape(-1, 1)
    own = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    # One row at a time as well: matrix and vector products may round differently.
    return np.array_equal(steps(x), own(x)) and np.array_equal(steps(x[:1]), own(x[:1]))
