"""The writer stores each (source, sequence) once and many requests in one commit, and answers when it is durable."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from seamark.errors import InvalidInput, Unavailable
from seamark_collector import labels, rows, tables
from seamark_collector import writer as writers
from seamark_collector.labels import Feedback, Label
from seamark_collector.names import TableName
from seamark_collector.writer import Append, Stored, Writer

PREDICTIONS = TableName("predictions", "default", "m")
LABELS = TableName("labels", "default", "m")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(str(tmp_path))
    writer.start()
    yield writer
    writer.stop()


def batch(records: SimpleNamespace, sequence: int, *ids: str, **changes: Any) -> Append:
    made = records.batch(sequence, ids or (f"p{sequence}",), **changes)
    return Append(PREDICTIONS, rows.to_rows(made), made.source, made.sequence)


def feedback(*values: str, key: str = "") -> Append:
    entries = tuple(Label("a", 0, value, None) for value in values)
    table = labels.to_rows(Feedback("default", "m", entries), key, now=1_769_853_600_000_000)
    return Append(LABELS, table, f"key-{key}" if key else "", 1)


def send(writer: Writer, *appends: Append) -> list[Stored]:
    for append in appends:
        writer.submit(append)
    return [append.done.result(timeout=20) for append in appends]


def ids(root: Path) -> list[str]:
    return sorted(DeltaTable(str(PREDICTIONS.address(str(root)))).to_pyarrow_table()["prediction_id"].to_pylist())


def test_a_repeated_sequence_is_stored_once(writer: Writer, tmp_path: Path, records: SimpleNamespace) -> None:
    assert send(writer, batch(records, 1, "a", "b")) == [Stored(2)]
    assert send(writer, batch(records, 1, "a", "b")) == [Stored(0, repeated=True)]
    assert ids(tmp_path) == ["a", "b"]


def test_repeats_that_wait_together_are_stored_once(writer: Writer, tmp_path: Path, records: SimpleNamespace) -> None:
    found = send(writer, batch(records, 2), batch(records, 1), batch(records, 2), batch(records, 1))
    assert sum(stored.rows for stored in found) == 2
    assert ids(tmp_path) == ["p1", "p2"]


def test_a_sequence_is_remembered_by_the_next_writer(tmp_path: Path, records: SimpleNamespace) -> None:
    for expected in (Stored(1), Stored(0, repeated=True)):
        writer = Writer(str(tmp_path))
        writer.start()
        assert send(writer, batch(records, 5)) == [expected]
        writer.stop()


def test_sources_have_sequences_of_their_own(writer: Writer, tmp_path: Path, records: SimpleNamespace) -> None:
    send(writer, batch(records, 9, "a"), batch(records, 1, "b", source="spool-2"))
    assert ids(tmp_path) == ["a", "b"]


def test_requests_that_wait_together_share_a_commit(tmp_path: Path, records: SimpleNamespace) -> None:
    writer = Writer(str(tmp_path))
    appends = [batch(records, 1, source=f"spool-{i}") for i in range(20)]
    for append in appends:
        writer.submit(append)
    writer.start()
    assert wait([append.done for append in appends], timeout=20).not_done == set()
    writer.stop()
    # Version 0 is the empty table.
    assert DeltaTable(PREDICTIONS.address(str(tmp_path))).version() == 1


def test_stopping_stores_what_waits(tmp_path: Path, records: SimpleNamespace) -> None:
    writer, append = Writer(str(tmp_path)), batch(records, 1)
    writer.submit(append)
    writer.start()
    writer.stop()
    assert append.done.result(timeout=0) == Stored(1)
    with pytest.raises(Unavailable, match="stopping"):
        writer.submit(batch(records, 2))


def test_a_full_queue_is_refused(tmp_path: Path, records: SimpleNamespace) -> None:
    writer, append = Writer(str(tmp_path)), batch(records, 1)
    for _ in range(writers.MAX_WAITING):
        writer.submit(append)
    with pytest.raises(Unavailable, match="too many requests wait"):
        writer.submit(append)


def test_a_revision_with_other_columns_widens_the_table(
    writer: Writer, tmp_path: Path, records: SimpleNamespace
) -> None:
    send(writer, batch(records, 1, "a"))
    other = rows.to_rows(records.batch(2, ("b",), numbers=["mean radius", "height"]))
    send(writer, Append(PREDICTIONS, other, "spool-1", 2))
    table = DeltaTable(PREDICTIONS.address(str(tmp_path))).to_pyarrow_table().sort_by("prediction_id")
    assert table["x_age"].to_pylist() == [1.0, None]
    assert table["x_height"].to_pylist() == [None, 1.0]


@pytest.mark.parametrize("together", [True, False])
def test_a_column_of_another_type_is_refused_and_harms_nobody_else(
    writer: Writer, tmp_path: Path, records: SimpleNamespace, together: bool
) -> None:
    good, other = batch(records, 1, "a"), batch(records, 2, "c")
    changed = rows.to_rows(records.batch(1, ("b",))).drop_columns("x_age").append_column("x_age", pa.array(["old"]))
    bad = Append(PREDICTIONS, changed, "spool-2", 1)
    if not together:
        send(writer, good)
    for append in (good, bad, other) if together else (bad, other):
        writer.submit(append)
    with pytest.raises(InvalidInput, match="Cannot store column x_age: it holds string, the log has double"):
        bad.done.result(timeout=20)
    assert other.done.result(timeout=20) == Stored(1)
    assert ids(tmp_path) == ["a", "c"]


def test_a_failed_commit_is_told_shown_and_mended(
    writer: Writer, tmp_path: Path, records: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write_deltalake", fail)
        first = batch(records, 1, "a")
        writer.submit(first)
        with pytest.raises(Unavailable, match="the log cannot be written"):
            first.done.result(timeout=20)
        assert "No space left on device" in writer.problem
    assert send(writer, batch(records, 1, "a")) == [Stored(1)]
    assert writer.problem == ""
    assert ids(tmp_path) == ["a"]


def test_a_commit_that_happened_although_it_failed_is_not_doubled(
    writer: Writer, tmp_path: Path, records: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "flush_commits", fail)
        first = batch(records, 1, "a")
        writer.submit(first)
        with pytest.raises(Unavailable):
            first.done.result(timeout=20)
    assert send(writer, batch(records, 1, "a")) == [Stored(0, repeated=True)]
    assert ids(tmp_path) == ["a"]


def test_maintenance_that_fails_takes_nothing_back(
    writer: Writer, tmp_path: Path, records: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(tables.Table, "maintain", fail)
    assert send(writer, batch(records, 1, "a")) == [Stored(1)]
    assert send(writer, batch(records, 2, "b")) == [Stored(1)]
    assert ids(tmp_path) == ["a", "b"]


def test_labels_are_numbered_in_the_order_of_receipt(writer: Writer, tmp_path: Path) -> None:
    send(writer, feedback("first", "second"))
    send(writer, feedback("third"), feedback("fourth"))
    table = DeltaTable(LABELS.address(str(tmp_path))).to_pyarrow_table().sort_by("sequence")
    assert table["label"].to_pylist() == ["first", "second", "third", "fourth"]
    assert len(set(table["sequence"].to_pylist())) == 4


def test_labels_stay_in_order_when_the_clock_goes_back(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(writer, feedback("before"))
    monkeypatch.setattr(writers.time, "time_ns", lambda: 0)
    send(writer, feedback("after"))
    table = DeltaTable(LABELS.address(str(tmp_path))).to_pyarrow_table().sort_by("sequence")
    assert table["label"].to_pylist() == ["before", "after"]


def test_an_idempotency_key_makes_a_repeat_harmless_and_none_does_not(writer: Writer, tmp_path: Path) -> None:
    assert send(writer, feedback("1", key="k")) == [Stored(1)]
    assert send(writer, feedback("1", key="k")) == [Stored(0, repeated=True)]
    assert send(writer, feedback("1", key="other")) == [Stored(1)]
    assert send(writer, feedback("1"), feedback("1")) == [Stored(1), Stored(1)]
    assert DeltaTable(LABELS.address(str(tmp_path))).to_pyarrow_table().num_rows == 4
