"""The way in: what does not fit the package is counted and touches nothing else; only answers are spooled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from seamark.package import NUMBER, Schema
from seamark.profile import Profile
from seamark.records import Frame, Prediction
from seamark_monitor.counters import Counters
from seamark_monitor.drops import Drops
from seamark_monitor.intake import MOST_ROWS, Intake
from seamark_monitor.spool import Position, Spool
from seamark_monitor.watched import fit

Make = Callable[..., Prediction]


class Parts:
    def __init__(self, folder: Path, schema: Schema, reference: Profile) -> None:
        self.drops = Drops()
        self.counted = Counters(fit(schema, reference))
        self.spool = Spool(folder, 2**28, Position(), self.drops)
        self.intake = Intake(schema, self.counted, self.spool, self.drops)

    @property
    def counters(self) -> Counters:
        self.intake.settle()
        return self.counted

    def records(self) -> list[list[Prediction]]:
        asyncio.run(self.spool.sync())
        extent = self.spool.take(10**9, 10**9)
        decoder = msgspec.msgpack.Decoder(list[Prediction])
        return [decoder.decode(payload) for payload in extent.payloads] if extent else []


@pytest.fixture
def parts(tmp_path: Path, schema: Schema, reference: Profile) -> Parts:
    return Parts(tmp_path, schema, reference)


def test_answers_are_spooled_as_they_came_and_refusals_are_not(parts: Parts, prediction: Make) -> None:
    answered = [prediction("a"), prediction("b", rows=3)]
    parts.intake.take([answered[0], prediction("refused", status=422), answered[1]])
    assert parts.records() == [answered]
    assert parts.counters.rows == 4


def test_many_predictions_become_records_of_bounded_size(parts: Parts, prediction: Make) -> None:
    parts.intake.take([prediction(str(i)) for i in range(1_200)])
    assert [len(record) for record in parts.records()] == [500, 500, 200]


def test_few_are_counted_when_somebody_looks_and_many_at_once(parts: Parts, prediction: Make) -> None:
    for i in range(511):
        parts.intake.take([prediction(str(i))])
    assert parts.counted.rows == 0
    parts.intake.take([prediction("one more")])
    assert parts.counted.rows == 512
    parts.intake.take([prediction("large", rows=1024)])
    assert parts.counted.rows == 512 + 1024
    parts.intake.take([prediction("last")])
    for _ in range(2):
        parts.intake.settle()
        assert parts.counted.rows == 512 + 1024 + 1


def test_what_cannot_be_counted_is_logged_and_spoils_no_other(
    parts: Parts, prediction: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(parts.counted, "add", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            parts.intake.take([prediction("a", rows=2000)])
    parts.intake.take([prediction("b")])
    assert parts.counters.rows == 1
    assert [[each.prediction_id for each in record] for record in parts.records()] == [["a"], ["b"]]


def test_large_predictions_share_no_record(parts: Parts, prediction: Make) -> None:
    parts.intake.take([prediction(str(i), rows=20_000) for i in range(3)])
    assert [len(record) for record in parts.records()] == [1, 1, 1]


#: Neither with nor without categorical features is it an answer.
BROKEN: list[dict[str, object]] = [
    {"numbers": b"short"},
    {"numbers": b""},
    {"categories": [["red", "red"]]},
    {"outputs": b"\0" * 8},
    {"outputs": b""},
    {"rows": 0},
    {"rows": -1},
    {"rows": 2},
    {"time": 0.0},
    {"time": float("nan")},
    {"prediction_id": ""},
    {"prediction_id": "x" * 129},
]


@pytest.mark.parametrize("broken", [*BROKEN, {"categories": []}], ids=str)
def test_an_answer_that_does_not_fit_counts_as_a_request_only(
    parts: Parts, prediction: Make, broken: dict[str, object]
) -> None:
    parts.intake.take([replace(prediction("a"), **broken), prediction("b")])
    assert parts.drops.by_reason["invalid"] == 1
    assert parts.counters.statuses["200"] == 2
    assert parts.counters.rows == 1
    assert [[p.prediction_id for p in record] for record in parts.records()] == [["b"]]


@pytest.fixture
def numeric(tmp_path: Path, schema: Schema, reference: Profile) -> Parts:
    """Of a package whose features are numbers, as most are."""
    numbers = replace(schema, features=tuple(feature for feature in schema.features if feature.type == NUMBER))
    columns = tuple(column for column in reference.features if column.type == NUMBER)
    return Parts(tmp_path, numbers, replace(reference, features=columns))


@pytest.mark.parametrize("broken", [*BROKEN, {"categories": [["red"]]}], ids=str)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_numbers_only_that_does_not_fit_spoils_no_other(
    numeric: Parts, prediction: Make, broken: dict[str, object], place: int
) -> None:
    sent = [replace(prediction(name), categories=[]) for name in "abc"]
    sent[place] = replace(sent[place], **broken)
    numeric.intake.take(sent)
    del sent[place]
    assert numeric.drops.by_reason["invalid"] == 1
    assert (numeric.counters.statuses["200"], numeric.counters.rows) == (3, 2)
    assert numeric.records() == [sent]


def test_numbers_only_are_counted_together_as_they_are_one_by_one(numeric: Parts, prediction: Make) -> None:
    sent = [replace(prediction(name, rows=rows), categories=[]) for name, rows in [("a", 1), ("b", 7), ("c", 2)]]
    sent += [replace(sent[0], prediction_id="d", status=422, outputs=b"")]
    numeric.intake.take(sent[:3])
    together = numeric.counters
    assert (together.statuses["200"], together.rows) == (3, 10)
    assert all(counts.sum() == 10 for counts in together.features.values())
    before = {name: counts.copy() for name, counts in together.features.items()}
    # A refusal among them changes nothing for the others.
    numeric.intake.take(sent)
    twice = numeric.counters.features
    assert all((twice[name] == 2 * counts).all() for name, counts in before.items())
    assert numeric.records() == [sent[:3], sent[:3]]


def test_a_prediction_of_too_many_rows_is_counted_and_not_spooled(parts: Parts, prediction: Make) -> None:
    parts.intake.take([prediction("a", rows=MOST_ROWS + 1), prediction("b", rows=1_000)])
    assert parts.drops.by_reason["too_large"] == 1
    assert parts.counters.rows == MOST_ROWS + 1_001
    assert [[p.prediction_id for p in record] for record in parts.records()] == [["b"]]


def test_drops_of_all_senders_add_up(parts: Parts) -> None:
    """Each sender tells its own running total; a lower one is a sender that began again."""
    for sender, dropped in [("a", 3), ("b", 10), ("a", 5), ("a", 5), ("b", 2)]:
        parts.intake.take_frame(Frame(sender, dropped, []))
    assert parts.drops.by_reason["queue_full"] == 5 + 10 + 2


def test_the_table_of_senders_is_bounded(parts: Parts) -> None:
    for number in range(1_000):
        parts.intake.take_frame(Frame(str(number), 1, []))
    parts.intake.take_frame(Frame("999", 1, []))
    assert parts.drops.by_reason["queue_full"] == 1_000
