"""HTTP/1.1 as clients speak it, and as they should not: what is sent is answered, bounded and given back."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import functools
import gc
import http.client
import inspect
import itertools
import logging
import math
import re
import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from httptools import HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seamark.errors import Conflict
from seamark_predictor import http1
from seamark_predictor.http1 import Limits, Request, Server, listener

#: Seconds that stand for "soon" on a machine that is busy with something else.
SOON = 30.0
#: Time that a test does not let pass itself never runs out.
LIMITS: dict[str, Any] = {
    "body": 100_000,
    "budget": 250_000,
    "connections": 64,
    "head": 8192,
    "idle": 1000.0,
    "arrival": 500.0,
    "linger": 100.0,
}
TEXT = b"content-type: text/plain\r\n"
LARGE = bytes(range(256)) * 40_000
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LATER = b"GET /later HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSING = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body: bytes, path: str = "/", more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n%b" % (path.encode(), len(body), more, body)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


@dataclass
class Application:
    """Answers with the body it got; keeps those to /later for the test, and lets /task wait in a task."""

    requests: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    gone: list[Request] = field(default_factory=list)
    cancelled: int = 0
    keeps: bool = True

    def handle(self, request: Request) -> None:
        if self.keeps:
            self.requests.append(request)
        if request.fault is not None:
            request.respond(request.fault.status, TEXT, str(request.fault).encode())
        elif request.path == "/later":
            request.gone = lambda: self.gone.append(request)
            self.waiting.append(request)
        elif request.path == "/task":
            request.run(self.endless())
        elif request.path == "/large":
            request.respond(200, TEXT, LARGE)
        else:
            request.respond(200, TEXT, request.body or request.path.encode())

    async def endless(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def answer(self) -> None:
        """Answers the oldest that waits."""
        request = self.waiting.pop(0)
        request.respond(200, TEXT, request.body or request.path.encode())

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Client:
    """A socket that asks; `answer` reads one answer and no byte more."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read = b""
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def send_in_pieces(self, pieces: Iterable[bytes]) -> None:
        """The server sees one after the other: it is on the same loop."""
        for piece in pieces:
            with suppress(ConnectionError):
                await self.send(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def more(self) -> bool:
        """False where nothing more comes."""
        data = await self._loop.sock_recv(self.sock, 1 << 20)
        self.read += data
        return bool(data)

    async def until(self, end: bytes) -> bytes:
        while end not in self.read:
            assert await self.more(), self.read
        found, _, self.read = self.read.partition(end)
        return found

    async def answer(self, *, has_body: bool = True) -> Answer:
        status, headers = head_of(await self.until(b"\r\n\r\n"))
        size = int(headers["content-length"]) if has_body else 0
        while len(self.read) < size:
            assert await self.more(), "the answer is cut off"
        body, self.read = self.read[:size], self.read[size:]
        return Answer(status, headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def ended(self) -> bool:
        """True once the server has ended the connection, with nothing sent that was not read."""
        with suppress(ConnectionResetError):
            while await self.more():
                pass
        return self.read == b""

    def has_something(self) -> bool:
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK)) or True
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Hangs up without a good-bye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def head_of(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, every line of them well formed and none twice."""
    start, *lines = head.decode("ascii").split("\r\n")
    status = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", start)
    assert status is not None, start
    pairs = [re.fullmatch(r"([a-z][a-z-]*): ([!-~](?:[ -~]*[!-~])?)", line) for line in lines]
    headers = {pair[1]: pair[2] for pair in pairs if pair is not None}
    assert len(headers) == len(lines), lines
    sent = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    assert abs(time.time() - sent) < SOON, "the date is not now"
    return int(status[1]), headers


class Bench:
    """A server on the loop that runs, and its clients."""

    def __init__(self, application: Application, bounds: dict[str, Any]) -> None:
        self.application = application
        self.limits = Limits(**{**LIMITS, **bounds})
        self.server = Server(application, self.limits)
        self.problems: list[str] = []
        self._clients: list[Client] = []
        self._listening = listener("127.0.0.1", 0, shared=False, backlog=100)
        self.address = self._listening.getsockname()

    def start(self, kind: Callable[..., socket.socket] = socket.socket) -> None:
        """kind: what the server takes for the socket."""
        self.server.start(kind(fileno=self._listening.detach()))

    async def client(self, receives: int | None = None) -> Client:
        """receives: bytes of its socket's buffer."""
        sock = socket.socket()
        client = Client(sock)
        self._clients.append(client)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receives is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        return client

    @property
    def connections(self) -> list[Any]:
        return list(self.server._connections)

    @property
    def unsent(self) -> int:
        return sum(connection._transport.get_write_buffer_size() for connection in self.connections)

    def pass_time(self, seconds: float) -> None:
        """The server believes that so much time has passed."""
        self.server.ticks += math.ceil(seconds / self.server.period)
        for connection in self.connections:
            connection.look()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():  # noqa: ASYNC110  # most of what is awaited belongs to the system
                await asyncio.sleep(0.001)

    async def is_at_rest(self) -> None:
        """Waits until every connection has ended; what is kept for the test is answered, to nobody."""

        def nobody_is_left() -> bool:
            while self.application.waiting:
                self.application.answer()
            return not self.connections

        await self.until(nobody_is_left)
        assert (self.server.held, self.server.poller.under_way) == (0, 0)

    async def still_serves(self) -> None:
        client = await self.client()
        assert (await client.ask(GET)).status == 200
        client.close()

    async def end(self) -> None:
        for client in self._clients:
            client.close()
        async with asyncio.timeout(SOON):
            await self.server.stop(0.5)
        assert self.server.held == 0
        assert self.server._open == 0
        assert self.problems == []


class _Problems(logging.Handler):
    """Whatever is logged is one."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record.getMessage())


async def _run(test: Callable[[Bench], Awaitable[None]], bounds: dict[str, Any]) -> None:
    bench = Bench(Application(), bounds)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: bench.problems.append(str(context)))
    handler = _Problems(bench.problems)
    logging.getLogger().addHandler(handler)
    try:
        async with asyncio.timeout(60):
            await test(bench)
    finally:
        await bench.end()
        logging.getLogger().removeHandler(handler)


def served(*, starts: bool = True, **bounds: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """The test gets a server with these bounds; in the end it holds nothing, has ended and has logged nothing."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*values: Any, **named: Any) -> None:
            async def start_and_test(bench: Bench) -> None:
                if starts:
                    bench.start()
                await test(bench, *values, **named)

            uvloop.run(_run(start_and_test, bounds))

        _, *parameters = inspect.signature(test).parameters.values()
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by pytest
        return run

    return decorate


# --- what is read


@dataclass(frozen=True)
class Case:
    sent: bytes
    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def get(lines: bytes = b"", target: bytes = b"/", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method, target, lines)


CASES = {
    "GET": Case(GET),
    "GET with a body": Case(get(b"Content-Length: 2\r\n") + b"hi", headers={"content-length": "2"}, body=b"hi"),
    "POST": Case(post(b"hello"), "POST", headers={"content-length": "5"}, body=b"hello"),
    "POST of nothing": Case(post(b""), "POST", headers={"content-length": "0"}),
    "POST that says nothing of a body": Case(get(method=b"POST"), "POST"),
    "zeros before the length": Case(
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0005 \r\n\r\nhello",
        "POST",
        "/",
        {"content-length": "0005"},
        b"hello",
    ),
    "chunks": Case(
        CHUNKED + chunked(b"hello ", b"world"), "POST", "/", {"transfer-encoding": "chunked"}, b"hello world"
    ),
    "no chunks": Case(CHUNKED + b"0\r\n\r\n", "POST", headers={"transfer-encoding": "chunked"}),
    "chunks with extensions": Case(
        CHUNKED + b'5;a=b;c="d;\\""\r\nhello\r\n001;x\r\n!\r\n000;last\r\n\r\n',
        "POST",
        headers={"transfer-encoding": "chunked"},
        body=b"hello!",
    ),
    "trailers are no headers": Case(
        CHUNKED + b"5\r\nhello\r\n0\r\nContent-Type: a\r\nX-Request-Id: b\r\nExpect: 100-continue\r\n\r\n",
        "POST",
        headers={"transfer-encoding": "chunked"},
        body=b"hello",
    ),
    "empty lines before": Case(b"\r\n\r\n" + GET),
    "a question": Case(get(target=b"/a/b?c=/d%20e?f"), path="/a/b"),
    "escapes": Case(get(target=b"/a%20b%c3%A9%2Fc%3Fd?%41"), path="/a bé/c?d"),
    "escapes that are none": Case(get(target=b"/%zz%e9%"), path="/%zz�%"),
    "an escaped NUL": Case(get(target=b"/%00"), path="/\0"),
    "two slashes": Case(get(target=b"//a/b"), path="//a/b"),
    "an absolute address": Case(get(target=b"http://h:1/a%20b?c"), path="/a b"),
    "an absolute address, escaped": Case(get(target=b"http://h/%2541?c"), path="/%41"),
    "an absolute address with a user": Case(get(target=b"https://u:p@h/a"), path="/a"),
    "an absolute address without path": Case(get(target=b"http://h"), path="/"),
    "an absolute address with a question only": Case(get(target=b"http://h?a"), path="/"),
    "OPTIONS of the server": Case(get(target=b"*", method=b"OPTIONS"), "OPTIONS", "*"),
    "a rare method": Case(get(target=b"/a", method=b"PROPFIND"), "PROPFIND", "/a"),
    "names in any case": Case(
        get(b"CONTENT-TYPE: a\r\nx-ReQuest-iD: B\r\n"), headers={"content-type": "a", "x-request-id": "B"}
    ),
    "a name twice": Case(
        get(b"Accept-Encoding: br\r\nA: b\r\naccept-encoding: gzip\r\nAccept-Encoding:\r\n"),
        headers={"accept-encoding": "br, gzip, "},
    ),
    "names that nobody reads": Case(get(b"Content-Typ: a\r\nContent-Type-: b\r\nX_Request_Id: c\r\n")),
    "space around a value": Case(
        get(b"Content-Type: \t a b\t \r\nX-Request-Id:c\r\n"), headers={"content-type": "a b", "x-request-id": "c"}
    ),
    "an empty value": Case(
        get(b"Content-Type:\r\nX-Empty:\r\nX-Request-Id: a\r\n"), headers={"content-type": "", "x-request-id": "a"}
    ),
    "bytes that are not ASCII": Case(
        get(b"X-Request-Id: \xe9\xff\xa0\r\nContent-Type: \xc3\xa9\r\n"),
        headers={"x-request-id": "éÿ\xa0", "content-type": "Ã©"},
    ),
}


def check(request: Request, case: Case) -> None:
    assert (request.method, request.path) == (case.method, case.path)
    assert (request.headers, request.body, request.fault) == (case.headers, case.body, None)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@served()
async def test_a_request_is_handed_over_as_it_was_sent(bench: Bench, case: Case) -> None:
    client = await bench.client()
    answer = await client.ask(case.sent)
    assert (answer.status, answer.closes) == (200, False)
    check(bench.application.requests[0], case)
    assert (await client.ask(GET)).status == 200


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@served()
async def test_a_request_is_the_same_wherever_it_is_cut_in_two(bench: Bench, case: Case) -> None:
    client = await bench.client()
    for cut in range(1, len(case.sent)):
        await client.send_in_pieces([case.sent[:cut], case.sent[cut:]])
        assert (await client.answer()).status == 200
        check(bench.application.requests[-1], case)
    assert len(bench.application.requests) == len(case.sent) - 1


@served()
async def test_requests_may_come_byte_by_byte(bench: Bench) -> None:
    client = await bench.client()
    for case in CASES.values():
        await client.send_in_pieces(case.sent[i : i + 1] for i in range(len(case.sent)))
        assert (await client.answer()).status == 200
        check(bench.application.requests[-1], case)


@settings(max_examples=60, deadline=None)
@given(
    cases=st.lists(st.sampled_from(list(CASES.values())), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 700), max_size=12),
)
@served()
async def test_requests_are_the_same_however_they_are_sent(bench: Bench, cases: list[Case], cuts: list[int]) -> None:
    stream = b"".join(case.sent for case in cases)
    edges = [0, *sorted(cuts), len(stream)]
    client = await bench.client()
    await client.send_in_pieces(stream[a:b] for a, b in itertools.pairwise(edges) if a < b)
    for case in cases:
        assert (await client.answer()).body == (case.body or case.path.encode())
    for request, case in zip(bench.application.requests, cases, strict=True):
        check(request, case)


@served(body=20_000_000, budget=20_000_000)
async def test_a_large_body_arrives_whole(bench: Bench) -> None:
    client = await bench.client()
    sending = asyncio.create_task(client.send(post(LARGE) + CHUNKED + chunked(*[LARGE[:50_000]] * 100)))
    assert (await client.answer()).body == LARGE
    assert (await client.answer()).body == LARGE[:50_000] * 100
    await sending


@served()
async def test_head_is_answered_with_the_length_and_without_the_body(bench: Bench) -> None:
    client = await bench.client()
    await client.send(get(method=b"HEAD", target=b"/head") + get(target=b"/get"))
    head = await client.answer(has_body=False)
    assert (head.status, head.headers["content-length"]) == (200, "5")
    assert (await client.answer()).body == b"/get"


ENDS = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", None),
    "HTTP/1.1 keep-alive": (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", None),
    "HTTP/1.1 with another option": (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\n\r\n", None),
    "HTTP/1.1 close": (CLOSING, "close"),
    "HTTP/1.1 Close among others": (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: TE, Close\r\n\r\n", "close"),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", "close"),
    "HTTP/1.0 keep-alive": (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive"),
    "HTTP/1.0 close": (b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n", "close"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "close"),
}


@pytest.mark.parametrize(("sent", "connection"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("path", ["", "later"], ids=["at once", "later"])
@served()
async def test_a_connection_ends_when_the_client_wants_it(
    bench: Bench, sent: bytes, connection: str | None, path: str
) -> None:
    client = await bench.client()
    await client.send(sent.replace(b"/", b"/" + path.encode(), 1))
    if path:
        await bench.until(lambda: bench.application.waiting)
        bench.application.answer()
    answer = await client.answer()
    assert answer.headers.get("connection") == connection
    if answer.closes:
        assert await client.ended()
    else:
        assert (await client.ask(sent.replace(b"/later", b"/"))).status == 200


@served()
async def test_nothing_behind_the_last_request_is_served(bench: Bench) -> None:
    client = await bench.client()
    assert (await client.ask(CLOSING + get(target=b"/behind"))).closes
    assert await client.ended()
    later = await bench.client()
    await later.send(LATER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    await bench.until(lambda: bench.application.waiting)
    await later.send_in_pieces([get(target=b"/behind"), b"x" * 100])
    bench.application.answer()
    assert (await later.answer()).closes
    assert await later.ended()
    assert bench.application.paths == ["/", "/later"]


@served()
async def test_the_standard_librarys_client_is_content(bench: Bench) -> None:
    def ask() -> list[tuple[int, bytes]]:
        connection = http.client.HTTPConnection(*bench.address, timeout=SOON)
        found = []
        for body in (None, b"a" * 70_000, iter([b"b", b"c" * 9000])):
            connection.request("GET" if body is None else "POST", "/ask", body)
            answer = connection.getresponse()
            assert answer.version == 11
            assert answer.headers.defects == []  # type: ignore[attr-defined]  # an email message's
            assert answer.headers.get_content_type() == "text/plain"
            found.append((answer.status, answer.read()))
        connection.close()
        return found

    expected = [(200, b"/ask"), (200, b"a" * 70_000), (200, b"b" + b"c" * 9000)]
    assert await asyncio.to_thread(ask) == expected
    assert len(bench.application.requests) == 3


@served()
async def test_the_date_is_of_this_second(bench: Bench) -> None:
    seconds = iter([0.2, 0.9, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http1, "time", lambda: next(seconds) + 86400)
        dates = [bench.server.date() for _ in range(3)]
    first, then = b"date: Fri, 02 Jan 1970 00:00:00 GMT\r\n", b"date: Fri, 02 Jan 1970 00:00:01 GMT\r\n"
    assert dates == [first, first, then]


# --- pipelining


@served()
async def test_answers_come_in_the_order_of_the_requests(bench: Bench) -> None:
    client = await bench.client()
    await client.send(get(target=b"/a") + post(b"b", "/later") + get(target=b"/c") + post(b"d", "/later") + post(b"e"))
    await bench.until(lambda: bench.application.waiting)
    assert bench.application.paths == ["/a", "/later"]
    bench.application.answer()
    await bench.until(lambda: bench.application.waiting)
    assert bench.application.paths == ["/a", "/later", "/c", "/later"]
    bench.application.answer()
    assert [(await client.answer()).body for _ in range(5)] == [b"/a", b"b", b"/c", b"d", b"e"]


@served()
async def test_a_thousand_requests_may_come_at_once(bench: Bench) -> None:
    client, other = await bench.client(), await bench.client()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in range(1000)))
    await bench.until(lambda: bench.application.requests)
    # Between two of them, others have their turn.
    assert (await other.ask(GET)).status == 200
    assert len(bench.application.requests) < 1000
    assert [(await client.answer()).body for _ in range(1000)] == [b"/%d" % i for i in range(1000)]
    assert (await client.ask(GET)).status == 200


@served()
async def test_more_than_may_be_sent_ahead_are_refused_after_the_others(bench: Bench) -> None:
    client = await bench.client()
    # One is under way.
    most = http1._MOST_AHEAD + 1
    await client.send(LATER + post(b"x", "/x") * (most + 100))
    await bench.until(lambda: bench.application.waiting)
    assert bench.server.held == most - 1
    bench.application.answer()
    answers = [await client.answer() for _ in range(most + 1)]
    assert [answer.status for answer in answers] == [200] * most + [429]
    assert answers[-1].closes
    assert await client.ended()


@served()
async def test_nothing_is_read_while_requests_wait(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER)
    await bench.until(lambda: bench.application.waiting)
    (connection,) = bench.connections
    assert connection._transport.is_reading(), "who hangs up is noticed"
    await client.send(GET)
    await bench.until(lambda: not connection._transport.is_reading())
    await client.send(get(target=b"/third"))
    bench.application.answer()
    assert [(await client.answer()).body for _ in range(3)] == [b"/later", b"/", b"/third"]
    assert connection._transport.is_reading()


@pytest.mark.parametrize("first", [GET, LATER, post(b"hello")], ids=["GET", "later", "POST"])
@pytest.mark.parametrize("together", [True, False])
@served()
async def test_a_broken_request_is_refused_after_the_good_ones(bench: Bench, first: bytes, together: bool) -> None:
    client = await bench.client()
    stream = [first, GET, b"BROKEN\r\n\r\n", get(target=b"/behind")]
    await client.send_in_pieces([b"".join(stream)] if together else stream)
    if first == LATER:
        await bench.until(lambda: bench.application.waiting)
        bench.application.answer()
    answers = [await client.answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert [answer.closes for answer in answers] == [False, False, True]
    assert answers[2].headers["content-type"] == "application/json"
    assert await client.ended()
    assert "/behind" not in bench.application.paths


@served()
async def test_a_client_may_leave_while_its_requests_wait(bench: Bench) -> None:
    client = await bench.client()
    await client.send(post(b"a", "/later") + post(b"b") * 10)
    await bench.until(lambda: bench.server.held == 11)
    client.reset()
    await bench.is_at_rest()
    await bench.still_serves()


@served(arrival=50.0)
async def test_a_body_is_not_late_while_the_server_does_not_read(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER + GET + post(b"hello")[:-1])
    await bench.until(lambda: bench.application.waiting)
    bench.pass_time(60)
    bench.application.answer()
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert (await client.ask(b"o")).body == b"hello"


# --- bounds


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"], ids=["", "after asking"])
@served()
async def test_an_announced_body_over_the_limit_is_refused_before_it_comes(bench: Bench, expects: bytes) -> None:
    client = await bench.client()
    answer = await client.ask(
        b"POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\nX-Request-Id: a\r\n%b\r\n" % expects
    )
    assert (answer.status, answer.closes) == (413, True)
    assert answer.body == b"Cannot read the body: it has 100001 bytes or more; at most 100000 are allowed"
    (request,) = bench.application.requests
    assert (request.method, request.path, request.body) == ("POST", "/large", b"")
    assert request.headers["x-request-id"] == "a"
    assert await client.ended()


@served()
async def test_a_body_of_exactly_the_limit_is_taken(bench: Bench) -> None:
    client = await bench.client()
    assert (await client.ask(post(b"a" * 100_000))).body == b"a" * 100_000
    assert (await client.ask(CHUNKED + chunked(b"a" * 60_000, b"b" * 40_000))).status == 200


@served()
async def test_who_goes_on_sending_what_is_refused_can_read_why(bench: Bench) -> None:
    client = await bench.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
    for _ in range(100):
        await client.send(b"a" * 100_000)
    assert (await client.answer()).status == 413
    bench.pass_time(bench.limits.linger - 1)
    assert bench.connections != []
    bench.pass_time(2)
    await bench.is_at_rest()


@served()
async def test_a_chunked_body_over_the_limit_is_refused(bench: Bench) -> None:
    client = await bench.client()
    # What is wrong behind it, in the same data, is not looked at.
    answer = await client.ask(CHUNKED + chunked(b"a" * 60_000, b"b" * 60_000)[:-5] + b"broken\r\n" + GET)
    assert (answer.status, answer.closes) == (413, True)
    assert await client.ended()
    assert len(bench.application.requests) == 1


@pytest.mark.parametrize("kind", ["announced", "chunked"])
@served()
async def test_bodies_over_the_budget_are_refused(bench: Bench, kind: str) -> None:
    body = b"a" * 80_000
    sent = post(body, "/later") if kind == "announced" else CHUNKED.replace(b"/", b"/later", 1) + chunked(body)
    holding = [await bench.client() for _ in range(3)]
    for client in holding:
        await client.send(sent)
    await bench.until(lambda: bench.server.held == 240_000)
    refused = await bench.client()
    answer = await refused.ask(sent)
    assert (answer.status, answer.closes) == (503, True)
    assert answer.body == b"Cannot read the body: the server holds as much as it can; try again"
    for client in holding:
        bench.application.answer()
        assert (await client.answer()).body == body
    assert bench.server.held == 0
    assert (await holding[0].ask(post(body))).status == 200


@served()
async def test_what_a_body_has_become_counts_until_it_is_answered(bench: Bench) -> None:
    client = await bench.client()
    await client.send(post(b"a", "/later"))
    await bench.until(lambda: bench.application.waiting)
    bench.application.waiting[0].hold(1000)
    assert bench.server.held == 1001
    bench.application.answer()
    assert bench.server.held == 0
    await client.answer()


@served(small_pieces=10, least_piece=4)
async def test_a_body_of_many_crumbs_is_refused(bench: Bench) -> None:
    client = await bench.client()
    assert (await client.ask(CHUNKED + chunked(*[b"a"] * 11))).status == 200
    assert (await client.ask(CHUNKED + chunked(*[b"abcd"] * 200))).status == 200
    answer = await client.ask(CHUNKED + chunked(*[b"a"] * 100))
    assert (answer.status, answer.closes) == (400, True)
    assert b"came in 14 pieces; 4 bytes or more in each are needed" in answer.body
    assert await client.ended()


HEADS = {
    "one header": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: h\r\n" + (b"X-Request-Id: " + b"a" * 100 + b"\r\n") * 100 + b"\r\n",
    "a long path": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a long name": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a" * 9000 + b": b\r\n\r\n",
    "no end": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000,
    "no end of the path": b"GET /" + b"a" * 9000,
    "empty lines": b"\r\n" * 4500,
    "a body behind": b"POST / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000 + b"\r\nContent-Length: 3\r\n\r\nabc",
    "an error behind": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000 + b"\r\n\r\nBROKEN\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("size", [100_000, 1000, 250])
@served()
async def test_a_large_head_is_refused(bench: Bench, head: bytes, size: int) -> None:
    client = await bench.client()
    await client.send_in_pieces(head[i : i + size] for i in range(0, len(head), size))
    answer = await client.answer()
    status, what = (414, b"in its address") if b"/aaaa" in head else (431, b"of headers")
    assert (answer.status, answer.closes) == (status, True)
    assert b"it has more than 8192 bytes " + what in answer.body
    (connection,) = bench.connections
    assert len("".join(connection._headers.values())) <= bench.limits.head, "no more of it is joined"
    assert await client.ended()
    assert bench.application.requests == []


@served()
async def test_a_head_below_the_limit_is_taken(bench: Bench) -> None:
    client = await bench.client()
    head = b"GET /%b HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"a" * 4000, b"b" * 4000)
    for size in (10_000, 1000):
        await client.send_in_pieces(head[i : i + size] for i in range(0, len(head), size))
        assert (await client.answer()).status == 200
    # The bound is of each, not of those that come together, and not of a head with its chunks' sizes and trailers.
    chunks = b"5;a=%b\r\nhello\r\n0\r\nX: %b\r\n\r\n" % (b"a" * 4000, b"b" * 4000)
    await client.send_in_pieces([CHUNKED[:-2] + b"X: %b\r\n\r\n" % (b"a" * 8000), chunks[:1000], chunks[1000:]])
    assert (await client.answer()).body == b"hello"
    await client.send(head * 20)
    assert [(await client.answer()).status for _ in range(20)] == [200] * 20


BEHIND_CHUNKS = {
    "trailers": b"0\r\n" + b"X-Trailer: aaaaaaaaaaaaa\r\n" * 400,
    "a trailer without end": b"0\r\nX-Trailer: " + b"a" * 9000,
    "an extension without end": b"5;a=" + b"a" * 9000,
    "zeros without end": b"0" * 9000,
}


@pytest.mark.parametrize("rest", BEHIND_CHUNKS.values(), ids=BEHIND_CHUNKS)
@served()
async def test_what_comes_beside_a_chunked_body_is_bounded(bench: Bench, rest: bytes) -> None:
    client = await bench.client()
    await client.send_in_pieces([CHUNKED, b"5\r\nhello\r\n", *(rest[i : i + 100] for i in range(0, len(rest), 100))])
    answer = await client.answer()
    assert (answer.status, answer.closes) == (431, True)
    assert await client.ended()
    assert bench.application.requests[0].fault is not None


@pytest.mark.parametrize("sent", [post(b"hello")[:-1], CHUNKED + b"5\r\nhell", CHUNKED, CHUNKED + b"0\r\nA: b\r\n"])
@served()
async def test_a_body_that_does_not_arrive_is_refused(bench: Bench, sent: bytes) -> None:
    client = await bench.client()
    await bench.until(lambda: bench.connections)
    bench.pass_time(bench.limits.arrival)
    await client.send(sent)
    await bench.until(lambda: bench.connections[0]._in_body)
    bench.pass_time(bench.limits.arrival)
    assert bench.application.requests == []
    bench.pass_time(1)
    answer = await client.answer()
    assert (answer.status, answer.closes) == (408, True)
    assert answer.body == b"Cannot read the body: it did not arrive within 500 seconds"
    assert bench.server.held == 0
    assert await client.ended()


@served()
async def test_a_body_that_does_not_arrive_is_refused_after_those_before(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER + post(b"hello")[:-1])
    await bench.until(lambda: bench.server.held == 4)
    bench.pass_time(bench.limits.arrival + 1)
    bench.application.answer()
    assert [(await client.answer()).status for _ in range(2)] == [200, 408]
    assert await client.ended()


@pytest.mark.parametrize("sent", [b"", GET, b"G", GET + b"GET / HTTP/1.1\r\nHost: h\r\nA: ", b"PRI * HTTP/2.0\r\n\r\n"])
@served()
async def test_a_connection_without_requests_is_ended(bench: Bench, sent: bytes) -> None:
    client = await bench.client()
    await bench.until(lambda: bench.connections)
    if GET in sent:
        await client.ask(sent)
    else:
        await client.send_in_pieces([sent])
    bench.pass_time(bench.limits.idle)
    assert len(bench.connections) == 1
    bench.pass_time(1)
    assert await client.ended()


@served()
async def test_a_connection_is_not_idle_while_a_request_is_under_way(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER)
    await bench.until(lambda: bench.application.waiting)
    bench.pass_time(5000)
    bench.application.answer()
    assert (await client.answer()).status == 200
    bench.pass_time(bench.limits.idle)
    assert (await client.ask(GET)).status == 200


@served()
async def test_a_connection_is_idle_only_since_its_answer_was_taken(bench: Bench) -> None:
    client = await bench.client(receives=20_000)
    await client.send(get(target=b"/large"))
    await bench.until(lambda: bench.unsent)
    bench.pass_time(bench.limits.idle - 1)
    assert (await client.answer()).body == LARGE
    # Some real time has passed too since the server was rid of it.
    bench.pass_time(bench.limits.idle - 10)
    assert (await client.ask(GET)).status == 200
    bench.pass_time(bench.limits.idle + 1)
    assert await client.ended()


@served(idle=0.1)
async def test_time_passes_by_itself(bench: Bench) -> None:
    client = await bench.client()
    assert await client.ended()


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"], ids=["then stays", "then ends"])
@served()
async def test_an_answer_may_be_read_slowly_but_not_left_unread(bench: Bench, head: bytes) -> None:
    client = await bench.client(receives=20_000)
    await client.send(get(head, target=b"/large"))
    await bench.until(lambda: bench.unsent)
    # In all it takes a multiple of what an idle connection, or one that ends, is allowed.
    taken = 0
    while bench.unsent > len(LARGE) // 5:
        bench.pass_time(bench.limits.idle - 1)
        before = bench.unsent
        assert before > 0
        while bench.unsent == before:
            await client.more()
            await asyncio.sleep(0)
        bench.pass_time(1)
        # Were it ended, that would be done by now.
        await asyncio.sleep(0)
        assert bench.unsent > 0
        taken += 1
    assert taken > 1
    bench.pass_time(bench.limits.idle + 1)
    await bench.is_at_rest()


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"], ids=["then stays", "then ends"])
@served()
async def test_a_large_answer_is_read_whole(bench: Bench, head: bytes) -> None:
    client = await bench.client(receives=20_000)
    await client.send(get(head, target=b"/large"))
    await bench.until(lambda: bench.unsent)
    if not head:
        await client.send(GET)
        await bench.until(lambda: bench.connections[0]._ahead)
    assert len(bench.application.requests) == 1, "the next waits until the answer is taken"
    assert (await client.answer()).body == LARGE
    if head:
        assert await client.ended()
    else:
        assert (await client.answer()).status == 200


@served()
async def test_who_sends_on_behind_the_last_request_can_read_its_answer(bench: Bench) -> None:
    client = await bench.client(receives=20_000)
    await client.send(get(b"Connection: close\r\n", target=b"/large"))
    await bench.until(lambda: bench.unsent)
    await client.send(b"a" * 1_000_000)
    assert (await client.answer()).body == LARGE
    assert await client.ended()


@served()
async def test_who_does_not_hang_up_after_the_last_answer_is_ended(bench: Bench) -> None:
    client = await bench.client()
    assert (await client.ask(CLOSING)).closes
    assert await client.ended()
    assert len(bench.connections) == 1
    bench.pass_time(bench.limits.linger + 1)
    await bench.is_at_rest()


# --- connections


@served(connections=2)
async def test_connections_over_the_limit_wait_until_another_ends(bench: Bench) -> None:
    one, two, three, four = [await bench.client() for _ in range(4)]
    for client in (three, four):
        await client.send(GET)
    for client in (one, two, one, two):
        assert (await client.ask(GET)).status == 200
    assert len(bench.connections) == 2
    assert not three.has_something()
    one.close()
    assert (await three.answer()).status == 200
    assert not four.has_something()
    two.reset()
    assert (await four.answer()).status == 200
    assert len(bench.connections) == 2


class Faulty(socket.socket):
    """A listening socket that fails so often first."""

    errors: list[OSError] = []  # noqa: RUF012  # one for all: the server's is not made here

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return super().accept()


@served(starts=False)
async def test_connections_are_taken_again_when_the_system_can(bench: Bench) -> None:
    Faulty.errors = [ConnectionAbortedError(), InterruptedError(), OSError(errno.EMFILE, "Too many open files")]
    bench.start(Faulty)
    client = await bench.client()
    assert (await client.ask(GET)).status == 200
    assert Faulty.errors == []
    assert bench.problems == ['event=accept_failed reason="Too many open files"']
    bench.problems.clear()


@served(starts=False)
async def test_a_server_may_stop_while_it_cannot_take_connections(bench: Bench) -> None:
    Faulty.errors = [OSError(errno.ENFILE, "Too many")]
    bench.start(Faulty)
    client = await bench.client()
    await bench.until(lambda: bench.problems)
    await bench.server.stop(SOON)
    assert await client.ended()
    bench.problems.clear()


# --- Expect


@served()
async def test_who_asks_whether_to_go_on_is_told(bench: Bench) -> None:
    client = await bench.client()
    for expect in (b"100-continue", b"100-Continue"):
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: %b \r\n\r\n" % expect)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        assert (await client.ask(b"hello")).body == b"hello"
    await client.send(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n")
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
    assert (await client.ask(chunked(b"hello"))).body == b"hello"


UNTOLD = {
    "HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "no body": get(b"Expect: 100-continue\r\n"),
    "something else": post(b"hello", more=b"Expect: 200-ok\r\n"),
}


@pytest.mark.parametrize("sent", UNTOLD.values(), ids=UNTOLD)
@served()
async def test_who_cannot_go_on_is_not_told_to(bench: Bench, sent: bytes) -> None:
    client = await bench.client()
    assert (await client.ask(sent)).status == 200


@served()
async def test_who_is_refused_is_not_told_to_go_on(bench: Bench) -> None:
    client = await bench.client()
    lines = b"Transfer-Encoding: gzip, chunked\r\nExpect: 100-continue\r\n"
    assert (await client.ask(get(lines, method=b"POST"))).status == 400
    assert await client.ended()


@served()
async def test_nobody_is_told_to_go_on_before_the_answer_to_another_request(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER + post(b"hello", more=b"Expect: 100-continue\r\n"))
    await bench.until(lambda: bench.server.held == 5)
    bench.application.answer()
    assert [(await client.answer()).body for _ in range(2)] == [b"/later", b"hello"]


# --- other protocols

UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n",
    "h2c and close": b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n",
}
UPGRADED = {
    "no body": (b"\r\n", b""),
    "an empty body": (b"Content-Length: 0\r\n\r\n", b""),
    "a body": (b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"he", b"llo"), b"hello"),
}


@pytest.mark.parametrize("lines", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize(("rest", "body"), UPGRADED.values(), ids=UPGRADED)
@pytest.mark.parametrize("size", [10_000, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("path", ["/", "/later"])
@served()
async def test_who_asks_for_another_protocol_gets_an_ordinary_answer(
    bench: Bench, lines: bytes, rest: bytes, body: bytes, size: int, path: str
) -> None:
    client = await bench.client()
    lines += b"X-Request-Id: \xe9\r\nContent-Type: a\r\n"
    sent = b"POST %b?a HTTP/1.1\r\nHost: h\r\n%b%b" % (path.encode(), lines, rest) + get(target=b"/behind")
    await client.send_in_pieces(sent[i : i + size] for i in range(0, len(sent), size))
    if path == "/later":
        await bench.until(lambda: bench.application.waiting)
        bench.application.answer()
    answer = await client.answer()
    assert (answer.status, answer.closes) == (200, True)
    assert await client.ended()
    (request,) = bench.application.requests
    assert (request.method, request.path, request.body) == ("POST", path, body)
    assert (request.headers["x-request-id"], request.headers["content-type"]) == ("é", "a")


@served()
async def test_a_body_is_bounded_beside_another_protocol_too(bench: Bench) -> None:
    lines = UPGRADES["h2c"]
    client = await bench.client()
    answer = await client.ask(b"POST / HTTP/1.1\r\nHost: h\r\n%bContent-Length: 100001\r\n\r\n" % lines)
    assert (answer.status, answer.closes) == (413, True)
    client = await bench.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\n%bContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" % lines)
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
    assert (await client.ask(b"hello")).body == b"hello"
    client = await bench.client()
    answer = await client.ask(b"POST / HTTP/1.1\r\nHost: h\r\n%bTransfer-Encoding: chunked\r\n\r\nbroken" % lines)
    assert (answer.status, answer.closes) == (400, True)
    assert await client.ended()


@pytest.mark.parametrize("lines", [b"", b"Content-Length: 5\r\n"])
@served()
async def test_no_tunnel_is_made(bench: Bench, lines: bytes) -> None:
    client = await bench.client()
    answer = await client.ask(get(lines, b"example.org:443", b"CONNECT") + GET)
    assert (answer.status, answer.closes, answer.body) == (200, True, b"example.org:443")
    assert await client.ended()
    assert bench.application.paths == ["example.org:443"]


def client_hello() -> bytes:
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="h").do_handshake()
    return sent.read()


HOSTS = {
    "none": (b"1.1", b"", 0),
    "none, with a body": (b"1.1", b"Content-Length: 5\r\n", 0),
    "two": (b"1.1", b"Host: a\r\nHost: b\r\n", 2),
    "the same twice": (b"1.1", b"Host: a\r\nHost: a\r\n", 2),
    "two spellings": (b"1.1", b"HOST: a\r\nX: y\r\nhOsT: b\r\n", 2),
    "two, before there was one": (b"1.0", b"Host: a\r\nHost: b\r\n", 2),
}


@pytest.mark.parametrize(("version", "lines", "count"), HOSTS.values(), ids=HOSTS)
@served()
async def test_a_request_that_does_not_say_where_it_was_sent_to_is_refused(
    bench: Bench, version: bytes, lines: bytes, count: int
) -> None:
    client = await bench.client()
    answer = await client.ask(b"POST / HTTP/%b\r\n%b\r\nhello" % (version, lines))
    assert (answer.status, answer.closes) == (400, True)
    assert answer.body == b"Cannot read the request: it has %d Host headers; one is needed" % count
    assert await client.ended()
    assert [request.body for request in bench.application.requests] == [b""]


@pytest.mark.parametrize("start", [b"1.1\r\nhost: a", b"1.1\r\nHOST:", b"1.0", b"1.0\r\nHost: a"])
@served()
async def test_one_host_is_enough_and_counted_for_each_request(bench: Bench, start: bytes) -> None:
    client = await bench.client()
    trailer = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: other\r\n\r\n"
    for sent in (GET, trailer, GET, b"GET / HTTP/%b\r\n\r\n" % start):
        assert (await client.ask(sent)).status == 200


FOREIGN = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": client_hello(),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a proxy's header": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + GET,
    "an unknown method": b"PREDICT / HTTP/1.1\r\nHost: h\r\n\r\n",
    "small letters": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "an unknown version": b"GET / HTTP/1.2\r\n\r\n",
    "no slash": b"GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    "a byte in the path": b"GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n",
}


@pytest.mark.parametrize("sent", FOREIGN.values(), ids=FOREIGN)
@served()
async def test_another_protocol_is_refused(bench: Bench, sent: bytes) -> None:
    client = await bench.client()
    answer = await client.ask(sent)
    assert (answer.status, answer.closes) == (400, True)
    assert answer.body.startswith(b'{"error":"Cannot read the request: it is not HTTP/1.1: ')
    assert await client.ended()
    assert bench.application.requests == []


TOKENS = [
    *(GET, CLOSING, CHUNKED, post(b"hello"), b"GET / HTTP/1.1\r\nHost: h\r\n", b"HEAD / HTTP/1.0\r\n"),
    *(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"Upgrade: a\r\nConnection: upgrade\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n", b"\r", b"\n"),
]


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.sampled_from(TOKENS) | st.binary(max_size=20), max_size=12), joined=st.booleans())
@served(head=2000)
async def test_whatever_is_sent_the_server_lives_and_forgets(bench: Bench, pieces: list[bytes], joined: bool) -> None:
    client = await bench.client()
    await client.send_in_pieces([b"".join(pieces)] if joined else pieces)
    with suppress(OSError):
        client.sock.shutdown(socket.SHUT_WR)
    with suppress(ConnectionResetError):
        while await client.more():
            pass
    assert client.read == b"" or client.read.startswith(b"HTTP/1.1 ")
    client.close()
    await bench.is_at_rest()
    await bench.still_serves()


# --- requests within requests

SMUGGLED = {
    "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other first": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a plus": b"Content-Length: +5\r\n\r\nhello",
    "hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "a fraction": b"Content-Length: 5.0\r\n\r\nhello",
    "an underscore": b"Content-Length: 1_0\r\n\r\nhellohello",
    "two numbers": b"Content-Length: 1 0\r\n\r\nhellohello",
    "no length": b"Content-Length:\r\n\r\nhello",
    "2**64": b"Content-Length: 18446744073709551616\r\n\r\nhello",
    "2**64 + 5": b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "2**64 - 1": b"Content-Length: 18446744073709551615\r\n\r\nhello",
    "five thousand zeros": b"Content-Length: " + b"0" * 5000 + b"5\r\n\r\nhello",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\nhello",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and another": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "another and chunked": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no coding": b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "a coding in quotes": b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"A: b\r\n c\r\n\r\n",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "space before the first name": b" A: b\r\n\r\n",
    "space before the colon": b"Content-Length : 5\r\n\r\nhello",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "no colon": b"Content-Length\r\n\r\n",
    "no name": b": 5\r\n\r\n",
    "a bare CR": b"A: b\rContent-Length: 5\r\n\r\nhello",
    "a bare LF": b"A: b\nContent-Length: 5\r\n\r\nhello",
    "bare LFs at the end": b"A: b\n\n",
    "two CRs": b"A: b\r\r\n\r\n",
    "NUL in a value": b"A: b\0c\r\n\r\n",
    "NUL in a name": b"Content-Length\0: 5\r\n\r\nhello",
    "a control character": b"A: \x7f\r\n\r\n",
    "a name that is not ASCII": b"Content-Length\xe9: 5\r\n\r\nhello",
}
CHUNKS = {
    "no digits": b"\r\nhello\r\n0\r\n\r\n",
    "no digit": b"g\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "2**64": b"10000000000000000\r\n\r\n0\r\n\r\n",
    "2**64 + 5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "more data than said": b"5\r\nhello!\r\n0\r\n\r\n",
    "less data than said": b"5\r\nhell\r\n0\r\n\r\n",
    "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "a line end in quotes": b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
    "an empty extension": b"5;\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;\0\r\nhello\r\n0\r\n\r\n",
    "a bare LF at the end": b"0\r\n\n",
    "a length among the trailers": b"0\r\nContent-Length: 5\r\n\r\nhello",
    "a bare LF among the trailers": b"0\r\nA: b\n\r\n",
}
REFUSED = {
    **{name: b"POST / HTTP/1.1\r\nHost: h\r\n" + sent for name, sent in SMUGGLED.items()},
    **{f"chunks: {name}": CHUNKED + sent for name, sent in CHUNKS.items()},
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n") + b"0\r\n\r\n",
    "a bare LF behind the first line": b"GET / HTTP/1.1\n\r\n",
    "space behind the first line": b"GET / HTTP/1.1 \r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "a tab for a space": b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "a line end in the path": b"GET /a\r\nb HTTP/1.1\r\nHost: h\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("size", [100_000, 1], ids=["at once", "byte by byte"])
@served()
async def test_a_request_that_can_be_read_in_two_ways_is_refused_with_all_behind_it(
    bench: Bench, sent: bytes, size: int
) -> None:
    client = await bench.client()
    stream = sent + get(target=b"/smuggled") * 2
    await client.send_in_pieces(stream[i : i + size] for i in range(0, len(stream), size))
    answer = await client.answer()
    assert answer.closes
    assert answer.status == (413 if "2**64 - 1" in repr(sent) or b"51615" in sent else 400)
    assert await client.ended()
    assert "/smuggled" not in bench.application.paths
    assert [request.body for request in bench.application.requests] in ([], [b""])
    assert bench.server.held == 0


@pytest.mark.parametrize("sent", [b"ffffffffffffffff\r\nhello", b"100000\r\nhello"])
@served()
async def test_a_huge_chunk_is_taken_only_up_to_the_limit(bench: Bench, sent: bytes) -> None:
    client = await bench.client()
    await client.send(CHUNKED + sent)
    await bench.until(lambda: bench.server.held == 5)
    answer = await client.ask(b"a" * 100_000)
    assert (answer.status, answer.closes) == (413, True)


# --- clients that hang up


@pytest.mark.parametrize("manner", ["close", "reset"])
@served()
async def test_an_application_is_told_once_that_the_client_has_gone(bench: Bench, manner: str) -> None:
    client = await bench.client()
    await client.send(post(b"hello", "/later"))
    await bench.until(lambda: bench.application.waiting)
    (request,) = bench.application.waiting
    getattr(client, manner)()
    await bench.until(lambda: bench.application.gone)
    assert bench.server.held == 0
    # Answers, and what is held for them, now go nowhere.
    request.hold(100)
    for _ in range(2):
        request.respond(200, TEXT, b"nobody")
    await bench.until(lambda: not bench.connections)
    assert bench.application.gone == [request]
    assert bench.server.held == 0


@served()
async def test_the_task_of_a_request_ends_when_the_client_has_gone(bench: Bench) -> None:
    client = await bench.client()
    await client.send(get(target=b"/task"))
    await bench.until(lambda: bench.application.requests)
    # It has begun to wait.
    await asyncio.sleep(0)
    client.close()
    await bench.until(lambda: bench.application.cancelled == 1)


@served()
async def test_who_was_answered_is_not_missed(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER)
    await bench.until(lambda: bench.application.waiting)
    (request,) = bench.application.waiting
    bench.application.answer()
    await client.answer()
    assert request.gone is None
    # The second answer to the same request is not sent.
    request.respond(200, TEXT, b"again")
    assert (await client.ask(GET)).body == b"/"
    client.close()
    await bench.until(lambda: not bench.connections)
    assert bench.application.gone == []


@served()
async def test_who_only_waits_in_line_is_not_begun_when_the_client_has_gone(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER + post(b"hello"))
    await bench.until(lambda: bench.server.held == 5)
    client.reset()
    # The answer finds nobody, and neither would the next.
    for connection in bench.connections:
        connection.abort()
    await bench.until(lambda: not bench.connections)
    assert bench.application.gone == bench.application.waiting
    assert bench.application.paths == ["/later"]


STREAM = (
    post(b"a" * 50)
    + post(b"b" * 50, "/later")
    + CHUNKED.replace(b"/", b"/later", 1)
    + chunked(b"c" * 30, b"d" * 30)
    + get(UPGRADES["h2c"] + b"Content-Length: 5\r\n")
    + b"hello"
)


@settings(max_examples=80, deadline=None)
@given(
    end=st.integers(0, len(STREAM)),
    cuts=st.lists(st.integers(0, len(STREAM)), max_size=5),
    manner=st.sampled_from(["close", "reset"]),
    answers=st.integers(0, 2),
)
@example(end=len(STREAM), cuts=[], manner="reset", answers=2)
@served()
async def test_a_client_may_hang_up_at_any_moment(
    bench: Bench, end: int, cuts: list[int], manner: str, answers: int
) -> None:
    client = await bench.client()
    edges = sorted({0, end, *(cut for cut in cuts if cut < end)})
    await client.send_in_pieces(STREAM[a:b] for a, b in itertools.pairwise(edges))
    for _ in range(answers):
        if bench.application.waiting:
            bench.application.answer()
            await asyncio.sleep(0)
    getattr(client, manner)()
    await bench.is_at_rest()
    assert len({id(request) for request in bench.application.gone}) == len(bench.application.gone)
    await bench.still_serves()


# --- the end


@served()
async def test_idle_connections_end_at_once_when_the_server_stops(bench: Bench) -> None:
    new, used = await bench.client(), await bench.client()
    await used.send_in_pieces([CHUNKED, b"5\r\nhello\r\n", b"0\r\n", b"\r\n"])
    await used.answer()
    await bench.until(lambda: len(bench.connections) == 2)
    await bench.server.stop(1000)
    assert await new.ended()
    assert await used.ended()
    with pytest.raises(ConnectionRefusedError):
        await bench.client()


@served()
async def test_a_connection_that_was_just_taken_ends_when_the_server_stops(bench: Bench) -> None:
    with socket.create_connection(bench.address) as client:
        bench.server._accept()
        assert bench.connections == []
        await bench.server.stop(1000)
        assert client.recv(1) == b""


@served()
async def test_requests_under_way_are_answered_when_the_server_stops(bench: Bench) -> None:
    waits, sends, partly, many = [await bench.client() for _ in range(4)]
    await waits.send(LATER)
    await sends.send(post(b"hello")[:-1])
    await partly.send(GET[:-1])
    await many.send(LATER + get(target=b"/behind"))
    await bench.until(lambda: len(bench.application.waiting) == 2 and bench.server.held == 4)
    stopping = asyncio.create_task(bench.server.stop(1000))
    await asyncio.sleep(0)
    for client, rest in ((sends, b"o"), (partly, GET[-1:])):
        answer = await client.ask(rest)
        assert (answer.status, answer.closes) == (200, True)
        assert await client.ended()
        client.close()
    assert not stopping.done()
    for client in (waits, many):
        bench.application.answer()
        assert (await client.answer()).closes
        assert await client.ended()
        client.close()
    await stopping
    assert "/behind" not in bench.application.paths


@served()
async def test_what_does_not_end_is_cut_off_when_the_server_stops(bench: Bench) -> None:
    waits, sends, large = [await bench.client() for _ in range(3)]
    await waits.send(LATER)
    await sends.send(post(b"hello")[:-1])
    await large.send(get(target=b"/large"))
    await bench.until(lambda: bench.application.waiting and bench.server.held == 4 and bench.unsent)
    await bench.server.stop(0.05)
    assert bench.connections == []
    assert len(bench.application.gone) == 1
    assert await waits.ended()
    assert await sends.ended()
    assert not await large.ended()


@served(linger=0.2)
async def test_who_does_not_hang_up_does_not_keep_the_server(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER)
    await bench.until(lambda: bench.application.waiting)
    stopping = asyncio.create_task(bench.server.stop(1000))
    await asyncio.sleep(0)
    bench.application.answer()
    await stopping
    assert (await client.answer()).closes
    assert await client.ended()


@served()
async def test_a_server_that_leaves_serves_and_ends_every_connection(bench: Bench) -> None:
    old, waits = await bench.client(), await bench.client()
    assert not (await old.ask(GET)).closes
    await waits.send(LATER)
    await bench.until(lambda: bench.application.waiting)
    bench.server.is_leaving = True
    bench.application.answer()
    new = await bench.client()
    await old.send(GET + get(target=b"/behind"))
    await new.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    for client in (old, waits, new):
        answer = await client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert await client.ended()
    assert "/behind" not in bench.application.paths


@served()
async def test_what_waits_behind_the_last_answer_is_given_back_at_once(bench: Bench) -> None:
    client = await bench.client()
    await client.send(LATER + post(b"hello") * 3)
    await bench.until(lambda: bench.server.held == 15)
    bench.server.is_leaving = True
    bench.application.answer()
    assert bench.server.held == 0
    assert (await client.answer()).closes
    assert await client.ended()
    assert bench.application.paths == ["/later"]


# --- memory


@served()
async def test_nothing_is_left_of_ten_thousand_requests(bench: Bench) -> None:
    bench.application.keeps = False
    client = await bench.client()

    async def ask(times: int) -> None:
        for _ in range(times):
            await client.send((post(b"hello") + CHUNKED + chunked(b"hello", b"world")) * 50)
            for _ in range(100):
                await client.answer()

    await ask(2)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        await ask(100)
        assert len(gc.get_objects()) - before < 100
        assert gc.collect() < 100, "requests go without the collector"
    finally:
        gc.enable()


@served()
async def test_nothing_is_left_of_a_hundred_connections(bench: Bench) -> None:
    bench.application.keeps = False
    upgrading = get(UPGRADES["h2c"] + b"Content-Length: 1\r\n") + b"a"
    ours = (http1._Connection, HttpRequestParser, Request)
    gc.collect()
    # Other tests may have left some that a traceback, say, still holds.
    before = [found for found in gc.get_objects() if type(found) in ours]
    gc.disable()
    try:
        for sent, status in [(GET, 200), (b"broken\r\n\r\n", 400), (upgrading, 200)] * 35:
            client = await bench.client()
            assert (await client.ask(sent)).status == status
            client.close()
            await bench.until(lambda: not bench.connections)
        # The transports wait for the collector; that is asyncio's.
        # By type: asking some other library's objects for their class may import what is not there.
        left = [found for found in gc.get_objects() if type(found) in ours]
        assert [found for found in left if not any(found is old for old in before)] == []
    finally:
        gc.enable()


@served(body=20_000_000, budget=20_000_000)
async def test_a_body_is_gone_once_it_is_answered(bench: Bench) -> None:
    bench.application.keeps = False
    client = await bench.client()
    await client.ask(GET)
    tracemalloc.start()
    try:
        sending = asyncio.create_task(client.send(post(LARGE)))
        assert len((await client.answer()).body) == len(LARGE)
        await sending
        del sending
        client.read = b""
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < len(LARGE) / 2


# --- where it listens


def test_a_port_that_is_taken_is_named() -> None:
    with listener("127.0.0.1", 0, shared=False, backlog=1) as first:
        port = first.getsockname()[1]
        with pytest.raises(Conflict, match=f"Cannot listen on 127.0.0.1:{port}: Address already in use"):
            listener("127.0.0.1", port, shared=False, backlog=1)


def test_processes_may_share_a_port() -> None:
    with listener("127.0.0.1", 0, shared=True, backlog=1) as first:
        port = first.getsockname()[1]
        with listener("127.0.0.1", port, shared=True, backlog=1) as second:
            assert second.getsockname() == first.getsockname()


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "192.0.2.1"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(Conflict, match=f"Cannot listen on {re.escape(host)}:0: ."):
        listener(host, 0, shared=False, backlog=1)
