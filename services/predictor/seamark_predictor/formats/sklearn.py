"""scikit-learn models, from skops files or, where the user trusts them, pickles."""

from __future__ import annotations

import io
import warnings
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from skops import io as skops

from seamark.errors import InvalidPackage
from seamark.package import Schema
from seamark_predictor import logs
from seamark_predictor.model import Output
from seamark_predictor.package import Package
from seamark_predictor.rows import Rows

__all__ = ["TRUSTED", "load"]

#: Types that skops does not trust by itself and we do: they hold arrays and numbers and run no code when restored.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)

#: Classifiers whose `predict` is by definition the class of highest probability: one call serves both.
_PREDICTS_HIGHEST = frozenset(
    {"DecisionTreeClassifier", "ExtraTreesClassifier", "GaussianNB", "LogisticRegression", "RandomForestClassifier"}
)


def load(package: Package) -> SklearnModel:
    file = package.manifest.model.file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if package.manifest.model.format == "skops":
                estimator = _read_skops(package.model, file)
            else:
                estimator = joblib.load(io.BytesIO(package.model))
        except InvalidPackage:
            raise
        except Exception as error:
            # skops and pickle raise whatever the damaged file makes them stumble over.
            raise InvalidPackage(f"Cannot load {file}: {type(error).__name__}: {_first_line(error)}") from error
    for text in sorted({_first_line(warning.message) for warning in caught}):
        logs.event("model_warning", level=30, file=file, warning=text)
    return SklearnModel(estimator, package.manifest.schema, package.manifest.model.format)


def _read_skops(content: bytes, file: str) -> Any:
    untrusted = sorted(set(skops.get_untrusted_types(data=content)) - TRUSTED)
    if untrusted:
        raise InvalidPackage(f"Cannot load {file}: it holds types that are not trusted: {', '.join(untrusted)[:500]}")
    return skops.loads(content, trusted=sorted(TRUSTED))


def _first_line(problem: object) -> str:
    return (str(problem).strip().splitlines() or ["no reason given"])[0][:300]


class SklearnModel:
    """An estimator or pipeline that takes the schema's features as the columns of one array."""

    def __init__(self, estimator: Any, schema: Schema, form: str) -> None:
        self.platform = f"sklearn_{form}"
        self._estimator = estimator
        self._schema = schema
        self._numeric = not schema.categories
        self._classes: Any = None
        names = getattr(estimator, "feature_names_in_", None)
        if names is not None:
            _order_matches("features", [str(name) for name in names], [f.name for f in schema.features])
            # The values come as an array in this very order; scikit-learn would warn on each request.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
        if schema.task != "regression":
            self._classes = np.asarray(getattr(estimator, "classes_", []))
            found = [schema.label_value(label) for label in self._classes.tolist()]
            if found != list(range(len(schema.classes))):
                _order_matches("classes", self._classes.tolist(), list(schema.classes))
        self._scored = self._classes is not None and hasattr(estimator, "predict_proba")
        self._highest = self._scored and type(_last(estimator)).__name__ in _PREDICTS_HIGHEST

    def predict(self, rows: Rows) -> Output:
        x = rows.numbers if self._numeric else self._mixed(rows)
        probabilities = np.asarray(self._estimator.predict_proba(x)) if self._scored else None
        if self._highest and probabilities is not None:
            return Output(np.argmax(probabilities, axis=1).astype(np.float64), probabilities)
        answer = np.asarray(self._estimator.predict(x))
        if self._classes is None:
            return Output(answer.astype(np.float64).reshape(rows.count))
        # scikit-learn keeps classes_ sorted.
        return Output(np.searchsorted(self._classes, answer).astype(np.float64), probabilities)

    def _mixed(self, rows: Rows) -> NDArray[np.object_]:
        x = np.empty((rows.count, len(self._schema.features)), dtype=object)
        numbers = iter(rows.numbers.T)
        categories = iter(rows.categories)
        known = set(self._schema.categories)
        for i, feature in enumerate(self._schema.features):
            x[:, i] = next(categories) if feature.name in known else next(numbers)
        return x


def _last(estimator: Any) -> Any:
    """The step of a pipeline that predicts."""
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _order_matches(what: str, found: list[Any], wanted: list[Any]) -> None:
    if found != wanted:
        raise InvalidPackage(
            f"Cannot use the model: its {what} are {_shown(found)}; seamark.json says {_shown(wanted)} in this order"
        )


def _shown(values: list[Any]) -> str:
    return ", ".join(map(str, values))[:200] or "none"
