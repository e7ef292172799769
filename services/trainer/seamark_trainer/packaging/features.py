"""Which features the model takes, in its order, and what the sample holds of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from seamark.errors import UserError
from seamark.package import CATEGORY, NUMBER, Feature, Schema
from seamark_trainer.dataset import Dataset
from seamark_trainer.packaging.existing import Existing
from seamark_trainer.packaging.sample import Sample

__all__ = ["dataset", "features"]

log = logging.getLogger(__name__)


def features(model: Existing, sample: Sample, label: str | None, categories: Collection[str]) -> tuple[Feature, ...]:
    """The model's features: their names as it knows them, else the sample's columns but the label, in their order.

    categories: names of those that are texts although they may look like numbers. Raises `UserError`.
    """
    if label is not None and label not in sample.names:
        raise UserError(f"Cannot use {sample.path}: it has no column {label!r}; it has {_listed(sample.names)}")
    names = model.names or tuple(name for name in sample.names if name != label)
    _columns_fit(model, names, sample, label)
    for name in categories:
        if name not in names:
            raise UserError(f"Cannot use --category {name!r}: the model has no such feature; it has {_listed(names)}")
    known = model.types(names)

    def kind(name: str) -> str:
        if name in categories:
            return CATEGORY
        return known.get(name) or (NUMBER if sample.is_numeric(name) else CATEGORY)

    return tuple(Feature(name, kind(name)) for name in names)


def _columns_fit(model: Existing, names: Sequence[str], sample: Sample, label: str | None) -> None:
    absent = [name for name in names if name not in sample.names]
    if absent:
        raise UserError(
            f"Cannot use {sample.path}: it has no column {_listed(absent)}, which the model takes; "
            f"it has {_listed(sample.names)}"
        )
    if label in names:
        raise UserError(f"Cannot use {label!r} as the label: it is one of the model's features")
    if not names:
        raise UserError(f"Cannot use {sample.path}: it has no column of a feature")
    if model.names is None and model.count not in (None, len(names)):
        hint = "; name the column that holds the label with --label" if label is None else ""
        raise UserError(
            f"Cannot use {sample.path}: the model takes {model.count} features; "
            f"the sample has {len(names)}: {_listed(names)}{hint}"
        )
    if model.names is None:
        log.info("the model knows no names of its features; the sample's columns are taken in their order")
    unused = [name for name in sample.names if name not in names and name != label]
    if unused:
        log.info("the model does not take %s; not used", _listed(unused))


def _listed(names: Sequence[object], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def dataset(sample: Sample, schema: Schema, label: str | None) -> Dataset:
    """The sample's rows; labels are NaN where there are none. Raises `UserError`."""
    numbers = [sample.numbers(name) for name in schema.numbers]
    for name, column in zip(schema.numbers, numbers, strict=True):
        infinite = int(np.count_nonzero(np.isinf(column)))
        if infinite:
            raise UserError(
                f"Cannot use {sample.path}: column {name!r} is infinite in {_rows(infinite)}; leave them out"
            )
    return Dataset(
        schema,
        np.column_stack(numbers) if numbers else np.empty((sample.rows, 0)),
        tuple(sample.texts(name) for name in schema.categories),
        np.full(sample.rows, np.nan) if label is None else _labels(sample, schema, label),
        np.full(sample.rows, np.nan),
    )


def _labels(sample: Sample, schema: Schema, label: str) -> NDArray[np.float64]:
    wanted = "a number" if schema.task == "regression" else f"one of the model's classes {_listed(schema.classes)}"
    found = np.full(sample.rows, np.nan)
    for i, value in enumerate(sample.texts(label)):
        if value is not None:
            index = schema.label_value(value)
            if index is None:
                problem = f"the label {label!r} is {value[:60]!r} in row {i + 1}; {wanted} is needed"
                raise UserError(f"Cannot use {sample.path}: {problem}")
            found[i] = index
    missing = int(np.count_nonzero(np.isnan(found)))
    if missing == sample.rows:
        raise UserError(f"Cannot use {sample.path}: no row has a value of {label!r}")
    if missing:
        log.info("%s without a label; the others measure the model", _rows(missing))
    return found


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
