"""Tables stay small and readable: small files are merged, readers are left alone, torn commits are set aside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable

from seamark_collector import rows
from seamark_collector.durable import drop_torn_commit
from seamark_collector.names import TableName
from seamark_collector.tables import LEVELS, Table

NAME = TableName("predictions", "default", "m")


def fill(table: Table, records: SimpleNamespace, first: int, last: int) -> None:
    for sequence in range(first, last + 1):
        table.append(rows.to_rows(records.batch(sequence, (f"p{sequence}",))), {"spool-1": sequence})
        table.maintain(time.monotonic())


def test_many_small_files_are_merged_and_sequences_survive(tmp_path: Path, records: SimpleNamespace) -> None:
    count = LEVELS[0][1]
    fill(Table(str(tmp_path), NAME), records, 1, count)
    delta = DeltaTable(NAME.address(str(tmp_path)))
    assert len(delta.file_uris()) == 1
    assert delta.to_pyarrow_table().num_rows == count
    assert Table(str(tmp_path), NAME).last("spool-1") == count
    assert list(Path(NAME.address(str(tmp_path)), "_delta_log").glob("*.checkpoint.parquet"))


def test_a_reader_that_opened_before_a_merge_reads_on(tmp_path: Path, records: SimpleNamespace) -> None:
    table = Table(str(tmp_path), NAME)
    fill(table, records, 1, 20)
    reader = DeltaTable(NAME.address(str(tmp_path)))
    fill(table, records, 21, 70)
    table.maintain(time.monotonic() + 1e6)
    assert reader.to_pyarrow_table().num_rows == 20


def test_leftovers_of_a_killed_writer_are_removed_once_they_are_old(tmp_path: Path, records: SimpleNamespace) -> None:
    table = Table(str(tmp_path), NAME)
    fill(table, records, 1, 1)
    folder = Path(NAME.address(str(tmp_path)), "date=2026-01-01")
    old, young = folder / "part-old.parquet", folder / "part-young.parquet"
    for path in (old, young):
        path.write_bytes(b"left over")
    os.utime(old, (time.time() - 4 * 3600,) * 2)
    table.maintain(time.monotonic() + 1e6)
    assert (old.exists(), young.exists()) == (False, True)
    assert DeltaTable(NAME.address(str(tmp_path))).to_pyarrow_table().num_rows == 1


def cut_entry(folder: Path, version: int) -> None:
    entry = folder / "_delta_log" / f"{version:020}.json"
    entry.write_bytes(entry.read_bytes()[:-40])


def empty_entry(folder: Path, version: int) -> None:
    (folder / "_delta_log" / f"{version:020}.json").write_bytes(b"")


def cut_data(folder: Path, version: int) -> None:
    newest = max(folder.glob("date=*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])


def lose_data(folder: Path, version: int) -> None:
    max(folder.glob("date=*/*.parquet"), key=lambda path: path.stat().st_mtime_ns).unlink()


@pytest.mark.parametrize("tear", [cut_entry, empty_entry, cut_data, lose_data])
def test_a_last_commit_that_power_loss_tore_is_set_aside(
    tmp_path: Path, records: SimpleNamespace, tear: Callable[[Path, int], None]
) -> None:
    fill(Table(str(tmp_path), NAME), records, 1, 3)
    folder = Path(NAME.address(str(tmp_path)))
    tear(folder, DeltaTable(str(folder)).version())
    again = Table(str(tmp_path), NAME)
    assert again.last("spool-1") == 2
    fill(again, records, 3, 3)
    found = DeltaTable(str(folder)).to_pyarrow_table()["prediction_id"].to_pylist()
    assert sorted(found) == ["p1", "p2", "p3"]


def test_a_whole_commit_is_left_alone(tmp_path: Path, records: SimpleNamespace) -> None:
    fill(Table(str(tmp_path), NAME), records, 1, 2)
    folder = Path(NAME.address(str(tmp_path)))
    drop_torn_commit(folder)
    assert DeltaTable(str(folder)).version() == 2


def test_the_table_says_what_it_is(tmp_path: Path, records: SimpleNamespace) -> None:
    fill(Table(str(tmp_path), NAME), records, 1, 1)
    metadata = DeltaTable(NAME.address(str(tmp_path))).metadata()
    assert metadata.name == "predictions/default/m"
    assert metadata.description.startswith("Seamark prediction log")
    assert metadata.partition_columns == ["date"]
