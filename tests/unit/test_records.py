"""Records on the wire start empty, keep their fields' order, and evidence counts what it says."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest

from seamark.evidence import Share
from seamark.records import Frame, LogBatch, Prediction
from seamark.state import Revision, State


def test_a_refused_prediction_needs_no_values() -> None:
    prediction = Prediction("id-1", 1.0, 0.001, 422, 3)
    assert (prediction.protocol, prediction.numbers, prediction.outputs) == ("v2", b"", b"")
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
            "prediction_id time latency status rows protocol numbers categories outputs violations unsent",
        ),
        (Frame, "sender dropped predictions"),
        (LogBatch, "source sequence namespace deployment revision numbers categories outputs predictions"),
    ],
)
def test_field_names_are_the_wire_format(record: type, names: str) -> None:
    assert [field.name for field in fields(record)] == names.split()


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
