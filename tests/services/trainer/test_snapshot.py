"""The log is read at fixed versions, from a time on, with the labels that mean something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import UserError
from seamark_trainer import snapshot
from seamark_trainer.remote import Collector
from seamark_trainer.snapshot import Snapshot
from seamark_trainer.source import Delta


def read(log: Any, world: Any, **changes: Any) -> Snapshot:
    options = {"champion": "m-1", "since": world.start, "max_rows": 1000, **changes}
    return snapshot.read(options.pop("source", Delta(str(log.root), "default", "m")), world.schema, **options)


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
    with pytest.raises(UserError, match=r"the log has no table .*/labels/default/m$"):
        read(log, world)
    log.label([("p0", "benign")])
    with pytest.raises(UserError, match=r"the log has no table .*/predictions/default/m$"):
        read(log, world)
    assert not (tmp_path / "log" / "predictions").exists()


def test_a_feature_that_was_never_logged_is_named(log: Any, world: Any) -> None:
    log.predict(np.ones((1, 2)), "m-1", [1], numbers=["mean radius", "height"])
    log.label([("p0", "benign")])
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
    log.label([("p0", "benign")])
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


# Through a collector


def assert_equal(found: Snapshot, expected: Snapshot) -> None:
    assert (found.data_version, found.labels, found.unknown) == (
        expected.data_version,
        expected.labels,
        expected.unknown,
    )
    assert (found.data.schema, found.data.categories) == (expected.data.schema, expected.data.categories)
    for name in ("numbers", "labels", "champion"):
        np.testing.assert_array_equal(getattr(found.data, name), getattr(expected.data, name))


def test_the_same_log_gives_the_same_snapshot_read_from_its_folder_and_through_a_collector(
    log: Any, world: Any, start_collector: Any
) -> None:
    """Over midnight, with several answers to a row, corrected, early, late and senseless labels, and rows left out."""
    values, classes = world.draw(300)
    values[::7, 1] = np.nan
    for revision, start in (("m-1", world.start), ("m-2", world.start + 0.25), ("m-1", world.start + 43_000.0)):
        ids = [f"{start:.0f}-{i}" for i in range(300)]
        log.predict(values, revision, classes, start=start, ids=ids)
    texts = ["benign", "malignant", "unclear"]
    labels = [(f"{world.start + more:.0f}-{i}", texts[i % 3]) for more in (0, 43_000) for i in range(0, 300, 2)]
    log.label(labels, received=world.start - 3600)
    log.label([(name, texts[(i + 1) % 3]) for i, (name, _) in enumerate(labels[::5])], received=world.start + 90_000)
    collector = Collector(start_collector(), "default", "m", "")
    for since, most in ((0.0, 1000), (100.5, 1000), (43_100.0, 1000), (0.0, 37), (1e6, 1000)):
        changes = {"since": world.start + since, "max_rows": most}
        expected = read(log, world, **changes)
        assert (expected.labels > 0) == (since < 1e6)
        assert_equal(read(log, world, source=collector, **changes), expected)
    assert_equal(read(log, world, source=collector, since=0.0), read(log, world, since=0.0))


def test_a_collector_without_the_log_or_a_column_says_which(log: Any, world: Any, start_collector: Any) -> None:
    collector = Collector(start_collector(), "default", "m", "")
    with pytest.raises(UserError, match=r"status 404: Cannot find table labels/default/m: nothing was stored yet$"):
        read(log, world, source=collector)
    log.predict(np.ones((1, 2)), "m-1", [1], numbers=["mean radius", "height"])
    log.label([("p0", "benign")])
    with pytest.raises(UserError, match=r"status 400: .* has no column 'x_age'"):
        read(log, world, source=collector)
