"""A collector that is away, busy, cut off or somebody else: waited for in bounds, and the token stays where it is."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seamark.errors import UserError
from seamark.tokens import sign
from seamark_trainer import remote
from seamark_trainer.remote import Collector
from seamark_trainer.retraining import retrain

TOKEN = "read/default/m.0.very-secret"
SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
TABLE = pa.table({"a": [1.5, 2.5], "b": ["x", None]})


def stream() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


ARROW = {"content-type": "application/vnd.apache.arrow.stream", "x-seamark-version": "7"}
GOOD = (200, ARROW, stream())
BUSY = (503, {"retry-after": "1"}, b'{"error": "Cannot export now: 2 exports run already"}')
HANGS_UP = (0, {}, b"")
CUT_OFF = (200, {**ARROW, "content-length": "100000"}, stream()[:300])
CHUNKED = {**ARROW, "transfer-encoding": "chunked"}
#: Without the mark of the end, as when the collector could not read on: Arrow itself would take it for all.
UNFINISHED = stream()[:-8]
CUT_BETWEEN = (200, CHUNKED, b"%x\r\n%b\r\n" % (len(UNFINISHED), UNFINISHED))
CUT_INSIDE = (200, CHUNKED, b"%x\r\n%b" % (len(UNFINISHED), UNFINISHED[:-100]))
NO_END = (200, ARROW, UNFINISHED)
TROUBLE = {
    "busy": BUSY,
    "away": HANGS_UP,
    "cut off": CUT_OFF,
    "cut between chunks": CUT_BETWEEN,
    "cut inside a chunk": CUT_INSIDE,
    "without an end": NO_END,
}


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait between attempts, none of it real."""
    found: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", found.append)
    return found


def read(address: str, token: str = TOKEN) -> tuple[pa.Table, int]:
    return Collector(address, "default", "m", token).read("labels", ["a", "b"], SINCE, pa.RecordBatchReader.read_all)


def test_what_is_asked_for_and_what_comes(stub: Any, waited: list[float]) -> None:
    stub.answers = [GOOD]
    assert read(stub.address + "/") == (TABLE, 7)
    ((path, headers),) = stub.asked
    assert path == "/v1/export/default/m/labels?columns=a%2Cb&since=1767268800.0"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert waited == []


def test_without_a_token_there_is_no_header(stub: Any) -> None:
    stub.answers = [GOOD]
    read(stub.address, "")
    assert "authorization" not in stub.asked[0][1]


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_trouble_that_passes_is_waited_for_and_all_is_read_anew(
    stub: Any, waited: list[float], trouble: tuple[int, dict[str, str], bytes]
) -> None:
    stub.answers = [trouble, trouble, GOOD]
    assert read(stub.address) == (TABLE, 7)
    assert waited == [1.0, 2.0]


def test_trouble_that_stays_ends_after_about_a_minute(stub: Any, waited: list[float]) -> None:
    stub.answers = [BUSY]
    with pytest.raises(UserError, match="status 503: Cannot export now: 2 exports run already"):
        read(stub.address)
    assert len(stub.asked) == len(waited) + 1
    assert 45 <= sum(waited) <= 75


def test_an_address_where_nobody_listens_is_named(waited: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^cannot read {address}/v1/export/default/m/labels: .*refused"):
            read(address)


def test_a_collector_that_falls_silent_is_given_up_after_a_timeout(
    waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="timed out"):
        read(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert len(waited) == len(remote.WAITS)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b'{"error": "Cannot let you in"}'), "status 401: Cannot let you in"),
        ((403, {}, b'{"error": "Cannot allow that"}'), "status 403: Cannot allow that"),
        ((404, {}, b"<html>\n not here"), "status 404: <html> not here"),
        ((400, {}, b"[]"), r"status 400: \[\]"),
        ((200, {"content-type": "text/html"}, b"hello"), "the answer's type is 'text/html'"),
        ((200, {**ARROW, "x-seamark-version": "new"}, stream()), "does not tell the table's version"),
        ((200, ARROW, b"garbage that is no stream"), "the answer is no Arrow stream"),
    ],
)
def test_what_waiting_cannot_mend_is_said_at_once(
    stub: Any, waited: list[float], answer: tuple[int, dict[str, str], bytes], message: str
) -> None:
    stub.answers = [answer]
    with pytest.raises(UserError, match=message):
        read(stub.address)
    assert (waited, len(stub.asked)) == ([], 1)


def test_a_redirect_is_not_followed(stub: Any, waited: list[float]) -> None:
    """It would take the token elsewhere."""
    stub.answers = [(302, {"location": stub.address + "/elsewhere"}, b"")]
    with pytest.raises(UserError, match="status 302"):
        read(stub.address)
    assert len(stub.asked) == 1


def test_proxies_of_the_environment_are_not_used(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    stub.answers = [GOOD]
    assert read(stub.address)[1] == 7


def test_the_token_is_in_no_log_and_no_error(stub: Any, waited: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for answers in ([BUSY], [HANGS_UP], [(401, {}, b"{}")], [CUT_OFF]):
        stub.answers = answers
        with pytest.raises(UserError) as error:
            read(stub.address)
        cause: BaseException | None = error.value
        while cause is not None:
            assert "secret" not in f"{cause} {cause!r}"
            cause = cause.__cause__ or cause.__context__
    assert "event=export_unavailable" in caplog.text
    assert "secret" not in caplog.text


def test_a_retraining_reads_through_a_collector_with_its_token(
    log: Any,
    world: Any,
    champion: Any,
    environment: dict[str, str],
    start_collector: Callable[..., str],
    tmp_path: Path,
) -> None:
    from seamark_trainer.environment import parse

    key = os.urandom(32).hex().encode()
    (tmp_path / "key").write_bytes(key)
    values, classes = world.draw(200)
    log.predict(values, f"m-{champion.digest[:8]}", classes)
    log.label([(f"p{i}", world.schema.classes[int(c)]) for i, c in enumerate(classes)])
    address = start_collector("--key-file", str(tmp_path / "key"))
    given = {**environment, "SEAMARK_DATA": address, "SEAMARK_CONFIG": '{"candidates": ["logistic"]}'}
    with pytest.raises(UserError, match=r"Cannot retrain m: cannot read .*: status 401: "):
        retrain(parse(given))
    with pytest.raises(UserError, match="status 403: Cannot allow read/default/m: the token is for read/default/n"):
        retrain(parse({**given, "SEAMARK_TOKEN": sign(key, "read/default/n")}))
    result = retrain(parse({**given, "SEAMARK_TOKEN": sign(key, "read/default/m")}))
    assert (result["dataVersion"], result["rows"]) == ("predictions@1,labels@1", np.count_nonzero(classes >= 0))
