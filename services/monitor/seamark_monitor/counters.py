"""Everything that is counted: one array or mapping for each metric, added to in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from seamark.contract import RULES, Checker
from seamark.metrics import LATENCY_BOUNDS
from seamark.package import CATEGORY, NUMBER, Schema
from seamark.profile import Binner, Column, bin_categories, class_bin
from seamark.records import Prediction
from seamark_monitor.watched import Watched

__all__ = ["STATUSES", "Counters"]

#: Statuses counted by themselves; all others by their class.
STATUSES = ("200", "400", "404", "405", "408", "413", "415", "422", "429", "500", "502", "503", "504")
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
#: Rows binned at a time: what numpy works on stays in the processor's cache.
BLOCK = 1_024
#: A violation of a feature or rule that nobody declared: names from callers must not make series.
_UNKNOWN_RULE = "other"

Block = tuple[NDArray[np.float64], list[list[str | None]]]


class Counters:
    """Takes predictions that fit the schema (see `seamark_monitor.intake`).

    features, outputs: name -> counts by the column's bins. latency: counts by LATENCY_BOUNDS and one for longer.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._checker = Checker(watched.rules, watched.schema)
        self._checked = {(rule.feature, rule.rule) for rule in watched.rules}
        self.rows = 0
        self.statuses: dict[str, int] = dict.fromkeys((*STATUSES, *_CLASSES), 0)
        self.latency = np.zeros(len(LATENCY_BOUNDS) + 1, dtype=np.int64)
        self.latency_sum = 0.0
        self._binner = Binner(watched.numbers)
        #: Of all numeric features, one row each, so that a block is added in one operation.
        self._numbers = np.zeros((len(watched.numbers), self._binner.most_bins), dtype=np.int64)
        self.features = {column.name: self._numbers[i, : column.bins] for i, column in enumerate(watched.numbers)}
        self.features |= {column.name: _no_counts(column) for column in watched.categories}
        self.outputs = {column.name: _no_counts(column) for column in watched.profile.outputs}
        self._output_binners = [
            Binner([column]) if column.type == NUMBER else None for column in watched.profile.outputs
        ]
        self.violations: dict[tuple[str, str], int] = dict.fromkeys(_pairs(watched.schema), 0)
        self.kept = {"true": 0, "false": 0}
        self.nonfinite = {"input": 0, "output": 0}

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Counts a batch. Every request counts; inputs where the record carries them; bins only where answered."""
        if not predictions:
            return
        self._add_requests(predictions)
        answered = [prediction for prediction in predictions if prediction.status == 200 and prediction.outputs]
        self.rows += sum(prediction.rows for prediction in answered)
        carrying = [prediction for prediction in predictions if carries_inputs(prediction)]
        block = self._block(carrying)
        binned = [prediction for prediction in answered if carries_inputs(prediction)]
        # As a rule all were answered, and their values need not be put together twice.
        self._add_features(block if len(binned) == len(carrying) else self._block(binned))
        for unsent, alike in _by_unsent(answered).items():
            self._add_outputs(b"".join(prediction.outputs for prediction in alike), unsent)
        self._add_contract(predictions, carrying, block)

    def _add_requests(self, predictions: Sequence[Prediction]) -> None:
        for status, count in Counter(prediction.status for prediction in predictions).items():
            self.statuses[_status_label(status)] += count
        seconds = np.array([prediction.latency for prediction in predictions])
        # A clock that stepped back, or nonsense, must not make the sum fall or stick at NaN.
        seconds = np.where(np.isfinite(seconds) & (seconds > 0), seconds, 0.0)
        places = np.searchsorted(LATENCY_BOUNDS, seconds, side="left")
        self.latency += np.bincount(places, minlength=len(self.latency))
        self.latency_sum += float(seconds.sum())

    def _add_features(self, block: Block) -> None:
        numbers, categories = block
        for start in range(0, len(numbers), BLOCK):
            self._numbers += self._binner.count(numbers[start : start + BLOCK])
        for column, values in zip(self._watched.categories, categories, strict=True):
            self.features[column.name] += bin_categories(values, column)

    def _block(self, predictions: Sequence[Prediction]) -> Block:
        """(rows x numeric features, one list of texts per categorical feature) of all their rows."""
        width = len(self._watched.numbers)
        rows = sum(prediction.rows for prediction in predictions)
        numbers = np.frombuffer(b"".join(prediction.numbers for prediction in predictions), "<f8")
        categories: list[list[str | None]] = [[] for _ in self._watched.categories]
        if categories:
            for prediction in predictions:
                for values, more in zip(categories, prediction.categories, strict=True):
                    values += more
        return numbers.reshape(rows, width), categories

    def _add_outputs(self, block: bytes, unsent: Container[str]) -> None:
        columns = self._watched.profile.outputs
        values = np.frombuffer(block, "<f8").reshape(-1, len(columns))
        for i, (column, binner) in enumerate(zip(columns, self._output_binners, strict=True)):
            if column.name in unsent:
                continue
            self.nonfinite["output"] += int(np.count_nonzero(~np.isfinite(values[:, i])))
            if binner is not None:
                self.outputs[column.name] += binner.count(values[:, i : i + 1])[0]
            else:
                self.outputs[column.name] += _class_counts(values[:, i], column)

    def _add_contract(self, predictions: Sequence[Prediction], carrying: Sequence[Prediction], block: Block) -> None:
        rows = bad = 0
        for prediction, broken in zip(carrying, self._check(carrying, block), strict=True):
            if prediction.violations:
                self._add_kept(prediction, broken)
            else:
                rows += prediction.rows
                bad += broken
        self.kept["false"] += bad
        self.kept["true"] += rows - bad
        for prediction in predictions:
            if prediction.violations:
                self._add_parsed(prediction)
                if not carries_inputs(prediction):
                    self._add_kept(prediction, 0)

    def _add_parsed(self, prediction: Prediction) -> None:
        """What was found before the record came here. Values that came along were judged here, so not once more."""
        carries = carries_inputs(prediction)
        for feature, rule, count in prediction.violations:
            if carries and (feature, rule) in self._checked:
                continue
            self.violations[self._known(feature, rule)] += max(0, count)
            if rule == "nonfinite" and not carries:
                self.nonfinite["input"] += max(0, count)

    def _check(self, predictions: Sequence[Prediction], block: Block) -> list[int]:
        """Counts the broken rules; how many rows of each prediction, all of them in the block, break the contract."""
        if not predictions:
            return []
        numbers, categories = block
        self.nonfinite["input"] += int(np.count_nonzero(~np.isfinite(numbers)))
        found = self._checker.check(numbers, categories)
        for pair, count in found.by_rule.items():
            self.violations[pair] += count
        starts = np.cumsum([0, *(prediction.rows for prediction in predictions[:-1])])
        broken: list[int] = np.add.reduceat(found.rows, starts, dtype=np.int64).tolist()
        return broken

    def _add_kept(self, prediction: Prediction, marked: int) -> None:
        """`marked` rows broke a rule on values; which rows the parser complained about it does not say."""
        parsed = max((count for _, _, count in prediction.violations), default=0)
        if prediction.status != 200 and parsed > 0:
            self.kept["false"] += max(1, prediction.rows)
        elif carries_inputs(prediction):
            broken = max(marked, min(parsed, prediction.rows))
            self.kept["false"] += broken
            self.kept["true"] += prediction.rows - broken

    def _known(self, feature: str, rule: str) -> tuple[str, str]:
        for pair in ((feature, rule), ("", rule)):
            if pair in self.violations:
                return pair
        return ("", _UNKNOWN_RULE)


def _by_unsent(predictions: Sequence[Prediction]) -> dict[tuple[str, ...], list[Prediction]]:
    found: dict[tuple[str, ...], list[Prediction]] = {}
    for prediction in predictions:
        found.setdefault(tuple(prediction.unsent), []).append(prediction)
    return found


def carries_inputs(prediction: Prediction) -> bool:
    """Whether the request was understood so far that its values are there."""
    return prediction.rows > 0 and bool(prediction.numbers or prediction.categories)


def _no_counts(column: Column) -> NDArray[np.int64]:
    return np.zeros(column.bins, dtype=np.int64)


def _status_label(status: int) -> str:
    text = str(status)
    if text in STATUSES:
        return text
    return f"{text[0]}xx" if 100 <= status < 600 else "other"


def _class_counts(values: NDArray[np.float64], column: Column) -> NDArray[np.int64]:
    """Class indices by bin; values repeat, so only the distinct ones become texts."""
    total = np.zeros(column.bins, dtype=np.int64)
    distinct, counts = np.unique(values, return_counts=True)
    for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        total += count * bin_categories([class_bin(value)], column)
    return total


def _pairs(schema: Schema) -> list[tuple[str, str]]:
    """Every (feature, rule) that can occur; feature "" stands for the request as a whole."""
    not_for = {NUMBER: "category", CATEGORY: "range"}
    pairs = [("", rule) for rule in (*RULES, _UNKNOWN_RULE)]
    for feature in schema.features:
        pairs += [(feature.name, rule) for rule in RULES if rule != not_for[feature.type]]
    return pairs
