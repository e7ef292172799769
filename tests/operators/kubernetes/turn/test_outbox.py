"""The outbox: numbered, bounded, and told once however often it is told."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.actions import Notify, Promote, Record, Serve, StopRetraining
from seamark.errors import InvalidSpec, Unavailable
from seamark_kubernetes import outbox
from seamark_kubernetes.api import EVENT, Document, Owner
from seamark_kubernetes.memory import Entry, Memory
from seamark_kubernetes.testing import FakeApi

OWNER = Owner("shop", "churn", "0123456789abcdef")
NOTICE = Notify("Promoted", "churn-1", "GatesPassed", "churn-1 is the champion", {"weight": 100})


def test_only_what_must_be_told_goes_in_numbered_in_order() -> None:
    actions = [
        Serve("churn-1", "pvc://a/b", "d", 1),
        NOTICE,
        Promote("churn-1", None),
        Record("Promote", "churn-1", "GatesPassed", {"a": (1, 2)}),
        StopRetraining("churn-retrain-1"),
    ]
    found = outbox.add(Memory(sequence=7), actions, 5.0)
    assert found.sequence == 10
    assert found.outbox == (
        Entry(8, 5.0, "event", "churn-1", "Promoted", "GatesPassed", "churn-1 is the champion"),
        Entry(9, 5.0, "record", "churn-1", "Promote", "GatesPassed", evidence={"a": [1, 2]}),
        Entry(10, 5.0, "stop", "churn-retrain-1", "StopRetraining"),
    )


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=3000) | st.floats() | st.lists(st.floats()), max_size=30))
def test_evidence_stays_small_and_is_json(evidence: dict[str, Any]) -> None:
    found = outbox.add(Memory(), [Record("Promote", "churn-1", "", evidence)], 0.0).outbox[0].evidence
    encoded = msgspec.json.encode(found)
    assert len(encoded) <= 4200
    assert msgspec.json.decode(encoded) == found


def test_of_large_evidence_what_is_small_stays() -> None:
    large = {"verdict": "Worse", "findings": ["x" * 100] * 50}
    found = outbox.add(Memory(), [Record("RollBack", "churn-1", "", large)], 0.0).outbox[0].evidence
    assert found == {"verdict": "Worse", "truncated": True}


def test_numbers_that_json_cannot_say_become_null() -> None:
    found = outbox.add(Memory(), [Record("Promote", "churn-1", "", {"p": math.nan, "q": [math.inf]})], 0.0)
    assert found.outbox[0].evidence == {"p": None, "q": [None]}


def test_beyond_a_bound_the_oldest_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    found = outbox.add(Memory(), [NOTICE] * 201, 0.0)
    assert [entry.sequence for entry in found.outbox] == list(range(2, 202))
    assert "event=untold kind=event sequence=1 what=Promoted" in caplog.text


# --- events


def test_an_event_names_deployment_kind_and_words() -> None:
    entry = outbox.add(Memory(sequence=41), [NOTICE], 1_767_261_600.9).outbox[0]
    found = outbox.event(OWNER, entry)
    assert found["metadata"] == {"name": "churn.01234567.42", "namespace": "shop"}
    assert (found["type"], found["reason"], found["message"]) == ("Normal", "Promoted", "churn-1 is the champion")
    assert found["firstTimestamp"] == found["lastTimestamp"] == "2026-01-01T10:00:00Z"
    assert found["involvedObject"] == {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "namespace": "shop",
        "name": "churn",
        "uid": OWNER.uid,
    }


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("Alarm", "Warning"),
        ("RolledBack", "Warning"),
        ("RetrainingBlocked", "Warning"),
        ("ContractViolated", "Warning"),
        ("AlarmCleared", "Normal"),
        ("Deployed", "Normal"),
        ("RetrainingFinished", "Normal"),
    ],
)
def test_what_somebody_should_look_at_is_a_warning(kind: Any, type_: str) -> None:
    entry = outbox.add(Memory(), [Notify(kind, "churn-1", "Why", "words")], 0.0).outbox[0]
    assert outbox.event(OWNER, entry)["type"] == type_


def test_a_refused_command_is_a_warning() -> None:
    entry = outbox.refuse(Memory(), "Cannot obey it", 0.0).outbox[0]
    found = outbox.event(OWNER, entry)
    assert (found["type"], found["reason"], found["message"]) == ("Warning", "CommandRefused", "Cannot obey it")


@pytest.mark.parametrize(("length", "shown"), [(1000, 1000), (1001, 1000), (5000, 1000)])
def test_a_long_message_is_cut(length: int, shown: int) -> None:
    entry = outbox.add(Memory(), [Notify("Alarm", "churn-1", "Why", "x" * length)], 0.0).outbox[0]
    assert len(entry.message) == shown
    assert entry.message.endswith("...") == (length > 1000)


def told(api: FakeApi, entry: Entry) -> list[Document]:
    asyncio.run(outbox.tell(api, OWNER, entry))
    return api.all(EVENT)


def test_telling_twice_is_telling_once() -> None:
    api, entry = FakeApi(), outbox.add(Memory(), [NOTICE], 0.0).outbox[0]
    first = told(api, entry)
    assert told(api, entry) == first
    assert len(first) == 1


def test_an_event_whose_answer_was_lost_is_told_once() -> None:
    api, entry = FakeApi(), outbox.add(Memory(), [NOTICE], 0.0).outbox[0]
    api.fail_next("create", Unavailable("Cannot create: no answer"), late=True)
    with pytest.raises(Unavailable):
        told(api, entry)
    assert len(told(api, entry)) == 1


def test_an_event_that_is_refused_for_ever_is_logged_and_left(caplog: pytest.LogCaptureFixture) -> None:
    api, entry = FakeApi(), outbox.add(Memory(), [NOTICE], 0.0).outbox[0]
    api.fail_next("create", InvalidSpec("message", "too long"))
    assert told(api, entry) == []
    assert "event=untold deployment=shop/churn what=Promoted" in caplog.text
    assert "churn-1 is the champion" in caplog.text


# --- history


def record(sequence: int, revision: str = "churn-1") -> Entry:
    return Entry(sequence, 1_767_261_600.0, "record", revision, "Promote", "GatesPassed", evidence={"a": 1})


def revision(*sequences: int) -> Document:
    return {"status": {"history": [{"sequence": one, "time": "t", "what": "Promote"} for one in sequences]}}


def test_a_record_becomes_a_line() -> None:
    assert outbox.history("churn-1", None, [record(3)]) == [
        {
            "sequence": 3,
            "time": "2026-01-01T10:00:00Z",
            "what": "Promote",
            "reason": "GatesPassed",
            "evidence": {"a": 1},
        }
    ]


@given(st.lists(st.integers(1, 60), max_size=40), st.lists(st.integers(1, 60), max_size=40))
def test_the_newest_twenty_stay_each_once_in_order(known: list[int], new: list[int]) -> None:
    before = revision(*sorted(set(known))[-20:])
    entries = [record(one) for one in new]
    found = {"status": {"history": outbox.history("churn-1", before, entries)}}
    sequences = [line["sequence"] for line in outbox.lines(found)]
    assert sequences == sorted({*sorted(set(known))[-20:], *new})[-20:]
    assert outbox.history("churn-1", found, entries) == outbox.lines(found)
    assert all(outbox.is_recorded(found, entry) for entry in entries)


def test_a_record_of_another_revision_and_an_event_are_not_in_it() -> None:
    event = outbox.add(Memory(), [NOTICE], 0.0).outbox[0]
    assert outbox.history("churn-1", None, [record(3, "churn-2"), event]) == []


@pytest.mark.parametrize(
    ("known", "is_recorded"),
    [
        (revision(5), True),
        (revision(4, 6), False),
        (revision(), False),
        ({}, False),
        (revision(*range(6, 26)), True),
        (revision(*range(6, 25)), False),
    ],
    ids=["is there", "others are", "empty", "no status", "pushed out", "not full"],
)
def test_a_record_is_told_when_it_is_seen(known: Document, is_recorded: bool) -> None:
    assert outbox.is_recorded(known, record(5)) == is_recorded
