"""Reference rows for explanations, drawn from a package's profile: a package carries no rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamark.package import CATEGORY, Schema
from seamark.profile import Column, Profile
from seamark_predictor.rows import Rows, names_text

__all__ = ["Background", "NoBackground", "draw"]


class NoBackground(Exception):  # noqa: N818  # a fact; `Explainer` makes the error of it
    """The profile does not say what a feature looked like; the message says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    rows: Rows
    text: str


def draw(schema: Schema, profile: Profile, count: int) -> Background:
    """`count` rows, the same for the same profile; raises `NoBackground`.

    Each feature goes evenly through its own distribution (a Latin hypercube), so that even a few rows have its mean.
    How features hang together is not in the profile: they are drawn independently. Of categories only those that the
    profile names are drawn; missing values only where the model takes them.
    """
    columns = {column.name: column for column in profile.features}
    unknown = [f.name for f in schema.features if f.name not in columns or not _drawable(columns[f.name], f.nullable)]
    if unknown:
        raise NoBackground(
            f"the package's profile does not say what values feature {names_text(unknown)} had; "
            "`seamark package MODEL --data SAMPLE` makes one that does"
        )
    random = np.random.default_rng(0)
    nullable = {feature.name: feature.nullable for feature in schema.features}

    def shares() -> NDArray[np.float64]:
        return (random.permutation(count) + 0.5) / count

    numbers = np.empty((count, len(schema.numbers)))
    for i, name in enumerate(schema.numbers):
        numbers[:, i] = _numbers(columns[name], shares(), nullable[name])
    texts = [_texts(columns[name], shares(), nullable[name]) for name in schema.categories]
    return Background(Rows(numbers, texts), f"{count} rows drawn from the package's profile, each feature by itself")


def _drawable(column: Column, nullable: bool) -> bool:
    if nullable and column.counts[-1]:
        return True
    if column.type == CATEGORY:
        return any(column.counts[: len(column.values)])
    return any(column.counts[:-1]) and (bool(column.edges) or None not in (column.low, column.high))


def _missing_from(column: Column, nullable: bool) -> float:
    """The share of the distribution after which values are missing."""
    return 1 - column.counts[-1] / sum(column.counts) if nullable else 1.0


def _numbers(column: Column, shares: NDArray[np.float64], nullable: bool) -> NDArray[np.float64]:
    """The values at these shares of the distribution, spread evenly within each bin; NaN where missing."""
    present = _missing_from(column, nullable)
    values = np.full(len(shares), np.nan)
    if present == 0:
        return values
    low, high = _bounds(column)
    ends = np.cumsum(np.array(column.counts[:-1], dtype=np.float64))
    ends /= ends[-1]
    starts = np.concatenate([[0.0], ends[:-1]])
    known = shares < present
    at = shares[known] / present
    place = np.searchsorted(ends, at, side="right").clip(max=len(ends) - 1)
    within = (at - starts[place]) / (ends[place] - starts[place])
    if _is_whole(column):
        first, last = np.ceil(low), np.append(np.ceil(high[:-1]) - 1, high[-1])
        between = np.floor(first[place] + within * (last[place] - first[place] + 1))
    else:
        between = low[place] * (1 - within) + high[place] * within
    # Rounding must not leave what was seen, nor the bin: half a model's splits are at its edges.
    values[known] = between.clip(low[place], high[place]).clip(low[0], high[-1])
    return values


def _bounds(column: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each bin begins and ends; the open ones at the smallest and largest value seen."""
    edges = np.array(column.edges)
    low = column.low if column.low is not None else edges[0]
    high = column.high if column.high is not None else edges[-1]
    return np.append(low, edges), np.append(edges, high)


def _is_whole(column: Column) -> bool:
    """Whether the feature looks like a count or a flag, between whose values a model has never been."""
    values = np.array([*column.edges, *(end for end in (column.low, column.high) if end is not None)])
    # A value that fills a bin of its own has an edge right after it (`seamark.profile`).
    with np.errstate(over="ignore"):  # nothing is before the smallest number, which is whole itself
        before = np.nextafter(values, -np.inf)
    return bool(((values == np.floor(values)) | (before == np.floor(before))).all())


def _texts(column: Column, shares: NDArray[np.float64], nullable: bool) -> list[str | None]:
    present = _missing_from(column, nullable)
    known = np.cumsum(np.array(column.counts[: len(column.values)], dtype=np.float64))
    if not known.size or not known[-1]:
        return [None] * len(shares)
    ends = known / known[-1] * present
    places = np.searchsorted(ends, shares, side="right").tolist()
    return [column.values[place] if place < len(column.values) else None for place in places]
