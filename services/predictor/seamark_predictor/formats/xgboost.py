"""XGBoost models from their own JSON or UBJSON files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from seamark.errors import InvalidPackage
from seamark.package import Schema
from seamark.texts import first_line
from seamark_predictor.extras import need
from seamark_predictor.formats.outline import Outline, only_numbers
from seamark_predictor.formats.trial import death
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

__all__ = ["XgboostModel", "outline", "read", "serve"]

_BINARY = ("binary:logistic", "binary:logitraw", "binary:hinge")
_MULTICLASS = ("multi:softprob", "multi:softmax")
_REGRESSION = ("reg:", "count:", "survival:", "rank:")
_ALLOWED = ", ".join([*_BINARY, *_MULTICLASS, *(f"{prefix}*" for prefix in _REGRESSION)])


def read(content: bytes, file: str, form: str) -> Any:  # noqa: ARG001  # one signature for all formats
    """A booster; raises `InvalidPackage`."""
    library = need("xgboost.core", "xgboost", f"load {file}")._LIB._name
    if not content.rstrip().endswith(b"}"):
        # The library reads on beyond the end of a file that is cut off.
        raise InvalidPackage(f"Cannot load {file}: it is cut off; it does not end with '}}'")
    problem = death(content, library, "xgboost")
    if problem:
        raise InvalidPackage(f"Cannot load {file}: {problem}")
    booster = _booster(content, file)
    _is_servable(booster, file)
    return booster


def _booster(content: bytes, file: str) -> Any:
    xgboost = need("xgboost", "xgboost", f"load {file}")
    try:
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(content))
        # Files of another number of threads bring it along.
        booster.set_param({"nthread": 1})
    except Exception as error:
        # The library raises its own error and whatever its C++ stumbled over.
        raise InvalidPackage(f"Cannot load {file}: {_first_line(error)}") from error
    return booster


def _first_line(error: Exception) -> str:
    line = first_line(error, most=None)
    # It begins with the time and the place in XGBoost's source.
    return line.rpartition("] ")[2].partition(".cc:")[2].partition(": ")[2][:300] or line[:300]


def _learner(booster: Any) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _is_servable(booster: Any, file: str) -> None:
    learner = _learner(booster)
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in (*_BINARY, *_MULTICLASS) and not objective.startswith(_REGRESSION):
        raise InvalidPackage(f"Cannot use {file}: its objective is {objective}; allowed: {_ALLOWED}")
    if kind not in ("gbtree", "dart"):
        raise InvalidPackage(f"Cannot use {file}: its booster is {kind}; allowed: gbtree, dart")
    texts = [i for i, kind in enumerate(booster.feature_types or []) if kind == "c"]
    if texts:
        raise InvalidPackage(
            f"Cannot use {file}: feature {texts[0]} is categorical, and the file does not say which text is which "
            "number; put an encoder before the model, in a scikit-learn pipeline"
        )
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise InvalidPackage(f"Cannot use {file}: it predicts several values for each row; allowed: one")


def outline(booster: Any, file: str) -> Outline:  # noqa: ARG001  # one signature for all formats
    learner = _learner(booster)
    classes: tuple[int, ...] = ()
    if learner["objective"]["name"] in _BINARY:
        classes = (0, 1)
    elif learner["objective"]["name"] in _MULTICLASS:
        classes = tuple(range(int(learner["learner_model_param"]["num_class"])))
    return Outline(tuple(booster.feature_names or ()), booster.num_features(), classes)


def serve(booster: Any, schema: Schema, file: str, form: str) -> XgboostModel:
    own = outline(booster, file)
    if (own.width, own.task, len(own.classes)) != (len(schema.features), schema.task, len(schema.classes)):
        raise InvalidPackage(
            f"Cannot use {file}: it is {own.task} with {own.width} features and {len(own.classes)} classes; the schema "
            f"says {schema.task} with {len(schema.features)} and {len(schema.classes)}"
        )
    only_numbers(schema, file)
    return XgboostModel(booster, form)


class XgboostModel:
    """Takes features as numbers; NaN is missing. One thread per call."""

    def __init__(self, booster: Any, form: str) -> None:
        self.platform = f"xgboost_{form}"
        self.booster = booster
        self._objective: str = _learner(booster)["objective"]["name"]
        # Probabilities of softmax models are computed here: they themselves only tell the class.
        self._type = "margin" if self._objective in ("multi:softmax", "binary:logitraw") else "value"
        self._trees = _trees_used(booster)

    def predict(self, rows: Rows) -> Output:
        found = self.booster.inplace_predict(
            rows.numbers, iteration_range=self._trees, predict_type=self._type, validate_features=False
        )
        if self._objective in _MULTICLASS:
            found = softmax(found, axis=1) if self._type == "margin" else found
            return Output(np.argmax(found, axis=1).astype(np.float64), found)
        values = np.asarray(found).reshape(rows.count)
        if self._objective == "binary:hinge":
            return Output(values.astype(np.float64))
        if self._objective in _BINARY:
            return _binary(expit(values) if self._type == "margin" else values)
        return Output(values.astype(np.float64))


def _binary(scores: NDArray[np.floating[Any]]) -> Output:
    return Output((scores > 0.5).astype(np.float64), np.column_stack([1 - scores, scores]))


def _trees_used(booster: Any) -> tuple[int, int]:
    """All, but for scikit-learn's wrapper, which predicts with the best iteration where training stopped early."""
    attributes = booster.attributes()
    best = attributes.get("best_iteration")
    return (0, int(best) + 1) if best is not None and "scikit_learn" in attributes else (0, 0)
