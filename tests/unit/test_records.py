"""Records on the wire start empty, keep their fields' order, and evidence counts what it says."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.evidence import Share
from seamark.records import Block, Frame, LogBatch, Prediction, pack, unpack
from seamark.state import Revision, State


def test_a_refused_prediction_needs_no_values() -> None:
    prediction = Prediction("id-1", 1.0, 0.001, 422, 3)
    assert (prediction.numbers, prediction.outputs) == (b"", b"")
    assert (prediction.categories, prediction.violations) == ([], [])


def test_two_predictions_share_no_list() -> None:
    first, second = (Prediction(f"id-{i}", 1.0, 0.001, 200, 1) for i in range(2))
    first.categories.append(["rio"])
    first.violations.append(("age", "range", 1))
    assert (second.categories, second.violations) == ([], [])


def test_blocks_are_read_back_as_they_were_written() -> None:
    values = np.array([[1.5, np.nan], [-0.0, np.inf]])
    prediction = Prediction("id", 1.0, 0.001, 200, 2, numbers=values.astype("<f8").tobytes())
    np.testing.assert_array_equal(np.frombuffer(prediction.numbers, "<f8").reshape(prediction.rows, -1), values)


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (
            Prediction,
            "prediction_id time latency status rows numbers categories outputs violations unsent",
        ),
        (
            Block,
            "prediction_ids times latencies rows numbers categories outputs violations unsent",
        ),
        (Frame, "sender dropped answered others"),
        (LogBatch, "source sequence namespace deployment revision numbers categories outputs blocks"),
    ],
)
def test_field_names_are_the_wire_format(record: type, names: str) -> None:
    assert [field.name for field in fields(record)] == names.split()


texts = st.none() | st.text(max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> list[Prediction]:
    width, lists, outputs = draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2))
    unsent = draw(st.lists(st.text(max_size=3), max_size=1))
    found = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.integers(0, 9)), max_size=2)
    return [
        Prediction(
            draw(st.text(max_size=4)),
            draw(st.floats(allow_nan=False)),
            draw(st.floats(allow_nan=False)),
            200,
            rows,
            draw(st.binary(min_size=8 * width * rows, max_size=8 * width * rows)),
            [draw(st.lists(texts, min_size=rows, max_size=rows)) for _ in range(lists)],
            draw(st.binary(min_size=8 * outputs * rows, max_size=8 * outputs * rows)),
            draw(found),
            unsent,
        )
        for rows in draw(st.lists(st.integers(1, 3), max_size=4))
    ]


@given(answers())
def test_a_block_gives_back_the_predictions_that_were_put_in(predictions: list[Prediction]) -> None:
    assert unpack(pack(predictions)) == predictions


@pytest.mark.parametrize(
    ("changes", "carries", "answered"),
    [
        ({}, True, True),
        ({"numbers": b"", "categories": [["red"]]}, True, True),
        ({"status": 422, "outputs": b""}, True, False),
        ({"status": 500}, True, False),
        ({"outputs": b""}, True, False),
        ({"numbers": b""}, False, False),
        ({"rows": 0}, False, False),
        ({"rows": -1}, False, False),
    ],
    ids=str,
)
def test_an_answer_has_inputs_and_outputs(changes: dict[str, Any], carries: bool, answered: bool) -> None:
    prediction = replace(Prediction("a", 1.0, 0.001, 200, 1, bytes(8), [], bytes(8)), **changes)
    assert (prediction.carries_inputs, prediction.is_answered) == (carries, answered)


def test_records_turn_into_plain_maps() -> None:
    batch = LogBatch("s", 1, "default", "churn", "churn-1", ["age"], [], ["prediction"], [])
    assert LogBatch(**asdict(batch)) == batch


@pytest.mark.parametrize(("share", "value"), [(Share(1, 4), 0.25), (Share(0, 5), 0.0), (Share(0, 0), None)])
def test_a_share_of_nothing_has_no_value(share: Share, value: float | None) -> None:
    assert share.value == value


def test_a_state_finds_its_revisions_by_name() -> None:
    revision = Revision("churn-1", "file:///m", "a" * 64, "spec", 0.0)
    state = State(revisions=(revision,))
    assert state.revision("churn-1") is revision
    assert state.revision("churn-2") is None
    assert state.revision(None) is None
