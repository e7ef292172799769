"""Feedback is taken whole or refused with the place and the mistake."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark_collector import labels
from seamark_collector.labels import Feedback, Label


def from_document(**changes: Any) -> Feedback:
    document = {"deployment": "m", "labels": [{"prediction_id": "a", "label": 1}], **changes}
    return labels.from_json(json.dumps(document).encode())


def one(**changes: Any) -> Label:
    return from_document(labels=[{"prediction_id": "a", "label": 1, **changes}]).labels[0]


def test_namespace_row_and_time_have_defaults() -> None:
    assert from_document() == Feedback("default", "m", (Label("a", 0, "1", None),))


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        ("benign", "benign"),
        ("1.0", "1.0"),
        ("x" * 256, "x" * 256),
    ],
)
def test_labels_of_every_type_are_kept_as_text(label: object, text: str) -> None:
    assert one(label=label).label == text


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-31T10:00:00Z", 1_769_853_600_000_000),
        ("2026-01-31T10:00:00", 1_769_853_600_000_000),
        ("2026-01-31T12:00:00.000001+02:00", 1_769_853_600_000_001),
        ("1969-12-31T23:59:59Z", -1_000_000),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, micros: int) -> None:
    assert one(time=text).time == micros


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction_id": ""}, "labels[0].prediction_id: '' is not an id"),
        ({"prediction_id": "a\nb"}, "labels[0].prediction_id: 'a\\nb' is not an id"),
        ({"prediction_id": "x" * 129}, "is not an id of 1 to 128"),
        ({"prediction_id": 7}, "labels[0].prediction_id: 7 is not an id"),
        ({"row": -1}, "labels[0].row: -1 is not a whole number from 0 to 2147483647"),
        ({"row": 2**31}, "labels[0].row: 2147483648 is not a whole number"),
        ({"row": True}, "labels[0].row: True is not a whole number"),
        ({"row": 1.5}, "labels[0].row: 1.5 is not a whole number"),
        ({"label": None}, "labels[0].label: None is not a text"),
        ({"label": " "}, "labels[0].label: ' ' is not a text"),
        ({"label": "x" * 257}, "is not a text of 1 to 256 characters"),
        ({"label": [1]}, "labels[0].label: [1] is not a text"),
        ({"time": "yesterday"}, "labels[0].time: 'yesterday' is not a time"),
        ({"time": 5}, "labels[0].time: 5 is not a time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "labels[0].time: '0001-01-01T00:00:00+14:00' is not a time"),
        ({"colour": 1}, "labels[0]: field 'colour' is unknown; allowed: prediction_id, row, label, time"),
    ],
)
def test_a_wrong_label_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        one(**change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deployment": "../m"}, "deployment: '../m' is not a name"),
        ({"namespace": ""}, "namespace: '' is not a name"),
        ({"labels": []}, "it has 0 labels; 1 to 100000 are allowed"),
        ({"labels": {}}, "labels: {} is not a list"),
        ({"labels": [1]}, "labels[0]: 1 is not a map"),
        ({"labels": [{"label": 1}]}, "labels[0].prediction_id: is missing"),
        ({"model": "m"}, "feedback: field 'model' is unknown"),
    ],
)
def test_a_wrong_document_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_document(**change)
    assert message in str(caught.value)


def test_the_second_of_two_labels_is_named_when_it_is_wrong() -> None:
    with pytest.raises(InvalidInput, match=r"labels\[1\]\.label: is missing"):
        from_document(labels=[{"prediction_id": "a", "label": 1}, {"prediction_id": "b"}])


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"a": NaN}', b"\xff"])
def test_what_is_no_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        labels.from_json(body)


def test_too_many_labels_are_refused_and_just_enough_are_not() -> None:
    many = [{"prediction_id": "a", "row": i, "label": 1} for i in range(labels.MAX_LABELS + 1)]
    assert len(from_document(labels=many[:-1]).labels) == labels.MAX_LABELS
    with pytest.raises(InvalidInput, match="it has 100001 labels"):
        from_document(labels=many)


def test_csv_may_leave_out_row_and_time_and_order_columns_freely() -> None:
    body = b"label,prediction_id\nbenign,a\n\n1.0,b\n"
    assert labels.from_csv(body, "default", "m").labels == (Label("a", 0, "benign", None), Label("b", 0, "1.0", None))


def test_csv_takes_quotes_a_byte_order_mark_and_empty_optional_cells() -> None:
    body = '\ufeffprediction_id,row,label,time\r\n"a","2","very, bad","2026-01-31T10:00:00Z"\r\nb,,1,\r\n'.encode()
    found = labels.from_csv(body, "default", "m").labels
    assert found == (Label("a", 2, "very, bad", 1_769_853_600_000_000), Label("b", 0, "1", None))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "line 1.prediction_id: is missing"),
        (b"prediction_id,label\n", "it has 0 labels"),
        (b"prediction_id\na\n", "line 1.label: is missing"),
        (b"prediction_id,label,label\na,1,1\n", "line 1: a column is named twice"),
        (b"prediction_id,label,score\na,1,1\n", "line 1: field 'score' is unknown"),
        (b"prediction_id,label\na,1\nb\n", "line 3: has 1 cells; the header has 2"),
        (b"prediction_id,label\na,\n", "line 2.label: '' is not a text"),
        (b"prediction_id,row,label\na,x,1\n", "line 2.row: 'x' is not a whole number"),
        (b"prediction_id,label\n\xff,1\n", "byte 20 is not UTF-8"),
        (b'prediction_id,label\n"a,1\n', "unexpected end of data"),
    ],
)
def test_wrong_csv_is_named_by_its_line(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        labels.from_csv(body, "default", "m")
    assert message in str(caught.value)


def test_csv_with_too_many_labels_is_refused() -> None:
    body = b"prediction_id,label\n" + b"a,1\n" * (labels.MAX_LABELS + 1)
    with pytest.raises(InvalidInput, match="more than 100000 labels"):
        labels.from_csv(body, "default", "m")


@given(st.binary(max_size=200))
def test_garbage_csv_is_refused_or_read_and_never_crashes(body: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        assert labels.from_csv(b"prediction_id,label\n" + body, "default", "m").labels


def test_rows_carry_the_key_and_the_day_of_receipt() -> None:
    feedback = Feedback("default", "m", (Label("a", 0, "1", 0), Label("b", 1, "2", None)))
    table = labels.to_rows(feedback, "key", now=1_769_853_600_000_000)
    assert table["date"].to_pylist() == [date(2026, 1, 31)] * 2
    assert table["time"].to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, 10, tzinfo=UTC)]
    assert table["source"].to_pylist() == ["key"] * 2
