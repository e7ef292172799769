"""The log is read at fixed versions, from a time on, with the labels that mean something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import UserError
from seamark_trainer import snapshot
from seamark_trainer.snapshot import Snapshot


def read(log: Any, world: Any, **changes: Any) -> Snapshot:
    options = {"champion": "m-1", "since": world.start, "max_rows": 1000, **changes}
    return snapshot.read(str(log.root), "default", "m", world.schema, **options)


def test_rows_come_with_their_values_labels_and_the_champions_answers(log: Any, world: Any) -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0]])
    log.predict(values, "m-1", [1, 0])
    log.label([("p1", "benign"), ("p0", "malignant"), ("p9", "benign")])
    found = read(log, world)
    np.testing.assert_array_equal(found.data.numbers, values)
    assert found.data.labels.tolist() == [1.0, 0.0]
    assert found.data.champion.tolist() == [1.0, 0.0]
    assert (found.data_version, found.labels, found.unknown) == ("predictions@1,labels@1", 2, 0)


def test_answers_of_others_are_not_the_champions(log: Any, world: Any) -> None:
    log.predict(np.ones((2, 2)), "m-2", [1, 0])
    log.predict(np.ones((1, 2)), "m-1", [1], ids=["p1"])
    log.label([("p0", "benign"), ("p1", "benign")])
    champion = read(log, world).data.champion
    assert np.count_nonzero(np.isnan(champion)) == 1
    assert np.nanmax(champion) == 1.0


def test_a_label_received_before_the_prediction_is_joined(log: Any, world: Any) -> None:
    log.label([("p0", "benign")], received=world.start - 3600)
    log.predict(np.ones((1, 2)), "m-1", [1])
    assert read(log, world).labels == 1


def test_a_label_received_months_later_is_joined(log: Any, world: Any) -> None:
    log.predict(np.ones((1, 2)), "m-1", [1])
    log.label([("p0", "benign")], received=world.start + 90 * 86_400)
    assert read(log, world).labels == 1


@pytest.mark.parametrize(("since", "rows"), [(0.0, 3), (1.0, 2), (1.5, 1), (2.0, 1), (2.5, 0)])
def test_only_predictions_from_the_time_on_are_read(log: Any, world: Any, since: float, rows: int) -> None:
    log.predict(np.ones((3, 2)), "m-1", [1, 1, 1])
    log.label([(f"p{i}", "benign") for i in range(3)])
    assert read(log, world, since=world.start + since).data.rows == rows


def test_the_newest_rows_are_kept_when_there_are_too_many(log: Any, world: Any) -> None:
    log.predict(np.arange(6.0).reshape(3, 2), "m-1", [1, 1, 1])
    log.label([(f"p{i}", "benign") for i in range(3)])
    assert read(log, world, max_rows=2).data.numbers[:, 0].tolist() == [2.0, 4.0]


def test_labels_that_are_no_class_are_left_out_and_counted(log: Any, world: Any) -> None:
    log.predict(np.ones((2, 2)), "m-1", [1, 1])
    log.label([("p0", "unclear"), ("p1", "malignant")])
    found = read(log, world)
    assert (found.data.labels.tolist(), found.unknown) == ([1.0], 1)


def test_no_log_is_said(log: Any, world: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the log has no table .*/predictions/default/m$"):
        read(log, world)
    log.predict(np.ones((1, 2)), "m-1", [1])
    with pytest.raises(UserError, match=r"the log has no table .*/labels/default/m$"):
        read(log, world)
    assert not (tmp_path / "log" / "labels").exists()


def test_a_feature_that_was_never_logged_is_named(log: Any, world: Any) -> None:
    log.predict(np.ones((1, 2)), "m-1", [1], numbers=["mean radius", "height"])
    with pytest.raises(UserError, match="has no column x_age"):
        read(log, world)


def test_a_garbage_log_is_said(log: Any, world: Any) -> None:
    log.predict(np.ones((1, 2)), "m-1", [1])
    log.label([("p0", "benign")])
    for path in log.root.glob("predictions/**/*.parquet"):
        path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot read the log's table"):
        read(log, world)


def test_a_garbage_transaction_log_is_said(log: Any, world: Any) -> None:
    log.predict(np.ones((1, 2)), "m-1", [1])
    for path in log.root.glob("predictions/**/*.json"):
        path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="the log"):
        read(log, world)


def test_memory_is_bounded_by_the_rows_wanted_and_still_the_newest_are_kept(log: Any, world: Any) -> None:
    for revision in ("m-2", "m-1"):
        log.predict(np.arange(80.0).reshape(40, 2), revision, np.ones(40))
    log.label([(f"p{i}", "benign") for i in range(40)])
    found = read(log, world, max_rows=3)
    assert found.data.numbers[:, 0].tolist() == [74.0, 76.0, 78.0]
    assert found.data.champion.tolist() == [1.0, 1.0, 1.0]
