"""A profile's bins hold every value once, add up, and survive the file."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, Feature, Schema
from seamark.profile import Column, Profile, bin_categories, bin_numbers, build, class_bin, parse_profile

SCHEMA = Schema("binary", (Feature("age"), Feature("city", CATEGORY)), ("no", "yes"))
REGRESSION = Schema("regression", (Feature("age"),))
FLOATS = arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats())


def number_column(values: list[float]) -> Column:
    numbers = np.array(values, dtype=float).reshape(-1, 1)
    return build(REGRESSION, numbers, [], np.zeros((len(values), 1)), None).features[0]


def example() -> Profile:
    generator = np.random.default_rng(1)
    numbers = generator.normal(size=(200, 1))
    numbers[:5] = math.nan
    cities = [["rio", "são paulo", "b", None][i % 4] for i in range(200)]
    scores = generator.random(200)
    outputs = np.column_stack([scores > 0.5, scores])
    return build(SCHEMA, numbers, [cities], outputs, np.append(np.ones(199), math.nan), {"age": 0.7})


def test_a_profile_holds_every_column_in_the_schemas_order() -> None:
    profile = example()
    assert profile.rows == 200
    assert [column.name for column in profile.features] == ["age", "city"]
    assert [column.name for column in profile.outputs] == ["prediction", "score"]
    assert [column.importance for column in profile.features] == [0.7, None]
    assert profile.label is not None
    assert (profile.label.values, profile.label.counts) == (("0", "1"), (0, 199, 0, 1))
    for column in (*profile.features, *profile.outputs, profile.label):
        assert sum(column.counts) == 200
        assert len(column.counts) == column.bins == len(column.labels)


def test_a_profile_survives_the_file() -> None:
    assert parse_profile(example().to_json()) == example()


def test_a_profile_without_labels_survives_the_file() -> None:
    profile = Profile(1, (number_column([1.0]),), (number_column([2.0]),))
    assert parse_profile(profile.to_json()) == profile


def test_quantile_bins_hold_equally_many() -> None:
    assert number_column([float(i) for i in range(100)]).counts == (*[10] * 10, 0)


@pytest.mark.parametrize(
    ("values", "counts", "edges"),
    [
        pytest.param([3.0] * 10, (0, 10, 0, 0), 2, id="a constant"),
        pytest.param([0.0] * 95 + [1.0, 2, 3, 4, 5], (0, 95, 5, 0), 2, id="mostly zero"),
        pytest.param([0.0, 1.0] * 50, (0, 50, 0, 50, 0, 0), 4, id="two values"),
        pytest.param([1.0, math.nan, math.inf, -math.inf], (1, 1, 1, 1), 2, id="infinities are in the end bins"),
        pytest.param([math.nan], (0, 1), 0, id="only missing"),
        pytest.param([], (0, 0), 0, id="no rows"),
        pytest.param([1.7e308, -1.7e308] * 5, (0, 5, 0, 5, 0, 0), 4, id="the largest floats"),
    ],
)
def test_a_value_that_fills_a_bin_has_one_of_its_own(values: list[float], counts: tuple[int, ...], edges: int) -> None:
    column = number_column(values)
    assert (column.counts, len(column.edges)) == (counts, edges)


def test_a_move_off_a_constant_is_seen() -> None:
    column = number_column([0.0] * 10)
    before, after = bin_numbers(np.array([[0.0]]), [column])[0], bin_numbers(np.array([[1e-9]]), [column])[0]
    assert before.tolist() != after.tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-math.inf, 0), (0.99, 0), (1.0, 1), (1.5, 1), (2.0, 2), (math.inf, 2), (math.nan, 3)],
)
def test_an_edge_belongs_to_the_bin_above(value: float, expected: int) -> None:
    column = Column("x", "number", edges=(1.0, 2.0), counts=(0, 0, 0, 0))
    assert bin_numbers(np.array([[value]]), [column])[0].tolist() == [int(i == expected) for i in range(4)]
    assert column.labels == ("0", "1", "2", "missing")


NUMBERS = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 1.0, 2.5, math.inf, math.nan]) | st.floats()
#: Few edges are compared with, many are searched among; none is a column of one bin.
EDGES = st.sampled_from([0, 1, 3, 9, 64, 65, 300])


@given(st.lists(EDGES, max_size=4), st.data())
def test_every_value_is_counted_once_in_the_bin_that_its_edges_say(widths: list[int], data: st.DataObject) -> None:
    columns = [Column(f"x{i}", "number", edges=tuple(map(float, range(width)))) for i, width in enumerate(widths)]
    shape = (data.draw(st.integers(0, 20)), len(columns))
    values = data.draw(arrays.arrays(np.float64, shape, elements=NUMBERS))
    for i, (column, counts) in enumerate(zip(columns, bin_numbers(values, columns), strict=True)):
        expected = [0] * column.bins
        for value in values[:, i].tolist():
            place = column.bins - 1 if math.isnan(value) else sum(edge <= value for edge in column.edges)
            expected[place] += 1
        assert counts.tolist() == expected
        assert counts.dtype == np.int64


def test_categories_are_known_other_or_missing() -> None:
    column = Column("city", "category", values=("a", "b"), counts=(0, 0, 0, 0))
    assert bin_categories(["a", "b", "b", "", "z", None], column).tolist() == [1, 2, 2, 1]
    assert column.labels == ("a", "b", "other", "missing")


def test_a_category_called_other_does_not_share_the_bins_name() -> None:
    column = Column("city", "category", values=("other", "=other", "missing", "rio"))
    assert column.labels == ("=other", "==other", "=missing", "rio", "other", "missing")


def test_the_twenty_commonest_categories_are_known() -> None:
    cities = [f"c{i:02}" for i in range(25) for _ in range(30 - i)]
    profile = build(
        Schema("regression", (Feature("city", CATEGORY),)),
        np.empty((len(cities), 0)),
        [cities],
        np.zeros((len(cities), 1)),
        None,
    )
    assert profile.features[0].values == tuple(f"c{i:02}" for i in range(20))
    assert profile.features[0].counts[-2:] == (sum(30 - i for i in range(20, 25)), 0)


@given(FLOATS, FLOATS, FLOATS)
def test_counts_of_parts_add_up_to_the_whole(reference: Any, first: Any, second: Any) -> None:
    column = number_column(reference.tolist())
    parts = [bin_numbers(values.reshape(-1, 1), [column])[0] for values in (first, second)]
    whole = bin_numbers(np.concatenate([first, second]).reshape(-1, 1), [column])[0]
    assert (sum(parts) == whole).all()
    assert whole.sum() == len(first) + len(second)
    profile = Profile(len(reference), (column,))
    assert parse_profile(profile.to_json()) == profile


@pytest.mark.parametrize(("value", "expected"), [(0.0, "0"), (3.0, "3"), (math.nan, None), (math.inf, None)])
def test_a_class_is_binned_by_its_index(value: float, expected: str | None) -> None:
    assert class_bin(value) == expected


def changed(**changes: object) -> bytes:
    document = json.loads(Profile(3, (Column("x", "number", edges=(1.0, 2.0), counts=(1, 1, 1, 0)),)).to_json())
    for key, value in changes.items():
        if key in document:
            document[key] = value
        else:
            document["features"][0][key.removeprefix("column_")] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed(format=2), "format is 2; this Seamark reads 1"),
        (changed(rows=-1), "column 'rows' holds -1, not a count"),
        (changed(rows=True), "column 'rows' holds True, not a count"),
        (changed(column_name=3), "column 3 has type 'number'; allowed: number, category"),
        (changed(column_type="image"), "column 'x' has type 'image'; allowed: number, category"),
        (changed(counts=[1, 1]), "column 'x' has 2 counts for 4 bins"),
        (changed(counts=[1, 1, 1, -1]), "column 'x' holds -1, not a count"),
        (changed(counts=[1, 1, 1, 0.5]), "column 'x' holds 0.5, not a count"),
        (changed(edges=[2, 1]), "column 'x' has edges that do not grow"),
        (changed(edges=[1, 1]), "column 'x' has edges that do not grow"),
        (changed(edges=[1, math.nan]), "column 'x' holds nan, not a finite number"),
        (changed(low=math.inf), "column 'x' holds inf, not a finite number"),
        (changed(importance="high"), "column 'x' holds 'high', not a finite number"),
        (changed(values=[1]), "column 'x' holds 1, not a text"),
        (changed(column_type="category", values=["a", "a"]), "column 'x' has a category twice"),
        (changed(features=3), "'int' object is not iterable"),
        (b"[]", "list indices must be integers or slices, not str"),
        (b"{}", "'format' is missing"),
        (changed(low=10**400), "int too large to convert to float"),
    ],
)
def test_a_bad_profile_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidPackage) as error:
        parse_profile(content)
    assert str(error.value) == f"Cannot read profile.json: {problem}"


def test_two_columns_of_one_name_are_refused() -> None:
    column = number_column([1.0])
    with pytest.raises(InvalidPackage, match="two columns have one name"):
        parse_profile(Profile(1, (column, column)).to_json())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KEYS = st.sampled_from(["rows", "features", "label", "column_name", "column_type", "edges", "values", "counts", "low"])


@given(
    st.binary(max_size=50)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(KEYS, JSON, max_size=3).map(
        lambda changes: changed(**{key: value for key, value in changes.items() if key != "features"})
    )
)
def test_any_bytes_raise_nothing_but_invalid_package(content: bytes) -> None:
    try:
        profile = parse_profile(content)
    except InvalidPackage:
        return
    assert parse_profile(profile.to_json()) == profile


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(InvalidPackage):
        parse_profile(b"[" * 100_000)
