"""HTTP/1.1 on the asyncio event loop, bounded in connections, bytes and time; llhttp reads what comes.

A request is handed over whole, in the callback that read its last byte: no task, no thread and no second turn of the
loop lies between the socket and the model. That is what makes a small request cheap. A connection has one request under
way; those that are sent ahead of its answer wait, and nothing more is read meanwhile.

What breaks the bounds is handed over too, without its body and with the `fault`, so that it is answered and counted
like every other request. Then the connection ends: it cannot be known where the next request begins.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, Protocol
from urllib.parse import unquote

import orjson
from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from seamark.errors import Conflict, InvalidInput
from seamark_predictor import logs
from seamark_predictor.polling import Poller

__all__ = ["Application", "Limits", "Request", "Server", "bound", "listener"]

#: The headers that anybody here reads; others are not kept.
_READ = (
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "inference-header-content-length",
    "transfer-encoding",
    "x-request-id",
)
#: This one is only counted.
_HOST = "host"
_NAMES = {name.encode(): name for name in (*_READ, _HOST)}
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"connection: close\r\n"
#: HTTP/1.0 takes silence for the end of the connection.
_KEEP = b"connection: keep-alive\r\n"
_JSON = b"content-type: application/json\r\n"
#: Bytes that are read at once.
_CHUNK = 256 * 1024
#: Bytes up to which head and body of an answer are sent as one.
_TOGETHER = 64 * 1024
#: New connections that are taken in one turn of the loop.
_AT_ONCE = 64
#: Requests of one connection that may wait for the answers before theirs: each takes twenty times what it was sent in.
_MOST_AHEAD = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """body, budget: bytes of one body, and of all that are held. head: bytes of a request line with its headers.

    Seconds: idle, that a connection may wait between requests, take to send a head, or leave an answer unread;
    arrival, for a body to arrive; linger, for a refused client to read why; poll, to look for the next request before
    the loop sleeps, see `polling`. Every piece of a body costs some microseconds, however small, so only `small_pieces`
    may have fewer than `least_piece` bytes on average.
    """

    body: int
    budget: int
    connections: int = 1024
    head: int = 32 * 1024
    idle: float = 75.0
    arrival: float = 30.0
    linger: float = 2.0
    poll: float = 0.0
    small_pieces: int = 1000
    least_piece: int = 128


class Application(Protocol):
    """What answers requests."""

    def handle(self, request: Request) -> None:
        """Answers by `request.respond`, at once or later; never raises. Called on the event loop."""


class Request:
    """One request, whole. headers: those of `_READ`, by name in small letters; several of a name joined by commas.

    fault: why there is no body; it is to be answered and nothing else.
    """

    __slots__ = ("_connection", "_held", "body", "fault", "gone", "headers", "method", "path")

    def __init__(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes = b"",
        fault: InvalidInput | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.fault = fault
        #: Called when the client has hung up before it was answered; where it has sent another request ahead, that is
        #: noticed only by the next.
        self.gone: Callable[[], object] | None = None
        self._connection: _Connection | None = None
        self._held = 0

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Sends the answer; nothing where the client has gone. headers: whole lines, each with its CRLF."""
        connection, self._connection = self._connection, None
        self.gone = None
        if connection is not None:
            connection.respond(self, status, headers, body)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Answers by a task, which is cancelled when the client hangs up."""
        task = asyncio.get_running_loop().create_task(work)
        self.gone = task.cancel
        return task

    def hold(self, size: int) -> None:
        """The body has grown, being uncompressed, by so many bytes; given back with the answer."""
        self._held += size
        if self._connection is not None:
            self._connection.server.held += size


class Server:
    """Listens on a socket, which it owns from then on, and hands requests to the application."""

    def __init__(self, application: Application, limits: Limits) -> None:
        #: Whether every answer asks the client to take another connection.
        self.is_leaving = False
        self.application = application
        self.limits = limits
        #: Bytes of the bodies that are held.
        self.held = 0
        #: Half seconds, or less, since the server listens: what time is told by where a clock would cost too much.
        self.ticks = 0
        self.period = min(0.5, limits.idle / 4, limits.arrival / 4, limits.linger / 4)
        #: All connections read into this one, since what was read is used up at once.
        self.view = memoryview(bytearray(_CHUNK))
        self.poller = Poller(limits.poll)
        self._open = 0
        self._connections: set[_Connection] = set()
        self._socket: socket.socket | None = None
        self._accepting = False
        self._welcomes: set[asyncio.Task[Any]] = set()
        self._over: asyncio.Future[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._date = b""
        self._second = 0

    def start(self, listening: socket.socket) -> None:
        """Takes connections from now on; to be called on the event loop."""
        listening.setblocking(False)
        self._socket = listening
        self._accept_again()
        self._tick()

    async def stop(self, seconds: float) -> None:
        """Takes no new connection, answers what is under way, and ends what is not answered within `seconds`."""
        self.is_leaving = True
        self._accept_no_more()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._connections):
            connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended()
        for connection in list(self._connections):
            connection.abort()
        await self._ended()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _ended(self) -> None:
        """Returns when there is no connection left."""
        self._over = asyncio.get_running_loop().create_future()
        if self._open:
            await self._over

    def date(self) -> bytes:
        """The header of this second."""
        now = int(time())
        if now != self._second:
            self._second = now
            self._date = f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self._date

    def opened(self, connection: _Connection) -> None:
        """A connection begins."""
        self._connections.add(connection)
        if self._socket is None:
            # It was taken just before the server stopped, which did not see it.
            connection.leave()

    def closed(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self._open -= 1
        if not self._open and self._over is not None and not self._over.done():
            self._over.set_result(None)
        if not self._accepting and self._socket is not None:
            self._accept_again()

    def _tick(self) -> None:
        self.ticks += 1
        for connection in list(self._connections):
            connection.look()
        self._ticking = asyncio.get_running_loop().call_later(self.period, self._tick)

    def _accept_again(self) -> None:
        if self._socket is not None and not self._accepting:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _accept_no_more(self) -> None:
        if self._socket is not None and self._accepting:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._socket)

    def _accept(self) -> None:
        """Those above the limit wait in the kernel's queue."""
        assert self._socket is not None
        for _ in range(_AT_ONCE):
            if self._open >= self.limits.connections:
                self._accept_no_more()
                return
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor or memory is left, which a moment may mend.
                logs.event("accept_failed", level=30, reason=error.strerror)
                self._accept_no_more()
                asyncio.get_running_loop().call_later(1.0, self._accept_again)
                return
            client.setblocking(False)
            self._open += 1
            welcome = asyncio.get_running_loop().create_task(self._welcome(client))
            self._welcomes.add(welcome)
            welcome.add_done_callback(self._welcomes.discard)

    async def _welcome(self, client: socket.socket) -> None:
        connection = _Connection(self)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client)
        except OSError:
            client.close()
            self.closed(connection)


class _Connection(asyncio.BufferedProtocol):
    """One client's. Everything runs on the event loop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._limits = server.limits
        self._transport: Any = None
        self._parser: Any = HttpRequestParser(self)
        # --- the message that is being read
        self._url = b""
        self._headers: dict[str, str] = {}
        self._hosts = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._head = 0
        self._head_size = 0
        self._in_body = False
        self._fault: InvalidInput | None = None
        # --- those that are read
        self._current: Request | None = None
        self._ahead: deque[tuple[Request, bool]] = deque()
        self._has_turn = False
        self._next_due = False
        self._keeps = True
        #: The connection ends once the current request is answered, or has ended for reading.
        self._ending = False
        self._is_blocked = False
        #: Ticks at which the client was last answered or began to send a body, and took some of an answer.
        self._since = self._moved = server.ticks
        #: Bytes of answers at the last look.
        self._unsent = 0

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.server.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's
        return self.server.view

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            return
        self._has_turn = True
        self._head += nbytes
        data = self.server.view[:nbytes]
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except HttpParserError as error:
            self._broken(error)
        if self._head > self._limits.head and not self._ending:
            self._refuse_large_head()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        self._ending = True
        self._release(self._size)
        self._drop_ahead()
        request, self._current = self._current, None
        if request is not None:
            request._connection = None
            self._release(request._held)
            self.server.poller.dropped()
        self._parser = None
        self.server.closed(self)
        if request is not None and request.gone is not None:
            request.gone()

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._schedule()

    # --- the parser's calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._head_size = 0
        self._headers = {}
        self._hosts = 0
        self._fault = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        # Behind the body come trailers, which must not pass for headers.
        if self._in_body:
            return
        known = _NAMES.get(name) or _NAMES.get(name.lower())
        if known is None:
            return
        if known == _HOST:
            self._hosts += 1
            return
        headers = self._headers
        text = value.strip().decode("latin-1")
        if known not in headers:
            headers[known] = text
        elif self._head_size <= self._limits.head:
            headers[known] = f"{headers[known]}, {text}"

    def on_headers_complete(self) -> None:
        if self._ending:
            return
        if self._head_size > self._limits.head:
            self._refuse_large_head()
            return
        self._in_body = True
        self._head = 0
        headers = self._headers
        if self._hosts != 1 and not self._hosts_are_fine():
            return
        if "content-length" in headers:
            try:
                # The parser has seen to it that these are digits below 2**64.
                size = int(headers["content-length"])
            except ValueError:  # So many zeros before them that Python refuses.
                self._refuse(InvalidInput("Cannot read the body: Content-Length has too many digits"))
                return
            if not self._fits(size, size):
                self._give_up()
                return
        elif "transfer-encoding" in headers:
            self._check_coding(headers["transfer-encoding"])
        else:
            return
        self._since = self.server.ticks
        if "expect" in headers:
            self._expected(headers["expect"])

    def on_body(self, part: bytes) -> None:
        if self._ending:
            return
        size = self._size + len(part)
        if not self._fits(size, len(part)) or not self._in_pieces(size):
            self._give_up()
            return
        self._size = size
        self._head = 0
        self.server.held += len(part)
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._head = 0
        if self._ending:
            return
        parser = self._parser
        upgrades = parser.should_upgrade()
        if upgrades and self._body_follows():
            return
        if "connection" in self._headers and parser.get_http_version() == "1.1":
            # Only HTTP/1.0 needs an answer to it.
            del self._headers["connection"]
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        # Not kept until the next request, for which nobody knows how long it takes.
        self._parts = []
        self._complete(body, None, parser.should_keep_alive() and not upgrades)

    # --- another protocol, asked for by `Upgrade`: none is spoken here, the request is answered as the last

    def _body_follows(self) -> bool:
        """Whether the request that asks for another protocol has a body, which the parser takes for that protocol."""
        has_body = "content-length" in self._headers or "transfer-encoding" in self._headers
        return has_body and self._parser.get_method() != b"CONNECT"

    def _stay(self, rest: memoryview) -> None:
        """Reads the body by a parser that does not hear of the other protocol."""
        if self._ending or not self._body_follows():
            self._ending = True
            return
        told = {name: text for name, text in self._headers.items() if name not in ("connection", "expect")}
        lines = "".join(f"{name}: {text}\r\n" for name, text in {**told, "host": "-", "connection": "close"}.items())
        start = b"%b %b HTTP/1.1\r\n" % (self._parser.get_method(), self._url)
        self._parser = HttpRequestParser(self)
        try:
            self._parser.feed_data(start + lines.encode("latin-1") + b"\r\n")
            self._parser.feed_data(rest)
        except HttpParserError as error:
            self._broken(error)

    # --- bounds

    def _hosts_are_fine(self) -> bool:
        """Refuses what proxies on the way may have sent elsewhere than it says; before HTTP/1.1 there was no Host."""
        if not self._hosts and self._parser.get_http_version() != "1.1":
            return True
        self._refuse(InvalidInput(f"Cannot read the request: it has {self._hosts} Host headers; one is needed"))
        return False

    def _check_coding(self, coding: str) -> None:
        if coding.lower() != "chunked":
            problem = f"Cannot read the body: Transfer-Encoding is {coding[:100]!r}; allowed: chunked"
            self._refuse(InvalidInput(problem))
        elif self._parser.get_http_version() == "1.0":
            # Whoever passed it on may not know chunks, and see other requests than are seen here.
            self._refuse(InvalidInput("Cannot read the body: HTTP/1.0 has no Transfer-Encoding"))

    def _expected(self, expect: str) -> None:
        """Tells the client to go on where it waits for that."""
        waits = expect.lower() == "100-continue" and self._parser.get_http_version() != "1.0"
        if waits and not self._ending and self._current is None and not self._ahead:
            self._transport.write(_CONTINUE)

    def _fits(self, size: int, more: int) -> bool:
        limits = self._limits
        if size > limits.body:
            self._fault = InvalidInput(
                f"Cannot read the body: it has {size} bytes or more; at most {limits.body} are allowed", status=413
            )
        elif self.server.held + more > limits.budget:
            self._fault = InvalidInput(
                "Cannot read the body: the server holds as much as it can; try again", status=503
            )
        return self._fault is None

    def _in_pieces(self, size: int) -> bool:
        limits, pieces = self._limits, len(self._parts)
        if pieces > limits.small_pieces + size // limits.least_piece:
            self._fault = InvalidInput(
                f"Cannot read the body: its first {size} bytes came in {pieces} pieces; {limits.least_piece} bytes or "
                "more in each are needed"
            )
        return self._fault is None

    def look(self) -> None:
        """Ends what takes too long; called every now and then."""
        limits, now, period = self._limits, self.server.ticks, self.server.period
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        # While others are ahead, nothing is read: that the body does not arrive is not the client's fault.
        if self._in_body and not self._ending and not self._ahead:
            if (now - self._since) * period > limits.arrival:
                problem = f"Cannot read the body: it did not arrive within {limits.arrival:g} seconds"
                self._refuse(InvalidInput(problem, status=408))
        elif self._current is None:
            allowed = limits.linger if self._ending and not unsent else limits.idle
            if (now - max(self._since, self._moved)) * period > allowed:
                self.abort()

    # --- requests

    def _give_up(self) -> None:
        """Hands the request over without its body."""
        self._release(self._size)
        self._size = 0
        self._parts = []
        self._in_body = False
        self._ending = True
        self._complete(b"", self._fault, False)

    def _broken(self, error: HttpParserError) -> None:
        if isinstance(error, HttpParserCallbackError):
            logs.failure("connection_failed")
            self.abort()
            return
        # What comes behind a refused request is not read, so that it cannot be wrong.
        if not self._ending:
            self._refuse(InvalidInput(f"Cannot read the request: it is not HTTP/1.1: {str(error)[:200]}"))

    def _refuse_large_head(self) -> None:
        limit = self._limits.head
        what, status = ("in its address", 414) if len(self._url) > limit else ("of headers", 431)
        self._refuse(InvalidInput(f"Cannot read the request: it has more than {limit} bytes {what}", status=status))

    def _refuse(self, fault: InvalidInput) -> None:
        """Without a head nobody knows what was asked for, so it is answered right here."""
        if self._in_body:
            self._fault = fault
            self._give_up()
            return
        self._ending = True
        self._ahead.append((_Refused(fault), False))
        self._schedule()

    def _complete(self, body: bytes, fault: InvalidInput | None, keeps: bool) -> None:
        path = self._url.decode("latin-1")
        if not path.startswith("/"):
            path = _path_of(self._url)
        path = path.partition("?")[0]
        if "%" in path:
            path = unquote(path)
        method = self._parser.get_method().decode()
        request = Request(method, path, self._headers, body, fault)
        request._held, self._size = self._size, 0
        if self._current is None and self._has_turn and not self._ahead and not self._is_blocked:
            # Others of the same piece of data get their turn later: between two, the loop sees to everybody else.
            self._has_turn = False
            self._begin(request, keeps)
            return
        if len(self._ahead) >= _MOST_AHEAD:
            self._release(request._held)
            problem = f"Cannot read the request: {_MOST_AHEAD} wait for their answers before it"
            self._refuse(InvalidInput(problem, status=429))
            return
        self._ahead.append((request, keeps))
        self._transport.pause_reading()
        self._schedule()

    def _begin(self, request: Request, keeps: bool) -> None:
        self._current = request
        self._keeps = keeps
        self.server.poller.asked()
        request._connection = self
        if isinstance(request, _Refused):
            request.answer()
        else:
            self.server.application.handle(request)

    def _schedule(self) -> None:
        if self._ahead and self._current is None and not self._is_blocked and not self._next_due:
            self._next_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._next_due = False
        if self._current is not None or self._is_blocked or self._transport.is_closing():
            return
        if self._ahead:
            self._begin(*self._ahead.popleft())
        if not self._ahead and not self._transport.is_closing():
            self._transport.resume_reading()

    def respond(self, request: Request, status: int, headers: bytes, body: bytes) -> None:
        """Sends the answer to the current request, and ends the connection where it was the last."""
        server = self.server
        self._release(request._held)
        self._current = None
        self._since = server.ticks
        closing = not self._keeps or server.is_leaving
        head = b"%bcontent-length: %d\r\n%b%b%b\r\n" % (
            _STATUS[status],
            len(body),
            server.date(),
            headers,
            _CLOSE if closing else _KEEP if "connection" in request.headers else b"",
        )
        if request.method == "HEAD":
            body = b""
        if len(body) < _TOGETHER:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        server.poller.answered()
        if closing:
            self._linger()
        elif self._ahead:
            self._schedule()

    def _linger(self) -> None:
        """Closes for writing only: a client that is still sending would otherwise lose the answer to a reset."""
        self._ending = True
        self._drop_ahead()
        with suppress(OSError, RuntimeError):
            self._transport.write_eof()
            self._transport.resume_reading()

    def leave(self) -> None:
        """Ends the connection now where nothing is under way, else after the answer."""
        if self._current is None and not self._in_body and not self._head and not self._ahead:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection whatever is under way."""
        self._transport.abort()

    def _drop_ahead(self) -> None:
        for request, _ in self._ahead:
            self._release(request._held)
        self._ahead.clear()

    def _release(self, size: int) -> None:
        self.server.held -= size


class _Refused(Request):
    """A request whose head cannot be read."""

    __slots__ = ()

    def __init__(self, fault: InvalidInput) -> None:
        super().__init__("", "", {}, fault=fault)

    def answer(self) -> None:
        assert self.fault is not None
        self.respond(self.fault.status, _JSON, orjson.dumps({"error": str(self.fault)}))


def _path_of(url: bytes) -> str:
    """The path of an absolute address, as proxies are sent; what is none is its own path."""
    try:
        address = parse_url(url)
    except HttpParserError:
        return url.decode("latin-1")
    return (address.path or b"/").decode("latin-1")


def listener(host: str, port: int, *, shared: bool, backlog: int) -> socket.socket:
    """A socket that listens; raises `Conflict`. shared: other processes listen on the same port."""
    made = bound(host, port, shared=shared)
    try:
        made.listen(backlog)
    except OSError as error:
        made.close()
        raise _taken(host, port, error) from error
    return made


def bound(host: str, port: int, *, shared: bool) -> socket.socket:
    """A socket that has the address and does not listen yet, so that nobody can connect; raises `Conflict`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        made = socket.socket(family, kind)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(address)
        except BaseException:
            made.close()
            raise
    except (OSError, UnicodeError) as error:
        raise _taken(host, port, error) from error
    return made


def _taken(host: str, port: int, error: OSError | UnicodeError) -> Conflict:
    return Conflict(f"Cannot listen on {host}:{port}: {getattr(error, 'strerror', error)}")
