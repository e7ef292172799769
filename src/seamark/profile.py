"""The reference profile: what the data looked like when the model was made, as bins that add up.

Bins are fixed once, so counts from replicas, versions and hours can be added and subtracted exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Schema

__all__ = ["Binner", "Column", "Profile", "bin_categories", "bin_numbers", "build", "class_bin", "parse_profile"]

_FORMAT = 1
_BINS = 10
_TOP_CATEGORIES = 20
#: Comparing with each edge is faster than searching among them up to about so many; profiles made here have at most 18.
_FEW_EDGES = 64


@dataclass(frozen=True, slots=True)
class Column:
    """One feature, output or label.

    number: `edges` are the inner bin edges; bin i holds edges[i-1] <= x < edges[i], both ends open.
    category: `values` are the known categories, one bin each, then one bin for all others.
    `counts` has one entry per bin and a last one for missing; low and high are the smallest and largest seen.
    importance is the feature's share of the model's attention, 0..1, or None when unknown.
    """

    name: str
    type: str
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    importance: float | None = None

    @property
    def bins(self) -> int:
        """How many bins, the one for missing included."""
        return (len(self.edges) + 2) if self.type == NUMBER else (len(self.values) + 2)

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name for each bin, as in the metrics' `bin` label.

        A known category that is called like one of ours gets `=` before it: two series of one name are no scrape.
        """
        if self.type == NUMBER:
            return (*(str(i) for i in range(len(self.edges) + 1)), "missing")
        known = (f"={value}" if value in ("other", "missing") or value[:1] == "=" else value for value in self.values)
        return (*known, "other", "missing")


@dataclass(frozen=True, slots=True)
class Profile:
    """`rows` rows of reference data; outputs are those of `Schema.outputs` (prediction binned by class)."""

    rows: int
    features: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    label: Column | None = None

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "format": _FORMAT,
                "rows": self.rows,
                "features": [_to_dict(column) for column in self.features],
                "outputs": [_to_dict(column) for column in self.outputs],
                "label": _to_dict(self.label) if self.label else None,
            },
            allow_nan=False,
        ).encode()


def _to_dict(column: Column) -> dict[str, Any]:
    return {name: getattr(column, name) for name in Column.__dataclass_fields__}


def parse_profile(content: bytes) -> Profile:
    """The profile, or `InvalidPackage`."""
    try:
        document = json.loads(content)
        if document["format"] != _FORMAT:
            raise ValueError(f"format is {document['format']!r}; this Seamark reads {_FORMAT}")
        return Profile(
            rows=_count(document["rows"], "rows"),
            features=_columns(document["features"]),
            outputs=_columns(document["outputs"]),
            label=None if document["label"] is None else _from_dict(document["label"]),
        )
    except KeyError as error:
        raise InvalidPackage(f"Cannot read profile.json: {error} is missing") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidPackage(f"Cannot read profile.json: {error}") from error


def _columns(entries: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    columns = tuple(_from_dict(entry) for entry in entries)
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns have one name")
    return columns


def _from_dict(entry: Mapping[str, Any]) -> Column:
    """A column from its JSON object; unknown fields are left out, as a newer Seamark may have written them."""
    name, kind = entry["name"], entry["type"]
    if not isinstance(name, str) or kind not in (NUMBER, CATEGORY):
        raise ValueError(f"column {name!r} has type {kind!r}; allowed: {NUMBER}, {CATEGORY}")
    column = Column(
        name=name,
        type=kind,
        edges=tuple(_number(edge, name) for edge in entry["edges"]),
        values=tuple(_text(value, name) for value in entry["values"]),
        counts=tuple(_count(count, name) for count in entry["counts"]),
        low=_optional(entry["low"], name),
        high=_optional(entry["high"], name),
        importance=_optional(entry["importance"], name),
    )
    _is_sound(column)
    return column


def _is_sound(column: Column) -> None:
    if len(column.counts) != column.bins:
        raise ValueError(f"column {column.name!r} has {len(column.counts)} counts for {column.bins} bins")
    if list(column.edges) != sorted(set(column.edges)):
        raise ValueError(f"column {column.name!r} has edges that do not grow")
    if len(set(column.values)) < len(column.values):
        raise ValueError(f"column {column.name!r} has a category twice")


def _number(value: object, column: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"column {column!r} holds {value!r}, not a finite number")
    return float(value)


def _optional(value: object, column: str) -> float | None:
    return None if value is None else _number(value, column)


def _text(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} holds {value!r}, not a text")
    return value


def _count(value: object, column: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"column {column!r} holds {value!r}, not a count")
    return value


def bin_numbers(values: NDArray[np.float64], columns: Sequence[Column]) -> list[NDArray[np.int64]]:
    """Counts per bin (missing last) for each column of a rows x columns block; keep a `Binner` for more than one."""
    counts = Binner(columns).count(values)
    return [counts[i, : column.bins] for i, column in enumerate(columns)]


class Binner:
    """Numeric columns made ready to count many blocks."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        most = max((len(column.edges) for column in columns), default=0)
        #: Bins of the column that has most, the one for missing included.
        self.most_bins = most + 2
        # One row for each rank of edges; a column that has fewer is never beyond the others.
        self._edges = np.full((most, len(columns)), np.inf)
        for i, column in enumerate(columns):
            self._edges[: len(column.edges), i] = column.edges
        self._missing = np.array([column.bins - 1 for column in columns], dtype=np.min_scalar_type(self.most_bins))
        self._last = self._missing - 1
        self._first = np.arange(len(columns)) * self.most_bins

    def count(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """columns x `most_bins`: counts per bin of a rows x columns block, missing last, then zeros."""
        places = self._found(values) + self._first
        size = len(self._columns) * self.most_bins
        counts = np.bincount(places.ravel(), minlength=size).reshape(len(self._columns), self.most_bins)
        return counts.astype(np.int64, copy=False)

    def _found(self, values: NDArray[np.float64]) -> NDArray[np.unsignedinteger[Any]]:
        """The bin of each value."""
        found = np.zeros(values.shape, dtype=self._missing.dtype)
        if len(self._edges) <= _FEW_EDGES:
            for edges in self._edges:
                found += values >= edges
            # Infinity is not below the edge that stands for none.
            np.minimum(found, self._last, out=found)
        else:
            for i, column in enumerate(self._columns):
                found[:, i] = np.searchsorted(np.asarray(column.edges), values[:, i], side="right")
        missing = np.isnan(values)
        if missing.any():
            found[missing] = np.broadcast_to(self._missing, values.shape)[missing]
        return found


def bin_categories(values: Sequence[str | None], column: Column) -> NDArray[np.int64]:
    """Counts per bin: known values in order, other, missing."""
    index = {value: i for i, value in enumerate(column.values)}
    other = len(column.values)
    found = [other + 1 if value is None else index.get(value, other) for value in values]
    return np.bincount(np.asarray(found, dtype=np.int64), minlength=column.bins).astype(np.int64)


def _number_column(name: str, values: NDArray[np.float64], importance: float | None) -> Column:
    finite = values[np.isfinite(values)]
    column = Column(
        name,
        NUMBER,
        edges=_quantile_edges(finite) if finite.size else (),
        low=float(finite.min()) if finite.size else None,
        high=float(finite.max()) if finite.size else None,
        importance=importance,
    )
    counts = bin_numbers(values.reshape(-1, 1), [column])[0]
    return _with_counts(column, counts)


def _quantile_edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Edges of bins that hold about equally many values.

    A value that fills more than a bin, as 0 often does, gets a bin of its own: else a move of the others across it
    would go unseen.
    """
    quantiles = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1], method="higher")
    edges, repeats = np.unique(quantiles, return_counts=True)
    with np.errstate(over="ignore"):  # nothing is after the largest number; that edge is left out
        after = np.nextafter(edges[repeats > 1], np.inf)
    return tuple(float(edge) for edge in np.unique(np.concatenate([edges, after[np.isfinite(after)]])))


def _category_column(
    name: str, values: Sequence[str | None], importance: float | None, known: Sequence[str] | None = None
) -> Column:
    if known is None:
        seen: dict[str, int] = {}
        for value in values:
            if value is not None:
                seen[value] = seen.get(value, 0) + 1
        known = sorted(seen, key=lambda value: (-seen[value], value))[:_TOP_CATEGORIES]
    column = Column(name, CATEGORY, values=tuple(known), importance=importance)
    return _with_counts(column, bin_categories(values, column))


def _with_counts(column: Column, counts: NDArray[np.int64]) -> Column:
    return replace(column, counts=tuple(int(count) for count in counts))


def build(
    schema: Schema,
    numbers: NDArray[np.float64],
    categories: Sequence[Sequence[str | None]],
    outputs: NDArray[np.float64],
    labels: NDArray[np.float64] | None,
    importance: dict[str, float] | None = None,
) -> Profile:
    """The profile of reference data.

    numbers: rows x len(schema.numbers); categories: one sequence per categorical feature; outputs: rows x
    len(schema.outputs) as logged (see `Schema`); labels: rows, as logged, or None.
    """
    weights = importance or {}
    by_name: dict[str, Column] = {}
    for i, name in enumerate(schema.numbers):
        by_name[name] = _number_column(name, numbers[:, i], weights.get(name))
    for name, values in zip(schema.categories, categories, strict=True):
        by_name[name] = _category_column(name, values, weights.get(name))
    classes = [str(i) for i in range(len(schema.classes))]

    def outcome(name: str, values: NDArray[np.float64]) -> Column:
        if name in ("prediction", "label") and schema.task != "regression":
            return _category_column(name, [class_bin(value) for value in values], None, classes)
        return _number_column(name, values, None)

    return Profile(
        rows=len(outputs),
        features=tuple(by_name[feature.name] for feature in schema.features),
        outputs=tuple(outcome(name, outputs[:, i]) for i, name in enumerate(schema.outputs)),
        label=None if labels is None else outcome("label", labels),
    )


def class_bin(value: float) -> str | None:
    """The bin of a logged class index, by its index as text; None where there is none."""
    return str(int(value)) if math.isfinite(value) else None
