"""A scikit-learn model that somebody already has: its facts, and its answers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidPackage, UserError
from seamark.package import Schema
from seamark_trainer.packaging.existing import Answers, class_indices
from seamark_trainer.packaging.sklearn_input import known_types, rows_for, takes_documents

__all__ = ["Estimator", "EstimatorRunner", "last_step", "predicts_highest"]

#: Classifiers whose `predict` is by definition the class of highest probability.
_PREDICTS_HIGHEST = frozenset(
    {
        "DecisionTreeClassifier",
        "ExtraTreesClassifier",
        "GaussianNB",
        "HistGradientBoostingClassifier",
        "LogisticRegression",
        "RandomForestClassifier",
    }
)
_NOT_PREDICTORS = "neither a classifier nor a regressor of scikit-learn"


class Estimator:
    """An `Existing` model; raises `InvalidPackage` for what is not one that can be packaged.

    signature: NUMBER or CATEGORY by feature name, in order, as something beside the model says.
    """

    def __init__(self, estimator: Any, signature: Mapping[str, str]) -> None:
        _is_fitted_predictor(estimator)
        self.estimator = estimator
        self._signature = signature
        names = getattr(estimator, "feature_names_in_", None)
        if names is not None:
            self.names: tuple[str, ...] | None = tuple(str(name) for name in names)
        else:
            self.names = tuple(signature) or None
        count = 1 if takes_documents(estimator) else getattr(estimator, "n_features_in_", None)
        self.count = None if count is None else int(count)
        self.classes: tuple[Any, ...] | None = _classes(estimator)

    def types(self, names: Sequence[str]) -> Mapping[str, str]:
        return {**known_types(self.estimator, names), **self._signature}

    def runner(self, schema: Schema) -> EstimatorRunner:
        return EstimatorRunner(self.estimator, schema)


def _is_fitted_predictor(estimator: Any) -> None:
    from sklearn.base import is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(estimator).__name__
    if not hasattr(estimator, "__sklearn_tags__") or not hasattr(estimator, "predict"):
        raise InvalidPackage(f"it holds an object of type {kind}, {_NOT_PREDICTORS}")
    if not is_classifier(estimator) and not is_regressor(estimator):
        raise InvalidPackage(f"{kind} is {_NOT_PREDICTORS}")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InvalidPackage(f"{kind} is not fitted") from error


def _classes(estimator: Any) -> tuple[Any, ...]:
    from sklearn.base import is_classifier

    if not is_classifier(estimator):
        return ()
    found = getattr(estimator, "classes_", None)
    if not isinstance(found, np.ndarray) or found.ndim != 1:
        raise InvalidPackage("it answers several labels for each row; a package holds a model of one")
    classes = tuple(found.tolist())
    for value in classes:
        if not isinstance(value, str | int | float):
            raise InvalidPackage(f"its class {value!r} is neither a text nor a number")
    if len(classes) < 2:
        raise InvalidPackage(f"it knows {len(classes)} class; at least two are needed")
    return classes


def last_step(estimator: Any) -> Any:
    """The step of a pipeline that predicts."""
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def predicts_highest(estimator: Any) -> bool:
    """Is its label, by definition, the class of highest probability?"""
    return hasattr(estimator, "predict_proba") and type(last_step(estimator)).__name__ in _PREDICTS_HIGHEST


class EstimatorRunner:
    """A `Runner`."""

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self._estimator = estimator
        self._schema = schema
        self._scored = schema.task != "regression" and hasattr(estimator, "predict_proba")
        self._highest = predicts_highest(estimator)

    def answers(self, matrix: NDArray[np.generic]) -> Answers:
        """See `Runner`; raises `UserError` for answers of a wrong shape."""
        rows = rows_for(self._estimator, self._schema, matrix)
        probabilities = None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            if self._scored:
                probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=np.float64)
            if self._highest and probabilities is not None:
                return Answers(np.argmax(probabilities, axis=1).astype(np.float64), probabilities)
            predicted = np.asarray(self._estimator.predict(rows))
        if predicted.size != len(matrix):
            raise UserError(f"it answers {predicted.size} values for {len(matrix)} rows; one for each is needed")
        predicted = predicted.reshape(len(matrix))
        if self._schema.task == "regression":
            return Answers(predicted.astype(np.float64))
        return Answers(class_indices(predicted, self._schema.classes), probabilities)
