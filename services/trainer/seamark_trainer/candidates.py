"""The models that are tried, as scikit-learn pipelines that ONNX can express."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.package import CATEGORY, NUMBER, Schema
from seamark_trainer.dataset import Dataset

__all__ = ["Fitted", "defaults", "fit", "known"]

#: Categories that get a column of their own; rarer ones count as unknown.
MAX_CATEGORIES = 50

_CLASSIFIERS = ("logistic", "forest", "boosting")
_REGRESSORS = ("linear", "forest", "boosting")


def known(task: str) -> tuple[str, ...]:
    """Names of candidates for a task."""
    return _REGRESSORS if task == "regression" else _CLASSIFIERS


def defaults(task: str) -> tuple[str, ...]:
    return ("linear", "boosting") if task == "regression" else ("logistic", "boosting")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted candidate. Classifiers are fitted on class indices, so their scores are in the schema's order."""

    name: str
    schema: Schema
    estimator: Any
    hyperparameters: Mapping[str, Any]

    def answers(self, matrix: NDArray[np.generic]) -> NDArray[np.float64]:
        """rows x classes probabilities; for regression rows x 1 values."""
        if self.schema.task == "regression":
            return np.asarray(self.estimator.predict(matrix), dtype=np.float64).reshape(-1, 1)
        return np.asarray(self.estimator.predict_proba(matrix), dtype=np.float64)


def fit(name: str, data: Dataset, seed: int) -> Fitted:
    """The candidate fitted on all rows of `data`; the same rows and seed give the same model."""
    from sklearn.pipeline import make_pipeline

    regression = data.schema.task == "regression"
    parameters = _PARAMETERS[name]
    estimator = make_pipeline(
        *_preparation(data, scaled=name in ("logistic", "linear")), _MAKERS[name](regression, seed)
    )
    estimator.fit(data.matrix(), data.labels if regression else data.labels.astype(np.int64))
    return Fitted(name, data.schema, estimator, {"candidate": name, "seed": seed, **parameters})


_PARAMETERS: dict[str, dict[str, Any]] = {
    "logistic": {"C": 1.0, "max_iter": 1000},
    "linear": {"alpha": 1.0},
    "forest": {"n_estimators": 100, "min_samples_leaf": 3},
    "boosting": {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 31},
}


def _logistic(_: bool, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**_PARAMETERS["logistic"], random_state=seed)


def _linear(_: bool, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(**_PARAMETERS["linear"], random_state=seed)


def _forest(regression: bool, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    make = RandomForestRegressor if regression else RandomForestClassifier
    return make(**_PARAMETERS["forest"], random_state=seed, n_jobs=1)


def _boosting(regression: bool, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    return make(**_PARAMETERS["boosting"], random_state=seed, early_stopping=False)


_MAKERS: dict[str, Callable[[bool, int], Any]] = {
    "logistic": _logistic,
    "linear": _linear,
    "forest": _forest,
    "boosting": _boosting,
}


def _preparation(data: Dataset, *, scaled: bool) -> list[Any]:
    """Steps before the estimator: fill what is missing, spread categories over columns, scale."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = data.schema.features
    if not data.categories:
        fill = [_imputer()] if any(feature.nullable for feature in features) else []
        return [*fill, *([StandardScaler()] if scaled else [])]
    spread = OneHotEncoder(
        categories=[_frequent(values) for values in data.categories], handle_unknown="ignore", sparse_output=False
    )
    numbers = [i for i, feature in enumerate(features) if feature.type == NUMBER]
    categories = [i for i, feature in enumerate(features) if feature.type == CATEGORY]
    # Always filled here: it also turns the mixed matrix's objects into numbers.
    parts = [("numbers", _imputer(), numbers)] if numbers else []
    return [ColumnTransformer([*parts, ("categories", spread, categories)]), *([StandardScaler()] if scaled else [])]


def _imputer() -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer(strategy="median", keep_empty_features=True)


def _frequent(values: Sequence[str | None]) -> list[str]:
    """Known categories, at least one. Missing is none of them: like an unknown one, it sets no column."""
    counts = Counter(value for value in values if value)
    return sorted(sorted(counts, key=lambda value: (-counts[value], value))[:MAX_CATEGORIES]) or ["?"]
