"""A batch becomes rows of the log, or is refused with the reason; nothing in between."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark.records import pack
from seamark_collector import rows


def test_every_answered_row_becomes_a_row_with_its_place_in_the_request(records: SimpleNamespace) -> None:
    predictions = [records.prediction("a", rows=2), records.prediction("b")]
    table = rows.to_rows(records.batch(predictions=predictions))
    assert table["prediction_id"].to_pylist() == ["a", "a", "b"]
    assert table["row"].to_pylist() == [0, 1, 0]
    assert table["revision"].to_pylist() == ["m-1a2b3c4d"] * 3
    assert table["time"].to_pylist() == [datetime(2026, 1, 1, 12, tzinfo=UTC)] * 3
    assert table["date"].to_pylist() == [date(2026, 1, 1)] * 3
    assert table["x_mean_radius"].to_pylist() == [0.0, 2.0, 0.0]
    assert table["x_age"].to_pylist() == [1.0, 3.0, 1.0]
    assert table["x_colour"].to_pylist() == ["red"] * 3
    assert table["y_prediction"].to_pylist() == [1.0] * 3
    assert table["y_score"].to_pylist() == [0.75] * 3


def test_a_missing_number_is_null_and_infinity_is_kept(records: SimpleNamespace) -> None:
    values = np.array([np.nan, np.inf]).tobytes()
    table = rows.to_rows(records.batch(predictions=[records.prediction("a", numbers=values, categories=[[None]])]))
    assert table["x_mean_radius"].to_pylist() == [None]
    assert table["x_age"].to_pylist() == [np.inf]
    assert table["x_colour"].to_pylist() == [None]


def test_blocks_of_any_size_become_the_same_rows(records: SimpleNamespace) -> None:
    sizes = [1 + i % 3 for i in range(20)]
    predictions = [
        records.prediction(f"p{i}", rows=size, time=records.noon + i, categories=[[["red", None][i % 2]] * size])
        for i, size in enumerate(sizes)
    ]
    one_by_one = rows.to_rows(records.batch(predictions=predictions))
    blocks = [pack(predictions[:7]), pack([]), pack(predictions[7:])]
    assert rows.to_rows(records.batch(blocks=blocks)) == one_by_one
    assert one_by_one["prediction_id"].to_pylist() == [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]


def test_a_batch_of_nothing_is_empty_with_the_same_columns(records: SimpleNamespace) -> None:
    full = rows.to_rows(records.batch())
    empty = rows.to_rows(records.batch(predictions=[]))
    assert (empty.num_rows, empty.schema) == (0, full.schema)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows are 0 to 0; 1 to 1000000 are allowed"),
        ({"rows": -1}, "rows are -1 to -1; 1 to 1000000 are allowed"),
        ({"rows": 2**62}, "rows are 4611686018427387904 to 4611686018427387904; 1 to 1000000 are allowed"),
        ({"numbers": b"1234"}, "numbers has 4 bytes; 1 rows of 2 values are 16"),
        ({"outputs": b"1234"}, "outputs has 4 bytes; 1 rows of 2 values are 16"),
        ({"categories": []}, "categories does not hold 1 lists of 1 values"),
        ({"categories": [["red", "blue"]]}, "categories does not hold 1 lists of 1 values"),
        ({"prediction_id": ""}, "prediction_ids have 0 to 0 characters; 1 to 128 are allowed"),
        ({"prediction_id": "x" * 129}, "prediction_ids have 129 to 129 characters; 1 to 128 are allowed"),
        ({"time": float("nan")}, "times are nan to nan"),
        ({"time": 0.0}, "times are 0.0 to 0.0; Unix seconds from 946684800 to 7258118400"),
        ({"time": 1e300}, "times are 1e+300"),
    ],
)
def test_a_block_that_makes_no_sense_refuses_the_batch(
    records: SimpleNamespace, change: dict[str, Any], message: str
) -> None:
    predictions = [records.prediction("a"), dataclasses.replace(records.prediction("b"), **change)]
    with pytest.raises(InvalidInput, match=r"^blocks\[1\]: ") as caught:
        rows.to_rows(records.batch(predictions=predictions))
    assert message in str(caught.value)


@pytest.mark.parametrize("column", ["times", "latencies", "rows"])
def test_a_block_with_a_column_cut_short_refuses_the_batch(records: SimpleNamespace, column: str) -> None:
    block = dataclasses.replace(pack([records.prediction("a"), records.prediction("b")]), **{column: bytes(15)})
    with pytest.raises(InvalidInput, match=r"^blocks\[0\]: times, latencies or rows are not 2, as the ids are$"):
        rows.to_rows(records.batch(blocks=[block]))


@pytest.mark.parametrize("size", [1, 128])
def test_an_id_of_any_allowed_length_is_taken(records: SimpleNamespace, size: int) -> None:
    assert rows.to_rows(records.batch(ids=("x" * size,))).num_rows == 1


def test_more_dates_than_files_are_wanted_are_refused(records: SimpleNamespace) -> None:
    def batch(days: int) -> Any:
        return records.batch(
            predictions=[records.prediction(f"p{i}", time=records.noon + 86_400 * i) for i in range(days)]
        )

    assert rows.to_rows(batch(rows.MAX_DATES)).num_rows == rows.MAX_DATES
    with pytest.raises(InvalidInput, match="span more than 400 dates"):
        rows.to_rows(batch(rows.MAX_DATES + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"namespace": ".."}, "namespace: '..' is not a name"),
        ({"deployment": "a/b"}, "deployment: 'a/b' is not a name"),
        ({"deployment": ""}, "deployment: '' is not a name"),
        ({"deployment": "M"}, "deployment: 'M' is not a name"),
        ({"deployment": "m\n"}, r"deployment: 'm\\n' is not a name"),
        ({"deployment": "x" * 64}, "is not a name of 1 to 63"),
        ({"source": ""}, "source: has 0 characters"),
        ({"sequence": 0}, "sequence: 0 is not between 1"),
        ({"sequence": 2**63}, "sequence: 9223372036854775808 is not between 1"),
        ({"numbers": ["x"] * 10_001}, "10004 columns are more than 10000"),
    ],
)
def test_a_batch_that_can_never_be_stored_says_why(
    records: SimpleNamespace, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        rows.decode(msgspec.msgpack.encode(records.batch(**change)))


def test_an_unknown_field_is_ignored(records: SimpleNamespace) -> None:
    document = msgspec.to_builtins(records.batch(), builtin_types=(bytes,)) | {"later": 1}
    assert rows.decode(msgspec.msgpack.encode(document)) == records.batch()


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        rows.decode(body)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InvalidInput):
        rows.decode(b"\x91" * 100_000 + b"\x90")
