"""Labels and predictions meet once, in any order of arrival: the last label received, the champion's answer first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_trainer.joining import join

Prediction = tuple[str, int, int, str, float]
Label = tuple[str, int, str, int]

PREDICTIONS = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("row", pa.int32()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("revision", pa.string()),
        ("x_age", pa.float64()),
    ]
)
LABELS = pa.schema(
    [("prediction_id", pa.string()), ("row", pa.int32()), ("label", pa.string()), ("sequence", pa.int64())]
)


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def joined(predictions: list[Prediction], labels: list[Label]) -> list[tuple[Any, ...]]:
    left = [(identity, row, at(second), revision, age) for identity, row, second, revision, age in predictions]
    table = join(_table(left, PREDICTIONS), _table(labels, LABELS), "champion")
    names = ["prediction_id", "row", "time", "revision", "x_age", "label"]
    assert set(table.column_names) == set(names)
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)], schema=schema)


def reference(predictions: list[Prediction], labels: list[Label]) -> list[tuple[Any, ...]]:
    """The same in plain loops."""
    last = {(identity, row): label for identity, row, label, _ in sorted(labels, key=lambda label: label[3])}
    answers: dict[tuple[str, int], Prediction] = {}
    for prediction in sorted(predictions, key=lambda p: (p[3] != "champion", p[2], p[3])):
        answers.setdefault(prediction[:2], prediction)
    met = [(*answer, last[key]) for key, answer in answers.items() if key in last]
    ordered = sorted(met, key=lambda answer: (answer[2], answer[0], answer[1]))
    return [(identity, row, at(second), *rest) for identity, row, second, *rest in ordered]


@pytest.mark.parametrize(
    ("predictions", "labels", "expected"),
    [
        pytest.param([("a", 0, 5, "champion", 1.0)], [("a", 0, "1", 1)], [("a", "1", 1.0)], id="one of each"),
        pytest.param([("a", 0, 5, "champion", 1.0)], [], [], id="no label yet"),
        pytest.param([], [("a", 0, "1", 1)], [], id="a label for an unknown id, or before its prediction"),
        pytest.param(
            [("a", 0, 5, "champion", 1.0)], [("a", 0, "1", 1), ("a", 0, "1", 2)], [("a", "1", 1.0)], id="a label twice"
        ),
        pytest.param(
            [("a", 0, 5, "champion", 1.0)],
            [("a", 0, "new", 2), ("a", 0, "old", 1)],
            [("a", "new", 1.0)],
            id="contradicting labels: the last received wins, wherever it lies",
        ),
        pytest.param([("a", 0, 5, "champion", 1.0)], [("a", 1, "1", 1)], [], id="a label for another row"),
        pytest.param(
            [("a", 0, 5, "champion", 1.0), ("a", 1, 5, "champion", 2.0)],
            [("a", 1, "x", 1), ("a", 0, "y", 2)],
            [("a", "y", 1.0), ("a", "x", 2.0)],
            id="each row of a request has its own label",
        ),
        pytest.param(
            [("a", 0, 1, "shadow", 1.0), ("a", 0, 2, "champion", 2.0)],
            [("a", 0, "1", 1)],
            [("a", "1", 2.0)],
            id="champion and shadow answered: the champion's row, once",
        ),
        pytest.param(
            [("a", 0, 2, "second", 2.0), ("a", 0, 1, "first", 1.0)],
            [("a", 0, "1", 1)],
            [("a", "1", 1.0)],
            id="the champion did not answer: the oldest answer",
        ),
        pytest.param(
            [("b", 0, 9, "champion", 9.0), ("a", 0, 7, "champion", 7.0)],
            [("b", 0, "1", 1), ("a", 0, "0", 2)],
            [("a", "0", 7.0), ("b", "1", 9.0)],
            id="oldest first",
        ),
    ],
)
def test_join(predictions: list[Prediction], labels: list[Label], expected: list[tuple[str, str, float]]) -> None:
    found = joined(predictions, labels)
    assert [(identity, label, age) for identity, _, _, _, age, label in found] == expected


ids, revisions = st.sampled_from("abc"), st.sampled_from(["champion", "shadow", "other"])
few = st.integers(0, 3)


@given(
    st.lists(
        st.tuples(ids, few, few, revisions, st.floats(0, 9)), max_size=30, unique_by=lambda p: (p[0], p[1], p[2], p[3])
    ),
    st.lists(st.tuples(ids, few, st.sampled_from("01"), st.integers(0, 99)), max_size=30, unique_by=lambda x: x[3]),
    st.randoms(use_true_random=False),
)
def test_the_join_is_what_plain_loops_find_in_any_order_of_arrival(
    predictions: list[Prediction], labels: list[Label], random: Any
) -> None:
    expected = reference(predictions, labels)
    random.shuffle(predictions)
    random.shuffle(labels)
    assert joined(predictions, labels) == expected
