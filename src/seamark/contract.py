"""The contract: what every input row must keep to, feature by feature.

`type` and `shape` are always found while a request is parsed and take no rule. The others are checked on values:

missing    no value (NaN, None)
nonfinite  plus or minus infinity
range      a number below `low` or above `high`
category   a text that is not one of `values`
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Schema
from seamark.profile import Column, Profile

__all__ = ["RULES", "Checker", "Rule", "Violations", "check", "infer", "parse_rules", "to_document"]

RULES = ("type", "missing", "nonfinite", "range", "category", "shape")

_FORMAT = 1
_APPLIES_TO = {
    "missing": (NUMBER, CATEGORY),
    "nonfinite": (NUMBER,),
    "range": (NUMBER,),
    "category": (CATEGORY,),
}
_FIELDS = ("feature", "rule", "low", "high", "values", "maxShare")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for one feature; a bound of None is open.

    max_share: the share of rows, 0..1, that may break the rule. Every row that breaks it is counted, but only a rule
    with max_share 0 marks the row itself as violating.
    """

    feature: str
    rule: str
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    max_share: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Violations:
    """by_rule: rows that break a rule, by (feature, rule), broken rules only. rows: which rows violate the contract."""

    by_rule: dict[tuple[str, str], int]
    rows: NDArray[np.bool_]


def infer(schema: Schema, profile: Profile) -> tuple[Rule, ...]:
    """The rules that reference data suggests, in the schema's order.

    Ranges are the reference's, widened by one whole range on each side, but not below 0 where the reference is never
    negative; a constant suggests none. Missing values break the contract where the reference had none; unknown
    categories where the profile knows all of the reference's.
    """
    columns = {column.name: column for column in profile.features}
    rules: list[Rule] = []
    for feature in schema.features:
        column = columns.get(feature.name)
        if column and sum(column.counts) and column.counts[-1] == 0:
            rules.append(Rule(feature.name, "missing"))
        if feature.type == NUMBER:
            rules.append(Rule(feature.name, "nonfinite"))
            rules.extend(_range(column) if column else ())
        elif column and column.values and column.counts[-2] == 0:
            rules.append(Rule(feature.name, "category", values=column.values))
    return tuple(rules)


def _range(column: Column) -> tuple[Rule, ...]:
    if column.low is None or column.high is None or column.low >= column.high:
        return ()
    width = column.high - column.low
    low = column.low - width
    high = column.high + width
    if column.low >= 0:
        low = max(low, 0.0)
    # Near the largest float the widened bounds overflow; such a side is open.
    rule = Rule(column.name, "range", low if math.isfinite(low) else None, high if math.isfinite(high) else None)
    return (rule,)


class Checker:
    """Rules made ready for many checks; raises `InvalidPackage` for a rule that does not fit the schema."""

    def __init__(self, rules: Sequence[Rule], schema: Schema) -> None:
        _rules_fit(rules, schema)
        by_key = {(rule.feature, rule.rule): rule for rule in rules}
        self._missing = _Columns("missing", schema.numbers, by_key)
        self._nonfinite = _Columns("nonfinite", schema.numbers, by_key)
        self._range = _Columns("range", schema.numbers, by_key)
        ranges = [by_key.get((name, "range")) for name in schema.numbers]
        self._low = np.array([-np.inf if rule is None or rule.low is None else rule.low for rule in ranges])
        self._high = np.array([np.inf if rule is None or rule.high is None else rule.high for rule in ranges])
        self._texts = [
            _Texts(name, by_key.get((name, "missing")), by_key.get((name, "category"))) for name in schema.categories
        ]

    def check(self, numbers: NDArray[np.float64], categories: Sequence[Sequence[str | None]]) -> Violations:
        """Judges a block of rows.

        numbers: rows x len(schema.numbers), NaN for missing; categories: one sequence of rows texts (or None) for each
        categorical feature. An infinite value that breaks `nonfinite` is not counted under `range` as well.
        """
        by_rule: dict[tuple[str, str], int] = {}
        rows = np.zeros(len(numbers), dtype=np.bool_)
        infinite = np.isinf(numbers) & self._nonfinite.ruled
        outside = ((numbers < self._low) | (numbers > self._high)) & ~infinite
        self._missing.add(np.isnan(numbers), by_rule, rows)
        self._nonfinite.add(infinite, by_rule, rows)
        self._range.add(outside, by_rule, rows)
        for texts, values in zip(self._texts, categories, strict=True):
            texts.add(values, by_rule, rows)
        return Violations(by_rule, rows)


class _Columns:
    """One rule over all numeric features."""

    def __init__(self, rule: str, names: Sequence[str], by_key: Mapping[tuple[str, str], Rule]) -> None:
        self._keys = [(name, rule) for name in names]
        found = [by_key.get(key) for key in self._keys]
        self.ruled = np.array([known is not None for known in found], dtype=np.bool_)
        self._strict = np.array([known is not None and known.max_share == 0 for known in found], dtype=np.bool_)

    def add(self, broken: NDArray[np.bool_], by_rule: dict[tuple[str, str], int], rows: NDArray[np.bool_]) -> None:
        if not broken.any():
            return
        broken = broken & self.ruled
        counts = np.count_nonzero(broken, axis=0)
        for i in np.flatnonzero(counts):
            by_rule[self._keys[i]] = int(counts[i])
        rows |= (broken & self._strict).any(axis=1)


class _Texts:
    """The rules of one categorical feature."""

    def __init__(self, name: str, missing: Rule | None, category: Rule | None) -> None:
        self._name = name
        self._missing = missing
        self._category = category
        self._known: frozenset[str | None] = frozenset((*(category.values if category else ()), None))

    def add(self, values: Sequence[str | None], by_rule: dict[tuple[str, str], int], rows: NDArray[np.bool_]) -> None:
        if len(values) != len(rows):
            raise ValueError(f"{self._name} has {len(values)} values for {len(rows)} rows")
        if self._missing and None in values:
            self._mark(self._missing, [value is None for value in values], by_rule, rows)
        if self._category and not self._known.issuperset(values):
            self._mark(self._category, [value not in self._known for value in values], by_rule, rows)

    def _mark(
        self, rule: Rule, broken: list[bool], by_rule: dict[tuple[str, str], int], rows: NDArray[np.bool_]
    ) -> None:
        by_rule[self._name, rule.rule] = sum(broken)
        if rule.max_share == 0:
            rows |= np.array(broken, dtype=np.bool_)


def check(
    rules: Sequence[Rule],
    schema: Schema,
    numbers: NDArray[np.float64],
    categories: Sequence[Sequence[str | None]],
) -> Violations:
    """Judges one block of rows; keep a `Checker` for more than one."""
    return Checker(rules, schema).check(numbers, categories)


def _rules_fit(rules: Sequence[Rule], schema: Schema) -> None:
    types = {feature.name: feature.type for feature in schema.features}
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        kind = types.get(rule.feature)
        if kind is None:
            raise InvalidPackage(f"Cannot use the contract: the schema has no feature {rule.feature!r}")
        if kind not in _APPLIES_TO.get(rule.rule, ()):
            raise InvalidPackage(
                f"Cannot use the contract: feature {rule.feature!r} is a {kind} and takes no rule {rule.rule!r}"
            )
        if (rule.feature, rule.rule) in seen:
            raise InvalidPackage(f"Cannot use the contract: feature {rule.feature!r} has two rules {rule.rule!r}")
        seen.add((rule.feature, rule.rule))


def to_document(rules: Sequence[Rule]) -> dict[str, Any]:
    """`contract.json` as a document, ready for `json.dumps`; what is left at its default is left out."""
    return {"format": _FORMAT, "rules": [_to_entry(rule) for rule in rules]}


def _to_entry(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"feature": rule.feature, "rule": rule.rule}
    if rule.low is not None:
        entry["low"] = rule.low
    if rule.high is not None:
        entry["high"] = rule.high
    if rule.values:
        entry["values"] = list(rule.values)
    if rule.max_share:
        entry["maxShare"] = rule.max_share
    return entry


def parse_rules(document: object) -> tuple[Rule, ...]:
    """The rules of a `contract.json` document (already read from JSON), or `InvalidPackage` naming the mistake."""
    if not isinstance(document, Mapping) or document.get("format") != _FORMAT:
        raise _mistake("", f"it is not a mapping with format {_FORMAT}")
    entries = document.get("rules")
    if not isinstance(entries, list):
        raise _mistake("rules", "it is not a list")
    return tuple(_rule(entry, f"rules[{i}]") for i, entry in enumerate(entries))


def _mistake(path: str, problem: str) -> InvalidPackage:
    where = f"{path}: " if path else ""
    return InvalidPackage(f"Cannot read contract.json: {where}{problem}")


def _rule(entry: object, path: str) -> Rule:
    if not isinstance(entry, Mapping):
        raise _mistake(path, "it is not a mapping")
    unknown = [key for key in entry if key not in _FIELDS]
    if unknown:
        raise _mistake(path, f"unknown field {str(unknown[0])[:60]!r}; allowed here: {', '.join(_FIELDS)}")
    feature, name = entry.get("feature"), entry.get("rule")
    if not isinstance(feature, str) or not feature:
        raise _mistake(f"{path}.feature", "it is not the name of a feature")
    if not isinstance(name, str) or name not in _APPLIES_TO:
        raise _mistake(f"{path}.rule", f"it is not one of {', '.join(_APPLIES_TO)}")
    low, high = _bound(entry, "low", path), _bound(entry, "high", path)
    _bounds_fit(name, low, high, path)
    return Rule(feature, name, low, high, _values(entry, name, path), _share(entry, path))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _bound(entry: Mapping[str, Any], key: str, path: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if not _is_number(value):
        raise _mistake(f"{path}.{key}", "it is not a finite number")
    return float(value)


def _bounds_fit(rule: str, low: float | None, high: float | None, path: str) -> None:
    if rule != "range":
        if low is not None or high is not None:
            raise _mistake(path, f"low and high belong to range, not to {rule}")
        return
    if low is None and high is None:
        raise _mistake(path, "range needs low, high or both")
    if low is not None and high is not None and low > high:
        raise _mistake(f"{path}.low", f"{low:g} is more than high, {high:g}")


def _values(entry: Mapping[str, Any], rule: str, path: str) -> tuple[str, ...]:
    values = entry.get("values", [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _mistake(f"{path}.values", "it is not a list of texts")
    if bool(values) != (rule == "category"):
        raise _mistake(f"{path}.values", f"{rule} {'needs values' if rule == 'category' else 'takes no values'}")
    return tuple(values)


def _share(entry: Mapping[str, Any], path: str) -> float:
    value = entry.get("maxShare", 0.0)
    if not _is_number(value) or not 0 <= value <= 1:
        raise _mistake(f"{path}.maxShare", "it is not a number between 0 and 1")
    return float(value)
