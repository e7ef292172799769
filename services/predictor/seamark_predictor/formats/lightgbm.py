"""LightGBM models from their own text files, and from skops files of its scikit-learn wrapper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from seamark.errors import InvalidPackage
from seamark.package import Schema
from seamark.texts import first_line
from seamark_predictor.extras import need
from seamark_predictor.formats.outline import Label, Outline, classes_of, only_numbers
from seamark_predictor.formats.trial import death
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

__all__ = ["LightgbmModel", "Trees", "outline", "read", "serve", "unwrap"]

_BINARY = ("binary",)
_MULTICLASS = ("multiclass", "multiclassova")
_REGRESSION = (
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "poisson",
    "quantile",
    "mape",
    "gamma",
    "tweedie",
    "cross_entropy",
    "cross_entropy_lambda",
    "lambdarank",
    "rank_xendcg",
)
_OBJECTIVE = re.compile(r"^objective=(\S+)", re.MULTILINE)
_CATEGORIES = re.compile(r"^pandas_categorical:(.*)$", re.MULTILINE)
#: The names that LightGBM makes up where it was given none.
_MADE_UP = re.compile(r"Column_\d+")


@dataclass(frozen=True, slots=True)
class Trees:
    """A booster and what its text says. classes: empty for regression."""

    booster: Any
    objective: str
    classes: tuple[Label, ...]


def read(content: bytes, file: str, form: str) -> Trees:  # noqa: ARG001  # one signature for all formats
    """Raises `InvalidPackage`."""
    library = need("lightgbm.basic", "lightgbm", f"load {file}")._LIB._name
    if b"\nend of trees" not in content:
        raise InvalidPackage(f"Cannot load {file}: it is cut off; 'end of trees' is missing")
    problem = death(content, library, "lightgbm")
    if problem:
        raise InvalidPackage(f"Cannot load {file}: {problem}")
    return _trees(_booster(content, file), content.decode("utf-8", "replace"), file)


def unwrap(estimator: Any, file: str) -> Trees:
    """The trees of an `LGBMClassifier` or `LGBMRegressor`."""
    trees = _trees(estimator.booster_, estimator.booster_.model_to_string(), file)
    if not trees.classes:
        return trees
    return Trees(trees.booster, trees.objective, classes_of(np.asarray(estimator.classes_).tolist(), file))


class _Quiet:
    """LightGBM prints to standard output unless it is given a logger."""

    def info(self, text: str) -> None: ...
    def warning(self, text: str) -> None: ...


def _booster(content: bytes, file: str) -> Any:
    lightgbm = need("lightgbm", "lightgbm", f"load {file}")
    lightgbm.register_logger(_Quiet())
    try:
        return lightgbm.Booster(model_str=content.decode("utf-8"))
    except Exception as error:
        # The library raises its own error and whatever its parser stumbled over.
        raise InvalidPackage(f"Cannot load {file}: {first_line(error)}") from error


def _trees(booster: Any, text: str, file: str) -> Trees:
    found = _OBJECTIVE.search(text)
    objective = found.group(1) if found else "none"
    allowed = (*_BINARY, *_MULTICLASS, *_REGRESSION)
    if objective not in allowed:
        raise InvalidPackage(f"Cannot use {file}: its objective is {objective}; allowed: {', '.join(allowed)}")
    categories = _CATEGORIES.search(text)
    if categories and categories.group(1).strip() not in ("null", "[]"):
        raise InvalidPackage(
            f"Cannot use {file}: it has categorical columns of a DataFrame; put an encoder before the model, in a "
            "scikit-learn pipeline"
        )
    classes = tuple(range(booster.num_model_per_iteration())) if objective in _MULTICLASS else ()
    return Trees(booster, objective, (0, 1) if objective in _BINARY else classes)


def outline(trees: Trees, file: str) -> Outline:  # noqa: ARG001  # one signature for all formats
    names = tuple(trees.booster.feature_name())
    if all(_MADE_UP.fullmatch(name) for name in names):
        names = ()
    return Outline(names, trees.booster.num_feature(), trees.classes)


def serve(trees: Trees, schema: Schema, file: str, form: str) -> LightgbmModel:
    width = trees.booster.num_feature()
    if width != len(schema.features) or len(trees.classes) != len(schema.classes):
        raise InvalidPackage(
            f"Cannot use {file}: it has {width} features and {len(trees.classes)} classes; the schema says "
            f"{len(schema.features)} and {len(schema.classes)}"
        )
    only_numbers(schema, file)
    return LightgbmModel(trees, form)


class LightgbmModel:
    """Takes features as numbers; NaN is missing. One thread per call."""

    def __init__(self, trees: Trees, form: str) -> None:
        self.platform = f"lightgbm_{form}"
        self.booster = trees.booster
        self._binary = trees.objective in _BINARY
        self._classes = len(trees.classes)

    def predict(self, rows: Rows) -> Output:
        found = np.asarray(self.booster.predict(rows.numbers, num_threads=1))
        if self._binary:
            return Output((found > 0.5).astype(np.float64), np.column_stack([1 - found, found]))
        if self._classes:
            return Output(np.argmax(found, axis=1).astype(np.float64), found)
        return Output(found.astype(np.float64).reshape(rows.count))
