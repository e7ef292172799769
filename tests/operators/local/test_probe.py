"""What the answers of a process add up to: ready, not ready, or to be restarted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from seamark_local.probe import START_LIMIT, UNREADY_LIMIT, Answer, Health, ask

YES = Answer(200)
NO = Answer(503, "loading")


def health_after(answers: Sequence[Answer | None], every: float = 1.0) -> tuple[Health, float]:
    """Health after one answer each `every` seconds from 0, and the time of the last."""
    health, now = Health(0.0), 0.0
    for answer in answers:
        now += every
        health.record(now, answer)
    return health, now


@pytest.mark.parametrize(
    ("answers", "ready", "message"),
    [
        pytest.param([], False, "", id="nothing is known at the start"),
        pytest.param([YES], True, "", id="the first 200 makes it ready"),
        pytest.param([None, NO], False, "loading", id="a reason is kept"),
        pytest.param([Answer(500)], False, "answers 500", id="a status without words is told"),
        pytest.param([YES, None, None], True, "", id="two failures are forgiven"),
        pytest.param([YES, None, None, None], False, "does not answer", id="three are not"),
        pytest.param([YES, NO, None, NO], False, "loading", id="failures of any kind count together"),
        pytest.param([YES, None, None, YES, None, None], True, "", id="a success starts the count again"),
        pytest.param([YES, NO, NO, NO, YES], True, "", id="it may become ready again"),
    ],
)
def test_readiness_follows_the_answers(answers: list[Answer | None], ready: bool, message: str) -> None:
    health, _ = health_after(answers)
    assert (health.ready, health.message) == (ready, message)


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        pytest.param([None] * 59, "", id="a start may be silent for a minute"),
        pytest.param([None] * 61, f"no answer for {START_LIMIT:g} s", id="but not longer"),
        pytest.param([YES] + [None] * 30, "", id="a ready process may be silent for half a minute"),
        pytest.param([YES] + [None] * 31, "no answer for 30 s", id="then it hangs"),
        pytest.param([NO] * 120, "", id="it may say no for two minutes"),
        pytest.param([NO] * 121, f"not ready for {UNREADY_LIMIT:g} s: loading", id="then a restart is tried"),
        pytest.param([YES] * 1000, "", id="a ready process is left alone"),
    ],
)
def test_a_process_that_hangs_is_found_out_in_time(answers: list[Answer | None], cause: str) -> None:
    health, now = health_after(answers)
    assert health.hangs(now) == cause


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Answer(200), id="ready"),
        pytest.param(b"HTTP/1.1 503 No\r\nA: b\r\n\r\nno model\nmore", Answer(503, "no model"), id="a reason"),
        pytest.param(b"HTTP/1.1 503 No\r\n\r\n" + b"x" * 10**6, Answer(503, "x" * 300), id="endless words"),
        pytest.param(b'HTTP/1.1 503 No\r\n\r\n{"error": "no model"}', Answer(503, "no model"), id="an error in JSON"),
        pytest.param(b'HTTP/1.1 503 No\r\n\r\n{"error": 1}', Answer(503, '{"error": 1}'), id="other JSON"),
        pytest.param(b"HTTP/1.1 503 No\r\n", Answer(503, ""), id="an answer cut off"),
        pytest.param(b"SSH-2.0-other\r\n", None, id="another protocol"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"y" * 100_000, None, id="an endless line"),
    ],
)
def test_whatever_a_process_sends_is_an_answer_or_none(sent: bytes, answer: Answer | None) -> None:
    async def asked() -> Answer | None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(sent)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask(server.sockets[0].getsockname()[1], "/readyz")

    assert asyncio.run(asked()) == answer


def test_a_port_where_nobody_listens_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert asyncio.run(ask(unused.getsockname()[1], "/readyz")) is None
