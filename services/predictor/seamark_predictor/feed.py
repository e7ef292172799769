"""Hands predictions to the monitor by a bounded queue and a socket that nobody waits for, on the event loop.

What does not fit the queue is dropped and counted, and the count travels in every frame. A frame that could not be sent
whole is sent again to the next monitor; the half of it that arrived was no frame.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from seamark.records import Frame, Prediction
from seamark_predictor import logs

__all__ = ["Feed", "Limits", "NoFeed"]

#: Frames sent in one turn of the loop; others of the loop come before the next.
_AT_ONCE = 4
#: Bytes of a frame that a prediction takes apart from its values and texts, and a violation and a text by themselves,
#: at most.
_ONE, _ONE_VIOLATION, _ONE_TEXT = 320, 40, 5


@dataclass(frozen=True, slots=True)
class Limits:
    """predictions, bytes: what may wait. frame_*: what one frame holds. interval, backoff_*: seconds.

    hurry: so many that wait are not left to wait for the end of an interval. Few at a time hold up nobody, neither here
    nor where the monitor shares a core with others.
    The monitor reads messages of at most 16 MiB; message_bytes is the largest prediction that fits one.
    """

    predictions: int = 10_000
    bytes: int = 64 * 1024 * 1024
    hurry: int = 128
    frame_predictions: int = 512
    frame_bytes: int = 1024 * 1024
    message_bytes: int = 16 * 1024 * 1024 - 1024
    interval: float = 0.03
    backoff_first: float = 0.1
    backoff_last: float = 2.0


class NoFeed:
    """Takes predictions when there is no monitor."""

    def start(self) -> None:
        """Nothing to connect to."""

    def add(self, prediction: Prediction) -> None:
        """Forgets it."""

    def close(self, seconds: float) -> None:
        """Nothing to flush."""


class Feed:
    """All but `close` is called on one event loop. `add` costs microseconds and never blocks or raises."""

    def __init__(self, path: str, sender: str, limits: Limits | None = None) -> None:
        self._path = path
        self._sender = f"{sender}/{uuid.uuid4().hex[:8]}"
        self._limits = limits or Limits()
        self._encoder = msgspec.msgpack.Encoder()
        #: Predictions that wait, about how many bytes each takes in a frame, and all of them.
        self._queue: list[Prediction] = []
        self._sizes: list[int] = []
        self._bytes = 0
        #: Predictions dropped so far.
        self.dropped = 0
        self._socket: socket.socket | None = None
        self._backoff = self._limits.backoff_first
        #: The frame under way, its predictions, and what is left of it to send.
        self._frame = b""
        self._framed = 0
        self._rest = memoryview(b"")
        #: The next sending: at a time, in the next turn of the loop, or when the socket takes more.
        self._due: asyncio.Handle | None = None
        self._is_blocked = False

    def start(self) -> None:
        """Connects, now or as soon as there is a monitor."""
        self._send()

    def add(self, prediction: Prediction) -> None:
        """Queues the prediction, or drops it when the queue is full."""
        size = _ONE + len(prediction.numbers) + len(prediction.outputs)
        if prediction.categories or prediction.violations:
            size += _size_of_texts(prediction)
        queue, limits = self._queue, self._limits
        waiting = len(queue)
        if waiting >= limits.predictions or self._bytes + size > limits.bytes or size > limits.message_bytes:
            self.dropped += 1
            return
        self._bytes += size
        queue.append(prediction)
        self._sizes.append(size)
        if waiting == limits.hurry or self._due is None:
            self._plan(waiting >= limits.hurry)

    def _plan(self, in_a_hurry: bool) -> None:
        """Sees to it that what waits is sent; until there is a monitor, and room in its socket, nothing is planned."""
        if self._socket is None or self._is_blocked:
            return
        loop = asyncio.get_running_loop()
        if not in_a_hurry:
            self._due = loop.call_later(self._limits.interval, self._send)
            return
        if self._due is not None:
            self._due.cancel()
        self._due = loop.call_soon(self._send)

    def _send(self) -> None:
        """Sends what waits, as far as the socket takes it."""
        self._due = None
        if self._socket is None and not self._connect():
            self._try_later()
            return
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            for _ in range(_AT_ONCE):
                if not self._fill():
                    return
                self._rest = self._rest[self._socket.send(self._rest) :]
                self._backoff = self._limits.backoff_first
            self._due = loop.call_soon(self._send)
        except BlockingIOError:
            self._is_blocked = True
            loop.add_writer(self._socket, self._go_on)
        except OSError as error:
            logs.event("monitor_lost", level=30, socket=self._path, reason=error.strerror)
            self._disconnect()
            self._try_later()

    def _try_later(self) -> None:
        self._due = asyncio.get_running_loop().call_later(self._backoff, self._send)
        self._backoff = min(self._backoff * 2, self._limits.backoff_last)

    def _go_on(self) -> None:
        """The socket takes more."""
        assert self._socket is not None
        asyncio.get_running_loop().remove_writer(self._socket)
        self._is_blocked = False
        self._send()

    def _connect(self) -> bool:
        """False where there is no monitor, or none that takes a connection now."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        self._socket = connection
        logs.event("monitor_connected", socket=self._path)
        return True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._rest:
            self._rest = memoryview(self._frame)

    def _fill(self) -> bool:
        """Whether there is something to send: the rest of a frame, or a new one of what is queued."""
        if not self._rest:
            self._frame = self._next_frame() if self._queue else b""
            self._rest = memoryview(self._frame)
        return bool(self._rest)

    def _next_frame(self) -> bytes:
        taken = self._take()
        self._framed = len(taken)
        message = self._encoder.encode(Frame.of(self._sender, self.dropped, taken))
        return len(message).to_bytes(4, "big") + message

    def _take(self) -> list[Prediction]:
        """The oldest predictions, as many as a frame holds; at least one."""
        sizes = list(accumulate(self._sizes[: self._limits.frame_predictions]))
        count = max(1, bisect_right(sizes, self._limits.frame_bytes))
        taken = self._queue[:count]
        del self._queue[:count]
        del self._sizes[:count]
        self._bytes -= sizes[count - 1]
        return taken

    def close(self, seconds: float) -> None:
        """Sends what it can within `seconds`, then stops; to be called when the loop has ended."""
        deadline = time.monotonic() + seconds
        while self._fill() and (left := deadline - time.monotonic()) > 0:
            if self._socket is None and not self._connect():
                time.sleep(min(left, 0.01))
                continue
            assert self._socket is not None
            try:
                self._socket.settimeout(left)
                self._rest = self._rest[self._socket.send(self._rest) :]
            except OSError:
                self._disconnect()
        unsent = len(self._queue) + (self._framed if self._rest else 0)
        self._disconnect()
        if unsent or self.dropped:
            logs.event("feed_closed", unsent=unsent, dropped=self.dropped)


def _size_of_texts(prediction: Prediction) -> int:
    """Bytes of a frame that its categories and violations take, at most."""
    size = 0
    for values in prediction.categories:
        text = "".join(filter(None, values))
        size += _ONE_TEXT * (1 + len(values)) + (len(text) if text.isascii() else len(text.encode()))
    for feature, rule, _ in prediction.violations:
        size += _ONE_VIOLATION + len(feature.encode()) + len(rule)
    return size
