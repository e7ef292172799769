"""Takes a scikit-learn pipeline apart: what it makes of rows, and which feature each column of that is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seamark.package import Schema
from seamark_predictor.explain_terms import Floats
from seamark_predictor.model import Model
from seamark_predictor.rows import Rows

__all__ = ["Boosted", "Structure", "Structured", "by_feature", "take_apart"]

#: For each column, the place of its feature in the schema; None where a column is made of several.
Origins = tuple[int, ...] | None


@runtime_checkable
class Structured(Protocol):
    """A model that is a scikit-learn estimator or pipeline."""

    @property
    def estimator(self) -> Any: ...

    def matrix(self, rows: Rows) -> Any:
        """What the estimator takes for these rows: rows x features in schema order, an array or a DataFrame."""


@runtime_checkable
class Boosted(Protocol):
    """A model that is a booster of xgboost or lightgbm, whose input is `Rows.numbers`."""

    @property
    def booster(self) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """estimator: the step that predicts; columns: its input for given rows; origins: one for each of its columns."""

    estimator: Any
    columns: Callable[[Rows], Floats]
    origins: tuple[int, ...]
    features: int


def take_apart(model: Model, schema: Schema) -> Structure | None:
    """None where the model shows no structure, or a column of its last step's input is made of several features."""
    if isinstance(model, Boosted):
        own = tuple(range(len(schema.features)))
        return Structure(model.booster, lambda rows: rows.numbers, own, len(own))
    return _pipeline_apart(model, schema) if isinstance(model, Structured) else None


def _pipeline_apart(model: Structured, schema: Schema) -> Structure | None:
    estimator = _chosen(model.estimator)
    count = len(schema.features)
    steps = [step for _, step in getattr(estimator, "steps", ())]
    last = _chosen(steps[-1]) if steps else estimator
    origins = _through(steps[:-1], tuple(range(count)))
    if origins is None or len(origins) != getattr(last, "n_features_in_", len(origins)):
        return None
    before = estimator[:-1] if len(steps) > 1 else None

    def columns(rows: Rows) -> Floats:
        matrix = model.matrix(rows)
        made = matrix if before is None else before.transform(matrix)
        return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)

    return Structure(last, columns, origins, count)


def by_feature(contributions: Floats, structure: Structure) -> Floats:
    """rows x columns into rows x features: columns made of one feature are added up."""
    found = np.zeros((structure.features, len(contributions)))
    np.add.at(found, np.array(structure.origins), contributions.T)
    return found.T


def _chosen(estimator: Any) -> Any:
    """What a search over settings found best; anything else as it is."""
    return getattr(estimator, "best_estimator_", estimator)


def _through(steps: Sequence[Any], origins: Origins) -> Origins:
    for step in steps:
        origins = None if origins is None else _made(step, origins)
    return origins


def _made(step: Any, origins: tuple[int, ...]) -> Origins:
    """The origins of the columns that a fitted step makes."""
    if step is None or isinstance(step, str):
        return () if step == "drop" else origins
    rule = _RULES.get(type(step).__name__) if type(step).__module__.startswith("sklearn.") else None
    if rule is not None:
        return rule(step, origins)
    return _selected(step, origins) if hasattr(step, "get_support") else None


def _each(step: Any, origins: tuple[int, ...]) -> Origins:  # noqa: ARG001  # one signature for all rules
    """One column out of each column in; a step that left some out shows in the width."""
    return origins


def _pipeline(step: Any, origins: tuple[int, ...]) -> Origins:
    return _through([part for _, part in step.steps], origins)


def _union(step: Any, origins: tuple[int, ...]) -> Origins:
    return _joined([_made(part, origins) for _, part in step.transformer_list])


def _by_columns(step: Any, origins: tuple[int, ...]) -> Origins:
    # Only what learned from a DataFrame can name columns, and then it knows the names of all.
    names = [str(name) for name in getattr(step, "feature_names_in_", ())]
    parts = [(part, _places(wanted, len(origins), names)) for _, part, wanted in step.transformers_]
    return _joined([_made(part, tuple(origins[i] for i in places)) for part, places in parts])


def _joined(parts: Sequence[Origins]) -> Origins:
    known = [part for part in parts if part is not None]
    return tuple(chain.from_iterable(known)) if len(known) == len(parts) else None


def _places(wanted: Any, count: int, names: Sequence[str]) -> list[int]:
    """The columns, of `count`, that a ColumnTransformer was told in any of its ways."""
    every = range(count)
    if isinstance(wanted, slice):
        start, stop = (names.index(end) if isinstance(end, str) else end for end in (wanted.start, wanted.stop))
        # Slices of names hold their end.
        return list(every[start : stop + 1 if isinstance(wanted.stop, str) else stop : wanted.step])
    listed = np.atleast_1d(wanted).tolist()
    if listed and all(isinstance(place, bool) for place in listed):
        return [i for i, chosen in enumerate(listed) if chosen]
    return [names.index(place) if isinstance(place, str) else every[int(place)] for place in listed]


def _selected(step: Any, origins: tuple[int, ...]) -> Origins:
    return tuple(origin for origin, kept in zip(origins, step.get_support(), strict=True) if kept)


def _function(step: Any, origins: tuple[int, ...]) -> Origins:
    """Ufuncs work number by number; other functions may do anything."""
    return origins if step.func is None or isinstance(step.func, np.ufunc) else None


def _imputed(step: Any, origins: tuple[int, ...]) -> Origins:
    # A column without any value to learn from is left out; its statistic is NaN, which alone differs from itself.
    kept = [
        origin
        for origin, value in zip(origins, step.statistics_.tolist(), strict=True)
        if step.keep_empty_features or value == value  # the test for NaN that texts pass, too
    ]
    flags = step.indicator_.features_.tolist() if step.indicator_ is not None else []
    return (*kept, *(origins[i] for i in flags))


def _flags(step: Any, origins: tuple[int, ...]) -> Origins:
    return tuple(origins[i] for i in step.features_.tolist())


def _one_hot(step: Any, origins: tuple[int, ...]) -> Origins:
    rare = getattr(step, "infrequent_categories_", None) or [None] * len(origins)
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(origins)
    widths = [
        len(values) - (len(few) - 1 if few is not None else 0) - (gone is not None)
        for values, few, gone in zip(step.categories_, rare, dropped, strict=True)
    ]
    return _repeated(origins, widths)


def _binned(step: Any, origins: tuple[int, ...]) -> Origins:
    return origins if step.encode == "ordinal" else _repeated(origins, step.n_bins_.tolist())


def _splines(step: Any, origins: tuple[int, ...]) -> Origins:
    return _repeated(origins, [step.n_features_out_ // len(origins)] * len(origins))


def _repeated(origins: tuple[int, ...], widths: Sequence[int]) -> tuple[int, ...]:
    return tuple(origin for origin, width in zip(origins, widths, strict=True) for _ in range(width))


_RULES: dict[str, Callable[[Any, tuple[int, ...]], Origins]] = {
    "Binarizer": _each,
    "ColumnTransformer": _by_columns,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
    "KBinsDiscretizer": _binned,
    "MaxAbsScaler": _each,
    "MinMaxScaler": _each,
    "MissingIndicator": _flags,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _each,
    "Pipeline": _pipeline,
    "PowerTransformer": _each,
    "QuantileTransformer": _each,
    "RobustScaler": _each,
    "SimpleImputer": _imputed,
    "SplineTransformer": _splines,
    "StandardScaler": _each,
    "TargetEncoder": _each,
}
