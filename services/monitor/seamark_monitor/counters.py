"""Everything that is counted: one array or mapping for each metric, added to in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Sequence

import numpy as np
from numpy.typing import NDArray

from seamark.contract import RULES, Checker
from seamark.metrics import LATENCY_BOUNDS
from seamark.package import CATEGORY, NUMBER, Schema
from seamark.profile import Binner, Column, bin_categories, class_bin
from seamark.records import Block, Prediction, pack
from seamark_monitor.watched import Watched

__all__ = ["STATUSES", "Counters"]

#: Statuses counted by themselves; all others by their class.
STATUSES = ("200", "400", "404", "405", "408", "413", "415", "422", "429", "500", "502", "503", "504")
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
#: Rows binned at a time: what numpy works on stays in the processor's cache.
BLOCK = 1_024
#: A violation of a feature or rule that nobody declared: names from callers must not make series.
_UNKNOWN_RULE = "other"

Values = tuple[NDArray[np.float64], list[list[str | None]]]


class Counters:
    """Takes blocks and predictions that fit the schema (see `seamark_monitor.intake`).

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

    def add(self, blocks: Sequence[Block], others: Sequence[Prediction]) -> None:
        """Every request counts; inputs where the record carries them; bins only where answered, as in blocks."""
        for alike in _by_unsent(blocks):
            self._add_answered(alike)
        if others:
            self._add_others(others)

    def _add_answered(self, blocks: Sequence[Block]) -> None:
        rows = np.frombuffer(b"".join([block.rows for block in blocks]), "<i8")
        total = int(rows.sum())
        self.rows += total
        self.statuses["200"] += len(rows)
        self._add_latencies(np.frombuffer(b"".join([block.latencies for block in blocks]), "<f8"))
        values = self._values(blocks, total)
        self._add_features(values)
        self._add_outputs(b"".join([block.outputs for block in blocks]), blocks[0].unsent)
        broken = self._check(rows, values)
        violated = _violated(blocks)
        plain = np.ones(len(rows), dtype=np.bool_)
        plain[list(violated)] = False
        self._add_kept(int(rows[plain].sum()), int(broken[plain].sum()))
        for place, violations in violated.items():
            self._add_violated(200, int(rows[place]), int(broken[place]), violations)

    def _add_others(self, predictions: Sequence[Prediction]) -> None:
        for status, count in Counter(prediction.status for prediction in predictions).items():
            self.statuses[_status_label(status)] += count
        self._add_latencies(np.array([prediction.latency for prediction in predictions]))
        carrying = [prediction for prediction in predictions if prediction.carries_inputs]
        if carrying:
            rows = np.array([prediction.rows for prediction in carrying])
            broken = self._check(rows, self._values([pack(carrying)], int(rows.sum()))).tolist()
            for prediction, bad in zip(carrying, broken, strict=True):
                if prediction.violations:
                    self._add_violated(prediction.status, prediction.rows, bad, prediction.violations)
                else:
                    self._add_kept(prediction.rows, bad)
        for prediction in predictions:
            if prediction.violations and not prediction.carries_inputs:
                self._add_unread(prediction)

    def _add_latencies(self, seconds: NDArray[np.float64]) -> None:
        # A clock that stepped back, or nonsense, must not make the sum fall or stick at NaN.
        seconds = np.where(np.isfinite(seconds) & (seconds > 0), seconds, 0.0)
        places = np.searchsorted(LATENCY_BOUNDS, seconds, side="left")
        self.latency += np.bincount(places, minlength=len(self.latency))
        self.latency_sum += float(seconds.sum())

    def _values(self, blocks: Sequence[Block], rows: int) -> Values:
        """(rows x numeric features, one list of texts per categorical feature) of all their rows."""
        numbers = np.frombuffer(b"".join([block.numbers for block in blocks]), "<f8")
        categories: list[list[str | None]] = [[] for _ in self._watched.categories]
        for block in blocks:
            for texts, more in zip(categories, block.categories, strict=True):
                texts += more
        return numbers.reshape(rows, len(self._watched.numbers)), categories

    def _add_features(self, values: Values) -> None:
        numbers, categories = values
        for start in range(0, len(numbers), BLOCK):
            self._numbers += self._binner.count(numbers[start : start + BLOCK])
        for column, texts in zip(self._watched.categories, categories, strict=True):
            self.features[column.name] += bin_categories(texts, column)

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

    def _check(self, rows: NDArray[np.int64], values: Values) -> NDArray[np.int64]:
        """Counts the broken rules; how many of each prediction's rows break the contract."""
        numbers, categories = values
        self.nonfinite["input"] += int(np.count_nonzero(~np.isfinite(numbers)))
        found = self._checker.check(numbers, categories)
        for pair, count in found.by_rule.items():
            self.violations[pair] += count
        if not found.rows.any():
            return np.zeros(len(rows), dtype=np.int64)
        return np.add.reduceat(found.rows, np.cumsum(rows) - rows, dtype=np.int64)

    def _add_kept(self, rows: int, broken: int) -> None:
        self.kept["false"] += broken
        self.kept["true"] += rows - broken

    def _add_violated(self, status: int, rows: int, marked: int, violations: Sequence[tuple[str, str, int]]) -> None:
        """A request whose parser complained, too. `marked` rows broke a rule on values, which counts only here.

        Which rows the parser complained about it does not say.
        """
        for feature, rule, count in violations:
            if (feature, rule) not in self._checked:
                self.violations[self._known(feature, rule)] += max(0, count)
        parsed = max(count for _, _, count in violations)
        if status != 200 and parsed > 0:
            self.kept["false"] += rows
        else:
            self._add_kept(rows, max(marked, min(parsed, rows)))

    def _add_unread(self, prediction: Prediction) -> None:
        """A request that came without its values: what was found before is all there is."""
        for feature, rule, count in prediction.violations:
            self.violations[self._known(feature, rule)] += max(0, count)
            if rule == "nonfinite":
                self.nonfinite["input"] += max(0, count)
        if prediction.status != 200 and any(count > 0 for _, _, count in prediction.violations):
            self.kept["false"] += max(1, prediction.rows)

    def _known(self, feature: str, rule: str) -> tuple[str, str]:
        for pair in ((feature, rule), ("", rule)):
            if pair in self.violations:
                return pair
        return ("", _UNKNOWN_RULE)


def _by_unsent(blocks: Sequence[Block]) -> Collection[list[Block]]:
    """Blocks whose outputs can be counted together."""
    found: dict[tuple[str, ...], list[Block]] = {}
    for block in blocks:
        found.setdefault(tuple(block.unsent), []).append(block)
    return found.values()


def _violated(blocks: Sequence[Block]) -> dict[int, list[tuple[str, str, int]]]:
    """What was found in parsing, by the place of the prediction among all."""
    found: dict[int, list[tuple[str, str, int]]] = {}
    before = 0
    for block in blocks:
        for place, feature, rule, count in block.violations:
            found.setdefault(before + place, []).append((feature, rule, count))
        before += len(block.prediction_ids)
    return found


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
