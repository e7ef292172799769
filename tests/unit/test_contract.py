"""The contract finds exactly the rows that break it, and says which rule of which feature."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.contract import RULES, Checker, Rule, check, infer, parse_rules, to_document
from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, Feature, Schema
from seamark.profile import Column, Profile

SCHEMA = Schema("binary", (Feature("age"), Feature("city", CATEGORY), Feature("income")), (0, 1))
INF, NAN = math.inf, math.nan


def number(name: str, low: float | None, high: float | None, missing: int = 0, rows: int = 10) -> Column:
    return Column(name, "number", counts=(rows, missing), low=low, high=high)


def category(other: int, missing: int = 0, values: tuple[str, ...] = ("a", "b")) -> Column:
    return Column("city", "category", values=values, counts=(*(5 for _ in values), other, missing))


def rules_for(*columns: Column) -> tuple[Rule, ...]:
    names = {column.name for column in columns}
    schema = Schema("regression", tuple(f for f in SCHEMA.features if f.name in names))
    return infer(schema, Profile(10, columns))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(10, 30, (0.0, 50), id="widened by one range but not below 0"),
        pytest.param(50, 60, (40, 70), id="widened by one range on each side"),
        pytest.param(0, 1, (0.0, 2), id="zero is not negative"),
        pytest.param(-1, 3, (-5, 7), id="a reference with negative values may go further down"),
        pytest.param(-1.5e308, 1.0e308, (None, None), id="a range too wide for a float is open"),
    ],
)
def test_a_range_is_the_references_widened(low: float, high: float, expected: tuple[float, float]) -> None:
    (rule,) = [rule for rule in rules_for(number("age", low, high)) if rule.rule == "range"]
    assert (rule.low, rule.high) == expected


@pytest.mark.parametrize("column", [number("age", 5, 5), number("age", None, None)], ids=["constant", "empty"])
def test_a_reference_without_spread_suggests_no_range(column: Column) -> None:
    assert "range" not in [rule.rule for rule in rules_for(column)]


@pytest.mark.parametrize(
    ("missing", "rows", "expected"), [(0, 10, True), (1, 10, False), (0, 0, False)], ids=["none", "one", "no rows"]
)
def test_missing_breaks_the_contract_where_the_reference_had_none(missing: int, rows: int, expected: bool) -> None:
    found = [rule for rule in rules_for(number("age", 1, 2, missing, rows)) if rule.rule == "missing"]
    assert found == ([Rule("age", "missing", max_share=0.0)] if expected else [])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (category(other=0), [Rule("city", "missing"), Rule("city", "category", values=("a", "b"))]),
        (category(other=1, missing=1), []),
        (category(other=0, missing=1, values=()), []),
    ],
    ids=["all categories are known", "some are not", "there are none"],
)
def test_categories_are_ruled_where_all_are_known(column: Column, expected: list[Rule]) -> None:
    assert list(rules_for(column)) == expected


def test_a_feature_that_the_profile_lacks_must_still_be_finite() -> None:
    assert infer(SCHEMA, Profile(0, ())) == (Rule("age", "nonfinite"), Rule("income", "nonfinite"))


ALL_RULES = (
    Rule("age", "missing"),
    Rule("age", "nonfinite"),
    Rule("age", "range", 0, 100),
    Rule("city", "missing"),
    Rule("city", "category", values=("a", "b")),
)


@pytest.mark.parametrize(
    ("age", "city", "expected"),
    [
        (0.0, "a", {}),
        (100.0, "b", {}),
        (-0.1, "a", {("age", "range"): 1}),
        (100.1, "a", {("age", "range"): 1}),
        (NAN, "a", {("age", "missing"): 1}),
        (INF, "a", {("age", "nonfinite"): 1}),
        (-INF, "a", {("age", "nonfinite"): 1}),
        (1.0, None, {("city", "missing"): 1}),
        (1.0, "c", {("city", "category"): 1}),
        (NAN, "", {("age", "missing"): 1, ("city", "category"): 1}),
    ],
)
def test_each_rule_has_two_ends(age: float, city: str | None, expected: dict[tuple[str, str], int]) -> None:
    found = check(ALL_RULES, SCHEMA, np.array([[age, 7.0], [50.0, NAN]]), [[city, "a"]])
    assert found.by_rule == expected
    assert found.rows.tolist() == [bool(expected), False]


def test_an_infinite_value_is_out_of_range_where_it_may_be_infinite() -> None:
    found = check([Rule("age", "range", high=100)], SCHEMA, np.array([[INF, 0.0], [-INF, 0.0]]), [["a", "a"]])
    assert found.by_rule == {("age", "range"): 1}


def test_a_rule_that_tolerates_a_share_counts_rows_but_blames_none() -> None:
    rules = [
        Rule("age", "missing", max_share=0.5),
        Rule("city", "missing", max_share=0.1),
        Rule("city", "category", values=("a",), max_share=0.1),
    ]
    found = check(rules, SCHEMA, np.array([[NAN, 0.0], [1.0, 0.0]]), [[None, "z"]])
    assert found.by_rule == {("age", "missing"): 1, ("city", "missing"): 1, ("city", "category"): 1}
    assert not found.rows.any()


def test_no_rule_and_no_row_break_nothing() -> None:
    assert check([], SCHEMA, np.array([[NAN, INF]]), [[None]]).by_rule == {}
    assert check(ALL_RULES, SCHEMA, np.empty((0, 2)), [[]]).rows.tolist() == []


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="city has 1 values for 2 rows"):
        check(ALL_RULES, SCHEMA, np.zeros((2, 2)), [["a"]])


@given(
    st.lists(
        st.tuples(st.floats(allow_subnormal=False), st.floats(), st.sampled_from(["a", "b", "c", "", None])),
        max_size=30,
    )
)
def test_a_block_is_judged_as_its_rows_are_one_by_one(rows: list[tuple[float, float, str | None]]) -> None:
    numbers = np.array([[age, income] for age, income, _ in rows]).reshape(-1, 2)
    together = Checker(ALL_RULES, SCHEMA).check(numbers, [[city for _, _, city in rows]])
    alone = [check(ALL_RULES, SCHEMA, numbers[i : i + 1], [[row[2]]]) for i, row in enumerate(rows)]
    assert together.rows.tolist() == [bool(found.rows[0]) for found in alone]
    keys = {key for found in alone for key in found.by_rule}
    assert together.by_rule == {key: sum(found.by_rule.get(key, 0) for found in alone) for key in keys}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule("height", "missing"), "the schema has no feature 'height'"),
        (Rule("city", "range", 0, 1), "feature 'city' is a category and takes no rule 'range'"),
        (Rule("age", "category", values=("1",)), "feature 'age' is a number and takes no rule 'category'"),
        (Rule("age", "type"), "feature 'age' is a number and takes no rule 'type'"),
        (Rule("age", "missing"), "feature 'age' has two rules 'missing'"),
    ],
)
def test_a_rule_that_does_not_fit_the_schema_is_refused(rule: Rule, problem: str) -> None:
    with pytest.raises(InvalidPackage) as error:
        Checker((Rule("age", "missing"), rule), SCHEMA)
    assert str(error.value) == f"Cannot use the contract: {problem}"


def test_rules_survive_the_file() -> None:
    rules = (*ALL_RULES, Rule("income", "range", high=1e6, max_share=0.01), Rule("income", "missing", max_share=1.0))
    assert parse_rules(json.loads(json.dumps(to_document(rules), allow_nan=False))) == rules


BAD_RULES = [
    (3, "it is not a mapping with format 1"),
    ({"format": 2, "rules": []}, "it is not a mapping with format 1"),
    ({"format": 1}, "rules: it is not a list"),
    ({"format": 1, "rules": [1]}, "rules[0]: it is not a mapping"),
]
BAD_ENTRIES = [
    ({"low": 1, "lo": 2}, ": unknown field 'lo'; allowed here: feature, rule, low, high, values, maxShare"),
    ({"feature": ""}, ".feature: it is not the name of a feature"),
    ({"feature": 3}, ".feature: it is not the name of a feature"),
    ({"rule": "type"}, ".rule: it is not one of missing, nonfinite, range, category"),
    ({"rule": ["range"]}, ".rule: it is not one of missing, nonfinite, range, category"),
    ({"low": True}, ".low: it is not a finite number"),
    ({"low": "1"}, ".low: it is not a finite number"),
    ({"high": NAN}, ".high: it is not a finite number"),
    ({"high": 10**400}, ".high: it is not a finite number"),
    ({"rule": "missing", "low": 1}, ": low and high belong to range, not to missing"),
    ({"rule": "missing", "high": 1}, ": low and high belong to range, not to missing"),
    ({}, ": range needs low, high or both"),
    ({"low": 2, "high": 1}, ".low: 2 is more than high, 1"),
    ({"low": 1, "values": ["a"]}, ".values: range takes no values"),
    ({"rule": "category"}, ".values: category needs values"),
    ({"rule": "category", "values": "a"}, ".values: it is not a list of texts"),
    ({"rule": "category", "values": [1]}, ".values: it is not a list of texts"),
    ({"low": 1, "maxShare": 1.5}, ".maxShare: it is not a number between 0 and 1"),
    ({"low": 1, "maxShare": -0.1}, ".maxShare: it is not a number between 0 and 1"),
    ({"low": 1, "maxShare": None}, ".maxShare: it is not a number between 0 and 1"),
]


@pytest.mark.parametrize(
    ("document", "problem"),
    BAD_RULES
    + [
        ({"format": 1, "rules": [{"feature": "age", "rule": "range", **entry}]}, f"rules[0]{problem}")
        for entry, problem in BAD_ENTRIES
    ],
)
def test_a_bad_contract_file_is_refused_with_the_place(document: object, problem: str) -> None:
    with pytest.raises(InvalidPackage) as error:
        parse_rules(document)
    assert str(error.value) == f"Cannot read contract.json: {problem}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
ENTRIES = st.dictionaries(
    st.sampled_from(["feature", "rule", "low", "high", "values", "maxShare"]), JSON | st.sampled_from(RULES)
)


@given(JSON | st.fixed_dictionaries({"format": st.just(1), "rules": st.lists(ENTRIES, max_size=3) | JSON}))
def test_parsing_raises_nothing_but_invalid_package(document: object) -> None:
    try:
        rules = parse_rules(document)
    except InvalidPackage:
        return
    assert parse_rules(to_document(rules)) == rules
