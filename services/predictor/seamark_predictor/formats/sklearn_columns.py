"""Which columns a scikit-learn pipeline takes, and how: as an array, as a DataFrame by name, or as documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from seamark.package import Schema
from seamark_predictor.rows import Rows

__all__ = ["framer", "needs_frame", "takes_documents", "text_columns"]


def framer(schema: Schema) -> Callable[[Rows], Any]:
    """Rows as a DataFrame. Missing texts are NaN, as pandas itself reads them from a file."""
    pandas = import_module("pandas")
    names = [feature.name for feature in schema.features]

    def frame(rows: Rows) -> Any:
        columns: dict[str, Any] = dict(zip(schema.numbers, rows.numbers.T, strict=True))
        for name, texts in zip(schema.categories, rows.categories, strict=True):
            values = np.empty(rows.count, dtype=object)
            values[:] = [np.nan if text is None else text for text in texts]
            columns[name] = values
        return pandas.DataFrame({name: columns[name] for name in names}, copy=False)

    return frame


def takes_documents(estimator: Any) -> bool:
    """Whether the first step takes a list of texts, as `TfidfVectorizer` does."""
    return _takes_documents(next(_first_steps(estimator)))


def _takes_documents(step: Any) -> bool:
    if isinstance(step, str):
        return False
    tags = get_tags(step).input_tags
    return tags.string and not tags.two_d_array


def needs_frame(estimator: Any) -> bool:
    """Whether some `ColumnTransformer` that sees the input picks its columns by name."""
    return hasattr(estimator, "feature_names_in_") and any(
        isinstance(step, ColumnTransformer) and _by_name(step) for step in _first_steps(estimator)
    )


def _first_steps(estimator: Any) -> Iterator[Any]:
    """The estimators that see the input itself."""
    if isinstance(estimator, Pipeline):
        for step in [step for _, step in estimator.steps if step is not None and step != "passthrough"]:
            yield from _first_steps(step)
            return
    elif isinstance(estimator, FeatureUnion):
        for _, step in estimator.transformer_list:
            yield from _first_steps(step)
    elif hasattr(estimator, "best_estimator_"):
        yield from _first_steps(estimator.best_estimator_)
    else:
        inner = getattr(estimator, "calibrated_classifiers_", None)
        yield from _first_steps(inner[0].estimator) if inner else (estimator,)


def _by_name(transformer: Any) -> bool:
    return any(
        callable(columns) or any(isinstance(column, str) for column in _listed(columns))
        for _, _, columns in transformer.transformers
    )


def _listed(columns: Any) -> Sequence[Any]:
    if isinstance(columns, slice):
        return [columns.start, columns.stop]
    return [columns] if isinstance(columns, str) or not np.iterable(columns) else list(columns)


def text_columns(estimator: Any, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The columns, by name, that fitted encoders or vectorizers know as texts, with the categories they know."""
    found: dict[str, tuple[str, ...]] = {}
    for step in _first_steps(estimator):
        if isinstance(step, ColumnTransformer):
            for _, inner, columns in step.transformers_:
                chosen = [names[i] for i in _places(columns, names)]
                found |= _texts(inner, chosen, one=isinstance(columns, str | int))
        else:
            found |= _texts(step, names, one=False)
    return found


def _places(columns: Any, names: Sequence[str]) -> list[int]:
    """Columns as scikit-learn accepts them, once fitted: names, places, a slice of either, or a mask."""
    if isinstance(columns, slice):
        start = names.index(columns.start) if isinstance(columns.start, str) else columns.start
        # A slice of names takes its last one, too, as in pandas.
        stop = names.index(columns.stop) + 1 if isinstance(columns.stop, str) else columns.stop
        return list(range(len(names))[start : stop : columns.step])
    chosen = _listed(columns)
    if chosen and all(isinstance(column, bool | np.bool_) for column in chosen):
        return [i for i, taken in enumerate(chosen) if taken]
    return [names.index(column) if isinstance(column, str) else range(len(names))[column] for column in chosen]


def _texts(step: Any, names: Sequence[str], *, one: bool) -> dict[str, tuple[str, ...]]:
    """What an encoder, or a pipeline that ends with one, knows of its columns."""
    steps = [inner for _, inner in step.steps] if isinstance(step, Pipeline) else [step]
    if one and names and _takes_documents(steps[0]):
        return {names[0]: ()}
    known = next((inner.categories_ for inner in steps if hasattr(inner, "categories_")), ())
    if len(known) != len(names):
        return {}
    return {
        name: tuple(value for value in values.tolist() if isinstance(value, str))
        for name, values in zip(names, known, strict=True)
        if any(isinstance(value, str) for value in values.tolist())
    }
