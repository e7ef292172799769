"""scikit-learn models, from skops files or, where the user trusts them, pickles."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from skops import io as skops

from seamark.errors import InvalidPackage
from seamark.package import Schema
from seamark.skops_types import TRUSTED
from seamark.texts import first_line
from seamark_predictor import logs
from seamark_predictor.extras import need
from seamark_predictor.formats.outline import Label, Outline, classes_of, made_up
from seamark_predictor.formats.sklearn_columns import framer, needs_frame, takes_documents, text_columns
from seamark_predictor.formats.sklearn_fast import shortcut
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

__all__ = ["TRUSTED", "SklearnModel", "outline", "read", "read_skops", "serve"]

#: Classifiers whose `predict` is by definition the class of highest probability: one call serves both.
_PREDICTS_HIGHEST = frozenset(
    {"DecisionTreeClassifier", "ExtraTreesClassifier", "GaussianNB", "LogisticRegression", "RandomForestClassifier"}
)


def read(content: bytes, file: str, form: str) -> Any:
    """An estimator; raises `InvalidPackage`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = read_skops(content, file) if form == "skops" else joblib.load(io.BytesIO(content))
        except InvalidPackage:
            raise
        except Exception as error:
            # skops and pickle raise whatever the damaged file makes them stumble over.
            raise InvalidPackage(f"Cannot load {file}: {type(error).__name__}: {first_line(error)}") from error
    for text in sorted({first_line(warning.message) for warning in caught}):
        logs.event("model_warning", level=30, file=file, warning=text)
    return estimator


def serve(estimator: Any, schema: Schema, file: str, form: str) -> SklearnModel:
    """Raises `InvalidPackage`."""
    if needs_frame(estimator):
        need("pandas", "pandas", f"use {file}, which picks columns of a DataFrame by name")
    return SklearnModel(estimator, schema, form)


def outline(estimator: Any, file: str) -> Outline:
    """Raises `InvalidPackage` for what is neither a classifier nor a regressor, or predicts several values at once."""
    if not (is_classifier(estimator) or is_regressor(estimator)):
        kind = type(_last(estimator)).__name__
        raise InvalidPackage(f"Cannot use {file}: it is a {kind}; a classifier or a regressor is needed")
    classes: tuple[Label, ...] = ()
    if is_classifier(estimator):
        known = estimator.classes_
        if isinstance(known, list):
            raise InvalidPackage(f"Cannot use {file}: it predicts {len(known)} labels for each row; allowed: one")
        classes = classes_of(np.asarray(known).tolist(), file)
    if takes_documents(estimator):
        return Outline(("text",), 1, classes, {"text": ()})
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        raise InvalidPackage(f"Cannot use {file}: it does not say how many features it takes (n_features_in_)")
    return Outline(names, int(width), classes, text_columns(estimator, names or made_up(int(width))))


def read_skops(content: bytes, file: str, trusted: frozenset[str] = TRUSTED) -> Any:
    """An object that holds no types but skops' own and the trusted ones; else `InvalidPackage`."""
    untrusted = sorted(set(skops.get_untrusted_types(data=content)) - trusted)
    if untrusted:
        raise InvalidPackage(f"Cannot load {file}: it holds types that are not trusted: {', '.join(untrusted)[:500]}")
    return skops.loads(content, trusted=sorted(trusted))


class SklearnModel:
    """An estimator or pipeline that takes the schema's features as columns: of an array, or of a DataFrame by name."""

    def __init__(self, estimator: Any, schema: Schema, form: str) -> None:
        self.platform = f"sklearn_{form}"
        self.estimator = estimator
        self._schema = schema
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
        self._input = self._how_to_give()
        self._shortcut = None
        if self._input is _numbers and (self._highest or self._classes is None):
            self._shortcut = shortcut(estimator, len(schema.features))

    def predict(self, rows: Rows) -> Output:
        if self._shortcut is not None and not np.isnan(rows.numbers).any():
            return self._output(self._shortcut(rows.numbers), None, rows.count)
        x = self.matrix(rows)
        if self._highest:
            return self._output(self.estimator.predict_proba(x), None, rows.count)
        probabilities = np.asarray(self.estimator.predict_proba(x)) if self._scored else None
        return self._output(self.estimator.predict(x), probabilities, rows.count)

    def matrix(self, rows: Rows) -> Any:
        """The rows as the estimator takes them."""
        return self._input(rows)

    def _output(self, answer: Any, probabilities: NDArray[Any] | None, count: int) -> Output:
        """answer: the probabilities where they decide, else the labels or values."""
        answer = np.asarray(answer)
        if self._highest:
            return Output(np.argmax(answer, axis=1).astype(np.float64), answer)
        if answer.size != count:
            raise ValueError(f"it predicts {answer.size // count} values for each row; allowed: one")
        if self._classes is None:
            return Output(answer.astype(np.float64).reshape(count))
        # scikit-learn keeps classes_ sorted.
        return Output(np.searchsorted(self._classes, answer.reshape(count)).astype(np.float64), probabilities)

    def _how_to_give(self) -> Callable[[Rows], Any]:
        if takes_documents(self.estimator):
            return lambda rows: rows.categories[0]
        if needs_frame(self.estimator):
            return framer(self._schema)
        return self._mixed if self._schema.categories else _numbers

    def _mixed(self, rows: Rows) -> NDArray[np.object_]:
        x = np.empty((rows.count, len(self._schema.features)), dtype=object)
        numbers = iter(rows.numbers.T)
        categories = iter(rows.categories)
        known = set(self._schema.categories)
        for i, feature in enumerate(self._schema.features):
            x[:, i] = next(categories) if feature.name in known else next(numbers)
        return x


def _numbers(rows: Rows) -> NDArray[np.float64]:
    return rows.numbers


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
