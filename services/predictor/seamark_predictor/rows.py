"""Rows of input in the model's own order, made from lists as JSON gives them or from arrays.

Every refusal names the feature, what was got and what is allowed, and carries (feature, rule, rows). What is made for
every request is a Struct: one costs a quarter of a frozen dataclass.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark.package import NUMBER, Schema

__all__ = ["Column", "Reader", "Rows", "names_text", "numbers_of", "refuse_values", "show", "texts_of"]

_NUMERIC = frozenset((int, float, bool, type(None)))
_TEXTUAL = frozenset((str, type(None)))
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = 2

#: One feature's values: float64 with NaN for missing, or texts with None for missing.
Column = NDArray[np.float64] | list[str | None]


class Rows(msgspec.Struct, frozen=True, eq=False):
    """numbers: rows x len(schema.numbers), C order, NaN for missing; categories: one list per categorical feature."""

    numbers: NDArray[np.float64]
    categories: list[list[str | None]]

    @property
    def count(self) -> int:
        return len(self.numbers)


def show(value: object) -> str:
    """A short text of what a client sent, safe to put into a message."""
    return _SHOWN.repr(value)


def names_text(names: Sequence[str], most: int = 5) -> str:
    """`'a', 'b' and 3 more`."""
    shown = ", ".join(show(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def numbers_of(values: list[Any] | NDArray[np.float64], features: Sequence[str]) -> NDArray[np.float64]:
    """A flat JSON list, row by row over `features`, as float64: numbers, true and false as 1 and 0, null as NaN."""
    if isinstance(values, np.ndarray):
        return values
    if not _NUMERIC.issuperset(map(type, values)):
        wrong = [i for i, value in enumerate(values) if type(value) not in _NUMERIC]
        refuse_values(values, wrong, features, "a number is needed")
    return np.array(values, dtype=np.float64)


def texts_of(values: list[Any], features: Sequence[str]) -> list[str | None]:
    """A flat JSON list of texts and nulls, row by row over `features`."""
    if not _TEXTUAL.issuperset(map(type, values)):
        wrong = [i for i, value in enumerate(values) if type(value) not in _TEXTUAL]
        refuse_values(values, wrong, features, "a text is needed")
    return values


def refuse_values(
    values: list[Any] | NDArray[np.float64], wrong: Sequence[int], features: Sequence[str], allowed: str
) -> NoReturn:
    """`wrong` are the places of values of the wrong type; raises `InvalidInput` naming the first."""
    row, column = divmod(wrong[0], len(features))
    value = values[wrong[0]]
    value = value.item() if isinstance(value, np.generic) else value
    counts = Counter(features[i % len(features)] for i in wrong)
    raise InvalidInput(
        f"Cannot read feature {show(features[column])}: row {row} is {show(value)}; {allowed}",
        violations=tuple((feature, "type", count) for feature, count in counts.items()),
    )


class Reader:
    """Makes `Rows` for one schema; raises `InvalidInput`."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.names = tuple(feature.name for feature in schema.features)
        self.is_number = {feature.name: feature.type == NUMBER for feature in schema.features}
        self._nullable = frozenset(feature.name for feature in schema.features if feature.nullable)
        self.has_numbers, self.has_texts = bool(schema.numbers), bool(schema.categories)

    def from_lists(self, rows: list[Any]) -> Rows:
        """From lists with one value for each feature in schema order."""
        width = len(self.names)
        if len(rows) == 1 and not self.has_texts:
            # Most requests have one row.
            row = rows[0]
            if type(row) is list and len(row) == width and _NUMERIC.issuperset(map(type, row)):
                return Rows(np.array(rows, dtype=np.float64), [])
        for i, row in enumerate(rows):
            if type(row) is not list or len(row) != width:
                self._refuse_row(i, row)
        if not self.has_texts and all(_NUMERIC.issuperset(map(type, row)) for row in rows):
            return Rows(np.array(rows, dtype=np.float64).reshape(len(rows), width), [])
        return self.from_columns({name: [row[i] for row in rows] for i, name in enumerate(self.names)}, len(rows))

    def from_array(self, rows: NDArray[np.float64]) -> Rows:
        """From rows x features numbers, for models of numbers only."""
        if rows.shape[1] != len(self.names):
            self._refuse_row(0, rows[0].tolist())
        return Rows(rows, [])

    def _refuse_row(self, i: int, row: object) -> NoReturn:
        got = f"a list of {len(row)} values" if isinstance(row, list) else show(row)
        raise InvalidInput(
            f"Cannot read row {i}: it is {got}; a list of {len(self.names)} values is needed, one for each feature",
            violations=(("", "shape", 1),),
        )

    def from_records(self, records: list[Any]) -> Rows:
        """From objects by feature name."""
        return self.from_lists([self._in_order(i, record) for i, record in enumerate(records)])

    def _in_order(self, i: int, record: object) -> list[Any]:
        if not isinstance(record, dict):
            raise InvalidInput(
                f"Cannot read row {i}: it is {show(record)}; row 0 is an object by feature name, so all must be",
                violations=(("", "shape", 1),),
            )
        if len(record) != len(self.names) or not all(name in record for name in self.names):
            self.names_fit(record, 1)
        return [record.get(name) for name in self.names]

    def from_columns(self, columns: Mapping[str, list[Any]], count: int) -> Rows:
        """From lists of `count` values by feature name."""
        self.names_fit(columns, count)
        return self.assemble({name: self._column(name, values, count) for name, values in columns.items()}, count)

    def _column(self, name: str, values: list[Any], count: int) -> Column:
        if len(values) != count:
            raise InvalidInput(
                f"Cannot read feature {show(name)}: it has {len(values)} rows where the first has {count}",
                violations=((name, "shape", count),),
            )
        return numbers_of(values, (name,)) if self.is_number[name] else texts_of(values, (name,))

    def assemble(self, columns: Mapping[str, Column], count: int) -> Rows:
        """From converted columns of `count` values; a nullable feature may be left out."""
        self.names_fit(columns, count)
        numbers = np.full((count, len(self.schema.numbers)), np.nan)
        for i, name in enumerate(self.schema.numbers):
            if name in columns:
                numbers[:, i] = columns[name]
        absent: list[str | None] = [None] * count
        return Rows(numbers, [list(columns.get(name, absent)) for name in self.schema.categories])

    def names_fit(self, names: Collection[str], count: int) -> None:
        """Every name is a feature and no feature is left out that the model needs; else `InvalidInput`."""
        unknown = [name for name in names if name not in self.is_number]
        if unknown:
            raise InvalidInput(
                f"Cannot read input {show(unknown[0])}: the model has no such feature; it has {names_text(self.names)}",
                violations=(("", "shape", count),),
            )
        absent = [name for name in self.names if name not in names and name not in self._nullable]
        if absent:
            raise InvalidInput(
                f"Cannot predict: missing feature {names_text(absent)}",
                violations=tuple((name, "missing", count) for name in absent),
            )
