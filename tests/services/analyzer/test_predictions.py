"""The log is read as it grows, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seamark_analyzer import predictions
from seamark_analyzer.predictions import PredictionLog
from seamark_analyzer.tail import Tail

COLUMNS = pa.schema([("prediction_id", pa.string()), ("time", pa.timestamp("us", tz="UTC"))])


def ids(tail: Tail) -> list[str]:
    return [name for batch in tail.new() for name in batch.column("prediction_id").to_pylist()]


def log_of(world: Any) -> PredictionLog:
    return PredictionLog(world.root, "default", "m", world.schema)


def test_each_file_is_read_once(world: Any) -> None:
    tail = Tail(world.table("predictions"), COLUMNS, newest=1000)
    assert ids(tail) == []
    world.log("m-1", ["a", "b"], 1e9, [0, 1])
    assert ids(tail) == ["a", "b"]
    assert ids(tail) == []
    world.log("m-1", ["c"], 1e9, [0])
    assert ids(tail) == ["c"]
    assert tail.total == 3


def test_a_column_that_came_later_is_null_before(world: Any) -> None:
    world.log("m-1", ["a"], 1e9, [0])
    columns = pa.schema([*COLUMNS, ("y_later", pa.float64())])
    batches = list(Tail(world.table("predictions"), columns, newest=1000).new())
    assert [batch.column("y_later").to_pylist() for batch in batches] == [[None]]


def test_of_a_long_log_the_newest_files_are_read(world: Any) -> None:
    for day in (3, 1, 2, 4):
        world.log("m-1", [f"{day}-{i}" for i in range(10)], 1e9 + 86400 * day, [0] * 10)
    tail = Tail(world.table("predictions"), COLUMNS, newest=15)
    assert {name[0] for name in ids(tail)} == {"3", "4"}
    assert tail.total == 40


def test_a_failed_read_is_repeated(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.log("m-1", ["a"], 1e9, [0])
    tail = Tail(world.table("predictions"), COLUMNS, newest=1000)
    with monkeypatch.context() as patch:
        patch.setattr(Tail, "_batches", lambda self, paths: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            ids(tail)
    assert ids(tail) == ["a"]


def test_memory_holds_the_newest_rows_and_says_so(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictions, "MOST_ROWS", 10)
    log = log_of(world)
    with caplog.at_level("INFO", "seamark.analyzer"):
        for part in range(4):
            world.log("m-1", [f"{part}-{i}" for i in range(6)], 1e9 + part, [0] * 6)
            log.refresh({"m-1"})
        world.compact("predictions")
        log.refresh({"m-1"})
    assert sorted(log.rows["m-1"].time - 1e9) == [2.0] * 4 + [3.0] * 6
    assert [line for line in caplog.messages if "log_capped" in line] == [
        "event=log_capped deployment=m of=m-1 newest_rows_used=10"
    ]


def test_revisions_that_are_not_named_are_remembered_while_few(world: Any) -> None:
    """A new revision may answer before the config names it; old ones must not pile up."""
    log = log_of(world)
    for number in range(9):
        world.log(f"m-{number}", ["a"], 1e9 + number, [0])
    log.refresh({"m-0"})
    assert set(log.rows) == {"m-0", "m-5", "m-6", "m-7", "m-8"}


def test_missing_values_are_nan(world: Any) -> None:
    world.log("m-1", ["a", "b"], 1e9, [0, 1], [0.25, float("nan")])
    log = log_of(world)
    log.refresh({"m-1"})
    np.testing.assert_array_equal(np.sort(log.rows["m-1"].score), [0.25, np.nan])
