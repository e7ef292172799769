"""How a scikit-learn model takes its rows: as an array, as a data frame by name, or as a list of texts.

A predictor goes by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import CATEGORY, NUMBER, Schema

__all__ = ["known_types", "needs_frame", "rows_for", "takes_documents"]


def rows_for(estimator: Any, schema: Schema, matrix: NDArray[Any]) -> Any:
    """matrix, rows x features as `Dataset.matrix` makes it, as the estimator takes it. A missing text is NaN in a data
    frame, as pandas reads it from a file, and None elsewhere."""
    if takes_documents(estimator):
        return [value or None for value in matrix[:, 0].tolist()]
    if needs_frame(estimator):
        return _frame(schema, matrix)
    if not schema.categories:
        return matrix
    found = matrix.copy()
    found[matrix == ""] = None
    return found


def _frame(schema: Schema, matrix: NDArray[Any]) -> Any:
    try:
        import pandas as pd  # type: ignore[import-untyped]  # it ships no types
    except ImportError as error:
        raise UserError("it picks columns of a data frame by name; pip install 'seamark-trainer[pandas]'") from error
    columns: dict[str, Any] = {}
    for i, feature in enumerate(schema.features):
        if feature.type == NUMBER:
            columns[feature.name] = matrix[:, i].astype(np.float64)
        else:
            columns[feature.name] = np.array([value or np.nan for value in matrix[:, i].tolist()], dtype=object)
    return pd.DataFrame(columns)


def needs_frame(estimator: Any) -> bool:
    """Does a step that sees the input pick its columns by name?"""
    return hasattr(estimator, "feature_names_in_") and any(
        hasattr(step, "transformers_") and any(_are_names(columns) for _, _, columns in step.transformers)
        for step in _first_steps(estimator)
    )


def _are_names(columns: Any) -> bool:
    if isinstance(columns, slice):
        columns = (columns.start, columns.stop)
    # A callable is a selector, which wants a data frame.
    return isinstance(columns, str) or callable(columns) or any(isinstance(one, str) for one in np.atleast_1d(columns))


def takes_documents(estimator: Any) -> bool:
    """Does the first step take a list of texts, as a vectorizer does?"""
    return _takes_documents(next(_first_steps(estimator)))


def _takes_documents(step: Any) -> bool:
    if not hasattr(step, "__sklearn_tags__"):
        return False
    tags = step.__sklearn_tags__().input_tags
    return bool(tags.string and not tags.two_d_array)


def _first_steps(estimator: Any) -> Iterator[Any]:
    """The estimators that see the input itself."""
    if hasattr(estimator, "steps"):
        steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
        yield from _first_steps(steps[0])
    elif hasattr(estimator, "transformer_list"):
        for _, step in estimator.transformer_list:
            yield from _first_steps(step)
    elif getattr(estimator, "calibrated_classifiers_", None):
        yield from _first_steps(estimator.calibrated_classifiers_[0].estimator)
    else:
        yield estimator


def known_types(estimator: Any, names: Sequence[str]) -> Mapping[str, str]:
    """NUMBER or CATEGORY of the features, called `names` in order, that an encoder or vectorizer meets first."""
    found: dict[str, str] = {}
    for step in _first_steps(estimator):
        if hasattr(step, "transformers_"):
            for _, transformer, columns in step.transformers_:
                found |= _types_of(transformer, _chosen(columns, names))
        else:
            found |= _types_of(step, names)
    return found


def _chosen(columns: Any, names: Sequence[str]) -> list[str]:
    """The names that a ColumnTransformer's choice stands for; none for a choice that is not understood."""
    if isinstance(columns, str):
        return [columns]
    if not isinstance(columns, slice) and all(isinstance(column, str) for column in np.atleast_1d(columns)):
        return [str(column) for column in columns]
    try:
        return list(np.atleast_1d(np.array(names, dtype=object)[columns]))
    except (IndexError, TypeError, ValueError):
        return []


def _types_of(transformer: Any, names: Sequence[str]) -> dict[str, str]:
    for step in [step for _, step in getattr(transformer, "steps", [("", transformer)])]:
        if _takes_documents(step):
            return dict.fromkeys(names, CATEGORY)
        categories = getattr(step, "categories_", None)
        if isinstance(categories, list) and len(categories) == len(names):
            kinds = [CATEGORY if any(isinstance(value, str) for value in known) else NUMBER for known in categories]
            return dict(zip(names, kinds, strict=True))
    return {}
