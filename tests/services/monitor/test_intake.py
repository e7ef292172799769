"""The way in: what does not fit the package is counted and touches nothing else; only answers are spooled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from seamark.package import NUMBER, Schema
from seamark.profile import Profile
from seamark.records import Block, Frame, Prediction, pack, unpack
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

    def take(self, predictions: Sequence[Prediction], sender: str = "predictor", dropped: int = 0) -> None:
        """A message of the predictor."""
        self.intake.take_frame(Frame.of(sender, dropped, predictions))

    def records(self) -> list[list[Prediction]]:
        asyncio.run(self.spool.sync())
        extent = self.spool.take(10**9, 10**9)
        decoder = msgspec.msgpack.Decoder(Block)
        return [unpack(decoder.decode(record.payload)) for record in extent.records] if extent else []

    @property
    def logged(self) -> list[str]:
        return [each.prediction_id for record in self.records() for each in record]


@pytest.fixture
def parts(tmp_path: Path, schema: Schema, reference: Profile) -> Parts:
    return Parts(tmp_path, schema, reference)


def test_answers_are_spooled_as_they_came_and_refusals_are_not(parts: Parts, prediction: Make) -> None:
    answered = [prediction("a"), prediction("b", rows=3)]
    parts.take([answered[0], prediction("refused", status=422), answered[1]])
    assert parts.records() == [answered]
    assert parts.counters.rows == 4


def test_one_that_comes_by_itself_is_counted_and_spooled_as_those_in_a_message(parts: Parts, prediction: Make) -> None:
    sent = [prediction("a"), prediction("refused", status=422), prediction("b", rows=3)]
    for each in sent:
        parts.intake.take(each)
    assert parts.records() == [[sent[0]], [sent[2]]]
    assert (parts.counters.rows, parts.counters.statuses["200"], parts.counters.statuses["422"]) == (4, 2, 1)


@pytest.mark.parametrize("rows", [1, 2])
def test_few_are_counted_when_somebody_looks_and_many_at_once(parts: Parts, prediction: Make, rows: int) -> None:
    for i in range(1024 // rows - 1):
        parts.intake.take(prediction(str(i), rows=rows))
    assert parts.counted.rows == 0
    parts.intake.take(prediction("one more", rows=rows))
    assert parts.counted.rows == 1024
    parts.intake.take(prediction("last"))
    for _ in range(2):
        parts.intake.settle()
        assert parts.counted.rows == 1024 + 1


def test_many_refusals_are_counted_at_once_too(parts: Parts, prediction: Make) -> None:
    for i in range(1024):
        parts.intake.take(replace(prediction(str(i), status=400), rows=0, numbers=b"", categories=[]))
    assert parts.counted.statuses["400"] == 1024


def test_what_cannot_be_counted_is_logged_and_spoils_no_other(
    parts: Parts, prediction: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(parts.counted, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            parts.take([prediction("a", rows=2000)])
    parts.take([prediction("b")])
    assert parts.counters.rows == 1
    assert [[each.prediction_id for each in record] for record in parts.records()] == [["a"], ["b"]]


#: With values that nobody can tell from those of the others in a block.
MISFIT: list[dict[str, object]] = [
    {"numbers": b"short"},
    {"categories": [["red", "red"]]},
    {"outputs": b"\0" * 8},
    {"rows": 2},
]
#: Neither with nor without categorical features is it an answer.
BROKEN: list[dict[str, object]] = [
    {"outputs": b""},
    {"rows": 0},
    {"rows": -1},
    {"time": 0.0},
    {"time": float("nan")},
    {"time": 1e300},
    {"prediction_id": ""},
    {"prediction_id": "x" * 129},
]


@pytest.mark.parametrize("broken", [*MISFIT, *BROKEN, {"numbers": b""}, {"categories": []}], ids=str)
def test_an_answer_that_does_not_fit_counts_as_a_request_only(
    parts: Parts, prediction: Make, broken: dict[str, object]
) -> None:
    parts.intake.take(replace(prediction("a"), **broken))
    parts.intake.take(prediction("b"))
    assert parts.drops.by_reason["invalid"] == 1
    assert parts.counters.statuses["200"] == 2
    assert parts.counters.rows == 1
    assert parts.logged == ["b"]


@pytest.mark.parametrize("broken", [*MISFIT, {"numbers": b""}], ids=str)
def test_a_block_in_which_nobody_can_tell_whose_values_are_whose_is_requests_only(
    parts: Parts, prediction: Make, broken: dict[str, object]
) -> None:
    parts.take([prediction("a"), replace(prediction("b"), **broken), prediction("refused", status=422)])
    parts.take([prediction("c")])
    assert parts.drops.by_reason["invalid"] == 2
    assert (parts.counters.statuses["200"], parts.counters.statuses["422"], parts.counters.rows) == (3, 1, 1)
    assert parts.counters.latency.sum() == 4
    assert parts.logged == ["c"]


@pytest.mark.parametrize(
    "broken",
    [
        {"times": b""},
        {"latencies": b"1234567"},
        {"rows": bytes(16)},
        {"rows": (1).to_bytes(8, "little") + (-1).to_bytes(8, "little", signed=True)},
        {"rows": (2**62).to_bytes(8, "little") * 2},
        {"violations": [(2, "age", "type", 1)]},
        {"violations": [(-1, "age", "type", 1)]},
    ],
    ids=str,
)
def test_columns_that_contradict_each_other_are_requests_only(
    parts: Parts, prediction: Make, broken: dict[str, object]
) -> None:
    parts.intake.take_frame(Frame("predictor", 0, replace(pack([prediction("a"), prediction("b")]), **broken)))
    assert parts.drops.by_reason["invalid"] == 2
    assert (parts.counters.statuses["200"], parts.counters.rows) == (2, 0)
    assert not parts.records()


@pytest.fixture
def numeric(tmp_path: Path, schema: Schema, reference: Profile) -> Parts:
    """Of a package whose features are numbers, as most are."""
    numbers = replace(schema, features=tuple(feature for feature in schema.features if feature.type == NUMBER))
    columns = tuple(column for column in reference.features if column.type == NUMBER)
    return Parts(tmp_path, numbers, replace(reference, features=columns))


@pytest.mark.parametrize("broken", BROKEN, ids=str)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_with_values_of_its_own_that_does_not_fit_spoils_no_other(
    numeric: Parts, prediction: Make, broken: dict[str, object], place: int
) -> None:
    sent = [replace(prediction(name), categories=[]) for name in "abc"]
    sent[place] = replace(sent[place], **broken)
    numeric.take(sent)
    del sent[place]
    assert numeric.drops.by_reason["invalid"] == 1
    assert (numeric.counters.statuses["200"], numeric.counters.rows) == (3, 2)
    assert [each for record in numeric.records() for each in record] == sent


def test_numbers_only_are_counted_together_as_they_are_one_by_one(numeric: Parts, prediction: Make) -> None:
    sent = [replace(prediction(name, rows=rows), categories=[]) for name, rows in [("a", 1), ("b", 7), ("c", 2)]]
    sent += [replace(sent[0], prediction_id="d", status=422, outputs=b"")]
    numeric.take(sent[:3])
    together = numeric.counters
    assert (together.statuses["200"], together.rows) == (3, 10)
    assert all(counts.sum() == 10 for counts in together.features.values())
    before = {name: counts.copy() for name, counts in together.features.items()}
    # A refusal among them changes nothing for the others.
    numeric.take(sent)
    twice = numeric.counters.features
    assert all((twice[name] == 2 * counts).all() for name, counts in before.items())
    assert numeric.records() == [sent[:3], sent[:3]]


def test_a_prediction_of_too_many_rows_is_counted_and_not_spooled(parts: Parts, prediction: Make) -> None:
    parts.take([prediction("a", rows=MOST_ROWS + 1), prediction("b", rows=1_000)])
    assert parts.drops.by_reason["too_large"] == 1
    assert parts.counters.rows == MOST_ROWS + 1_001
    assert parts.logged == ["b"]


def test_a_block_of_too_many_rows_is_spooled_in_parts(parts: Parts, prediction: Make) -> None:
    parts.take([prediction(name, rows=MOST_ROWS // 2 + 1) for name in "ab"])
    assert [len(record) for record in parts.records()] == [1, 1]
    assert not parts.drops.by_reason["too_large"]


def test_drops_of_all_senders_add_up(parts: Parts) -> None:
    """Each sender tells its own running total; a lower one is a sender that began again."""
    for sender, dropped in [("a", 3), ("b", 10), ("a", 5), ("a", 5), ("b", 2)]:
        parts.take([], sender, dropped)
    assert parts.drops.by_reason["queue_full"] == 5 + 10 + 2


def test_the_table_of_senders_is_bounded(parts: Parts) -> None:
    for number in range(1_000):
        parts.take([], str(number), 1)
    parts.take([], "999", 1)
    assert parts.drops.by_reason["queue_full"] == 1_000
