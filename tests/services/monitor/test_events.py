"""CloudEvents of one request and its response meet, in either order, or are given up and counted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from seamark.errors import InvalidInput
from seamark.package import Feature, Schema
from seamark.records import Prediction
from seamark_monitor.drops import Drops
from seamark_monitor.events import Pairing

SCHEMA = Schema("regression", (Feature("a"), Feature("b")))
REQUEST = json.dumps({"instances": [[1, 2], [3, 4]]}).encode()
RESPONSE = json.dumps({"predictions": [0.5, 0.25]}).encode()
NOW = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def pairing(clock: Clock, drops: Drops) -> Pairing:
    return Pairing(SCHEMA, drops, clock, lambda: NOW)


def headers(kind: str, event: str = "e1", **more: str) -> dict[str, str]:
    extra = {f"ce-{name}": value for name, value in more.items()}
    return {"ce-type": f"org.kubeflow.serving.inference.{kind}", "ce-id": event, **extra}


def joined(pairing: Pairing, request: dict[str, str], response: dict[str, str]) -> Prediction:
    assert pairing.add(request, REQUEST) is None
    prediction = pairing.add(response, RESPONSE)
    assert prediction is not None
    return prediction


@pytest.mark.parametrize("order", [("request", "response"), ("response", "request")])
def test_the_two_halves_become_one_prediction_in_either_order(pairing: Pairing, order: tuple[str, str]) -> None:
    bodies = {"request": REQUEST, "response": RESPONSE}
    first, second = (pairing.add(headers(kind), bodies[kind]) for kind in order)
    expected = Prediction(
        "e1", NOW, 0.0, 200, 2, np.array([1.0, 2, 3, 4]).tobytes(), [], np.array([0.5, 0.25]).tobytes()
    )
    assert (first, second) == (None, expected)


def test_times_give_arrival_and_latency(pairing: Pairing) -> None:
    prediction = joined(
        pairing,
        headers("request", time="2026-01-31T10:00:00.123456789Z"),
        headers("response", time="2026-01-31T11:00:00.623456789+01:00"),
    )
    assert prediction.time == pytest.approx(1769853600.123456)
    assert prediction.latency == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("yesterday", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00", ""),
        ("2026-01-31T10:00:01Z", "2026-01-31T10:00:00Z"),
    ],
    ids=["no time", "no zone", "the answer before the question"],
)
def test_times_that_say_nothing_give_no_latency(pairing: Pairing, asked: str, answered: str) -> None:
    assert joined(pairing, headers("request", time=asked), headers("response", time=answered)).latency == 0


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ('{"X-Request-Id": ["abc"]}', "abc"),
        ('{"x-request-id": "abc"}', "abc"),
        (quote('{"X-Request-Id": ["abc"]}'), "abc"),
        ('{"other": "abc"}', "e1"),
        ('{"x-request-id": []}', "e1"),
        ('{"x-request-id": "' + "x" * 129 + '"}', "e1"),
        ('{"x-request-id": "line\\nbreak"}', "e1"),
        ("not json", "e1"),
        ("[1]", "e1"),
    ],
)
def test_the_request_id_in_the_metadata_names_the_prediction(pairing: Pairing, metadata: str, expected: str) -> None:
    found = joined(pairing, headers("request", metadata=metadata), headers("response"))
    assert found.prediction_id == expected


@pytest.mark.parametrize(
    ("given", "body", "reason"),
    [
        ({}, REQUEST, "ce-type"),
        (headers("feedback"), REQUEST, "ce-type"),
        (headers("request", ""), REQUEST, "ce-id"),
        (headers("request", "x" * 129), REQUEST, "ce-id"),
        (headers("request"), b"{}", "instances"),
        (headers("response"), REQUEST, "predictions"),
    ],
)
def test_an_event_that_cannot_be_read_says_why_and_is_counted(
    pairing: Pairing, drops: Drops, given: dict[str, str], body: bytes, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        pairing.add(given, body)
    assert drops.by_reason["bad_event"] == 1


def test_halves_of_different_lengths_are_no_prediction(pairing: Pairing, drops: Drops) -> None:
    pairing.add(headers("request"), REQUEST)
    with pytest.raises(InvalidInput, match="2 rows asked, 1 answered"):
        pairing.add(headers("response"), b'{"predictions": [1]}')
    assert drops.by_reason["bad_event"] == 1


@pytest.mark.parametrize(("waited", "unpaired"), [(Pairing.WAIT, 0), (Pairing.WAIT + 0.001, 1)])
def test_a_half_is_given_up_after_its_time(
    pairing: Pairing, clock: Clock, drops: Drops, waited: float, unpaired: int
) -> None:
    pairing.add(headers("request"), REQUEST)
    clock.now = waited
    pairing.expire()
    assert drops.by_reason["unpaired"] == unpaired
    assert (pairing.add(headers("response"), RESPONSE) is None) == bool(unpaired)


def test_an_id_used_twice_replaces_the_half_that_waited(pairing: Pairing, drops: Drops) -> None:
    pairing.add(headers("request"), json.dumps({"instances": [[9, 9], [9, 9]]}).encode())
    assert joined(pairing, headers("request"), headers("response")).numbers == np.array([1.0, 2, 3, 4]).tobytes()
    assert drops.by_reason["unpaired"] == 1


# As KServe's agent builds them


def agent_event(kind: str, body: str, event: str, metadata: object, nanoseconds: int) -> tuple[dict[str, str], bytes]:
    """Headers and body as KServe 0.20 sends them, names in lower case as the server gives them.

    Headers to copy are matched and named in Go's spelling; those that the request did not have are left out. The
    content type is the request's, of the answer too.
    """
    return {
        "host": "localhost:9010",
        "user-agent": "Go-http-client/1.1",
        "content-length": str(len(body)),
        "content-type": "application/json",
        "accept-encoding": "gzip",
        "ce-specversion": "1.0",
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-id": event,
        "ce-source": "http://localhost:9081/",
        "ce-time": f"2026-11-21T06:39:47.{nanoseconds:09}".rstrip("0") + "Z",
        "ce-recordedtime": "2026-11-21T06:39:47.196763056Z",
        "ce-inferenceservicename": "churn-1a2b3c4d",
        "ce-namespace": "shop",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-metadata": json.dumps(metadata, separators=(",", ":")),
    }, body.encode()


EVENT = "8a628e6f-f55a-423d-9a4b-b35dbe235366"
V1 = ('{"instances":[[1,2],[3,4]]}', '{"predictions":[0.5,0.25]}')
V2 = (
    '{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP64","data":[1,2,3,4]}]}',
    '{"model_name":"m","id":"x","outputs":[{"name":"output-0","shape":[2],"datatype":"FP64","data":[0.5,0.25]}]}',
)
NAMED = {"X-Request-Id": ["from-gateway"]}


@pytest.mark.parametrize("bodies", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("answer_first", [False, True])
@pytest.mark.parametrize(
    ("metadata", "expected"), [(NAMED, "from-gateway"), ({}, EVENT), (None, EVENT)], ids=["named", "unnamed", "none"]
)
def test_the_agents_events_become_the_prediction_that_the_gateway_named(
    pairing: Pairing,
    drops: Drops,
    bodies: tuple[str, str],
    answer_first: bool,
    metadata: object,
    expected: str,
) -> None:
    events = [
        agent_event("request", bodies[0], EVENT, metadata, 190_743_348),
        agent_event("response", bodies[1], EVENT, metadata, 191_765_282),
    ]
    first, second = (pairing.add(*event) for event in (reversed(events) if answer_first else events))
    assert first is None
    assert second is not None
    assert (second.prediction_id, second.rows, second.status) == (expected, 2, 200)
    assert second.numbers == np.array([1.0, 2, 3, 4]).tobytes()
    assert second.outputs == np.array([0.5, 0.25]).tobytes()
    assert second.time == pytest.approx(1_795_243_187.190743)
    assert second.latency == pytest.approx(0.001022, abs=1e-6)
    assert fields(drops) == {}


def test_a_time_without_trailing_zeros_is_read(pairing: Pairing) -> None:
    pairing.add(*agent_event("request", V1[0], EVENT, NAMED, 500_000_000))
    prediction = pairing.add(*agent_event("response", V1[1], EVENT, NAMED, 750_000_000))
    assert prediction is not None
    assert prediction.latency == pytest.approx(0.25)


@pytest.mark.parametrize(("waited", "busy"), [(Pairing.MOMENT - 0.001, True), (Pairing.MOMENT, False)])
def test_events_are_expected_for_a_moment_after_the_last(
    pairing: Pairing, clock: Clock, waited: float, busy: bool
) -> None:
    assert not pairing.busy
    joined(pairing, headers("request"), headers("response"))
    clock.now = waited
    assert pairing.busy == busy


def test_a_half_that_waits_makes_events_expected(pairing: Pairing, clock: Clock) -> None:
    pairing.add(headers("request"), REQUEST)
    clock.now = Pairing.WAIT
    assert pairing.busy
    clock.now += 0.001
    pairing.expire()
    assert not pairing.busy


def fields(drops: Drops) -> dict[str, Any]:
    return {reason: count for reason, count in drops.by_reason.items() if count}


def test_the_table_is_bounded_in_number(pairing: Pairing, drops: Drops) -> None:
    for number in range(Pairing.MOST + 5):
        pairing.add(headers("request", str(number)), REQUEST)
    assert fields(drops) == {"unpaired": 5}
    assert pairing.add(headers("response", "4"), RESPONSE) is None
    assert pairing.add(headers("response", str(Pairing.MOST)), RESPONSE) is not None


def test_the_table_is_bounded_in_bytes(clock: Clock, drops: Drops) -> None:
    class Small(Pairing):
        MOST_BYTES = 100_000

    pairing = Small(SCHEMA, drops, clock, lambda: NOW)
    body = json.dumps({"instances": [[1, 2]] * 1_000}).encode()
    for number in range(8):
        pairing.add(headers("request", str(number)), body)
    assert fields(drops) == {"unpaired": 3}
