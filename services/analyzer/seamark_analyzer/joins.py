"""Predictions, labels and their joins, as arrays sorted by key: exact, small and fast enough for every tick.

A key is a 64-bit hash of (prediction id, row). Among a million rows two share one with a chance of about 3 in 10^8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from seamark.evidence import Pairs, Share

__all__ = ["Labels", "Rows", "agreement", "keys", "share_right"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def keys(ids: Sequence[str], rows: Sequence[int]) -> Ints:
    return np.fromiter((hash(pair) for pair in zip(ids, rows, strict=True)), np.int64, len(ids))


def _no_ints() -> Ints:
    return np.zeros(0, np.int64)


def _no_floats() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One revision's predictions, sorted by key. prediction: class index or value; score: NaN where there is none."""

    key: Ints = field(default_factory=_no_ints)
    time: Floats = field(default_factory=_no_floats)
    prediction: Floats = field(default_factory=_no_floats)
    score: Floats = field(default_factory=_no_floats)

    def __len__(self) -> int:
        return len(self.key)

    def merge(self, new: Rows, limit: int) -> Rows:
        """Both, each key once (the newer row), and of these the latest `limit`."""
        key = np.concatenate([self.key, new.key])
        chosen = _last_of_each(key)
        time = np.concatenate([self.time, new.time])
        if len(chosen) > limit:
            latest = np.argpartition(time[chosen], len(chosen) - limit)[len(chosen) - limit :]
            chosen = chosen[np.sort(latest)]
        return Rows(
            key[chosen],
            time[chosen],
            np.concatenate([self.prediction, new.prediction])[chosen],
            np.concatenate([self.score, new.score])[chosen],
        )

    def since(self, start: float) -> Rows:
        return self._where(self.time >= start)

    def translated(self, meanings: Floats) -> Rows:
        """The same rows with class i read as `meanings[i]`; a class out of range or NaN is NaN."""
        known = (self.prediction >= 0) & (self.prediction < len(meanings))
        prediction = np.full(len(self), np.nan)
        prediction[known] = meanings[self.prediction[known].astype(np.int64)]
        return replace(self, prediction=prediction)

    def _where(self, chosen: NDArray[np.bool_]) -> Rows:
        return Rows(self.key[chosen], self.time[chosen], self.prediction[chosen], self.score[chosen])

    def labelled(self, labels: Labels) -> tuple[Rows, Floats]:
        """The rows whose label is known and usable, and those labels."""
        values = labels.of(self.key)
        known = ~np.isnan(values)
        return self._where(known), values[known]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels sorted by key: of several for one key the one with the highest sequence.

    value: the class index or number; NaN for a text that is no class of the model.
    """

    key: Ints = field(default_factory=_no_ints)
    sequence: Ints = field(default_factory=_no_ints)
    value: Floats = field(default_factory=_no_floats)

    def __len__(self) -> int:
        return len(self.key)

    def merge(self, new: Labels, limit: int) -> Labels:
        """Both, and of these the `limit` that were received last."""
        key = np.concatenate([self.key, new.key])
        sequence = np.concatenate([self.sequence, new.sequence])
        value = np.concatenate([self.value, new.value])
        received = np.argsort(sequence, kind="stable")
        chosen = received[_last_of_each(key[received])]
        if len(chosen) > limit:
            latest = np.argpartition(sequence[chosen], len(chosen) - limit)[len(chosen) - limit :]
            chosen = chosen[np.sort(latest)]
        return Labels(key[chosen], sequence[chosen], value[chosen])

    def of(self, key: Ints) -> Floats:
        """The label of each key, NaN where there is none."""
        if not len(self.key):
            return np.full(len(key), np.nan)
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[at] == key, self.value[at], np.nan)


def _last_of_each(key: Ints) -> Ints:
    """Positions that sort `key` and leave of equal keys the last one."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order[is_last]


def share_right(predictions: Floats, labels: Floats) -> Share:
    """How many predictions are their label's class."""
    return Share(int(np.count_nonzero(predictions == labels)), len(labels))


def agreement(champion: Rows, challenger: Rows, labels: Labels, tolerance: float | None) -> Pairs | None:
    """The two revisions' answers to the same rows compared; None without any pair.

    tolerance: None for classes, which agree when equal; else the largest difference of values that agree. Who was
    right is counted for classes only.
    """
    _, a, b = np.intersect1d(champion.key, challenger.key, assume_unique=True, return_indices=True)
    if not len(a):
        return None
    ours, theirs = champion.prediction[a], challenger.prediction[b]
    agree = ours == theirs if tolerance is None else np.abs(ours - theirs) <= tolerance
    difference = np.abs(champion.score[a] - challenger.score[b])
    difference = difference[np.isfinite(difference)]
    right = _who_was_right(ours, theirs, labels.of(champion.key[a])) if tolerance is None else (0, 0, 0, 0)
    return Pairs(
        Share(int(np.count_nonzero(agree)), len(a)), float(difference.mean()) if len(difference) else None, *right
    )


def _who_was_right(champion: Floats, challenger: Floats, label: Floats) -> tuple[int, int, int, int]:
    """Counts (both, only the champion, only the challenger, neither) where the label is known."""
    known = ~np.isnan(label)
    ours, theirs = (champion == label)[known], (challenger == label)[known]
    cells = (ours & theirs, ours & ~theirs, ~ours & theirs, ~ours & ~theirs)
    both, only_champion, only_challenger, neither = (int(np.count_nonzero(cell)) for cell in cells)
    return both, only_champion, only_challenger, neither
