"""Hands predictions to the monitor, off the hot path: a bounded queue, and one thread that owns the socket.

Serving never waits for the monitor: what does not fit the queue is dropped and counted, and the count travels in every
frame. A frame that could not be sent whole is sent again to the next monitor; the half of it that arrived was no frame.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import msgspec

from seamark import msgpack
from seamark.records import Frame, Prediction
from seamark_predictor import logs

__all__ = ["Feed", "Limits", "NoFeed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """predictions, bytes: what may wait. frame_*: what one frame holds. interval, backoff_*: seconds.

    hurry: so many that wait are not left to wait for the end of an interval.
    The monitor reads messages of at most 16 MiB; message_bytes is the largest prediction that fits one.
    """

    predictions: int = 10_000
    bytes: int = 64 * 1024 * 1024
    hurry: int = 2_000
    frame_predictions: int = 512
    frame_bytes: int = 8 * 1024 * 1024
    message_bytes: int = 16 * 1024 * 1024 - 1024
    interval: float = 0.03
    backoff_first: float = 0.1
    backoff_last: float = 2.0


class NoFeed:
    """Takes predictions when there is no monitor."""

    def add(self, prediction: Prediction) -> None:
        """Forgets it."""

    def close(self, seconds: float) -> None:
        """Nothing to flush."""


class Feed:
    """`add` is called from one thread; it costs microseconds and never blocks or raises."""

    def __init__(self, path: str, sender: str, limits: Limits | None = None) -> None:
        self._path = path
        self._sender = f"{sender}/{uuid.uuid4().hex[:8]}"
        self._limits = limits or Limits()
        self._encoder = msgspec.msgpack.Encoder()
        #: Encoded predictions: the thread that sends them has little left to do for which it needs Python's lock.
        self._queue: list[bytes] = []
        # Each of the two byte counts has one writer, so that neither needs a lock.
        self._added = self._taken = 0
        #: Predictions dropped so far.
        self.dropped = 0
        self._wake = threading.Event()
        self._deadline: float | None = None
        self._socket: socket.socket | None = None
        self._frame: bytes | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def add(self, prediction: Prediction) -> None:
        """Queues the prediction, or drops it when the queue is full."""
        encoded = self._encoder.encode(prediction)
        size = len(encoded)
        waiting = len(self._queue)
        limits = self._limits
        is_full = waiting >= limits.predictions or self._added - self._taken + size > limits.bytes
        if is_full or size > limits.message_bytes:
            self.dropped += 1
            return
        self._added += size
        self._queue.append(encoded)
        if waiting == limits.hurry:
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Sends what it can within `seconds`, then stops."""
        self._deadline = time.monotonic() + seconds
        self._wake.set()
        self._thread.join(seconds + 1)
        left = len(self._queue)
        if left or self.dropped:
            logs.event("feed_closed", unsent=left, dropped=self.dropped)

    def _run(self) -> None:
        backoff = self._limits.backoff_first
        while not self._is_over():
            if self._deliver():
                backoff = self._limits.backoff_first
                self._pause(self._limits.interval)
                continue
            self._pause(backoff)
            backoff = min(backoff * 2, self._limits.backoff_last)
        self._disconnect("")

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        return time.monotonic() >= self._deadline or (not self._queue and self._frame is None)

    def _pause(self, seconds: float) -> None:
        if self._deadline is None:
            self._wake.wait(seconds)
            self._wake.clear()
        else:
            time.sleep(min(seconds, 0.01))

    def _deliver(self) -> bool:
        """Sends all that waits; False when there is no monitor."""
        try:
            if self._socket is None:
                self._connect()
            while self._next_frame() and not self._is_over():
                self._send()
        except OSError as error:
            self._disconnect(error.strerror or type(error).__name__)
            return False
        return True

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Only so that a stop is noticed in time: a slow monitor is waited for.
        connection.settimeout(0.1)
        try:
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        logs.event("monitor_connected", socket=self._path)

    def _disconnect(self, reason: str) -> None:
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        if reason:
            logs.event("monitor_lost", level=30, socket=self._path, reason=reason)

    def _next_frame(self) -> bool:
        """Whether a frame waits to be sent; makes one of what is queued."""
        if self._frame is None and self._queue:
            # Already encoded: the encoder copies it as it is.
            predictions = cast(list[Prediction], msgspec.Raw(msgpack.array(self._take())))
            message = msgspec.msgpack.encode(Frame(self._sender, self.dropped, predictions))
            self._frame = len(message).to_bytes(4, "big") + message
        return self._frame is not None

    def _take(self) -> list[bytes]:
        """The oldest predictions, as many as a frame holds; at least one."""
        taken = self._queue[: self._limits.frame_predictions]
        sizes = list(accumulate(map(len, taken)))
        if sizes[-1] > self._limits.frame_bytes:
            del taken[max(1, bisect_right(sizes, self._limits.frame_bytes)) :]
        # One operation, so that nothing is lost that is added meanwhile.
        del self._queue[: len(taken)]
        self._taken += sizes[len(taken) - 1]
        return taken

    def _send(self) -> None:
        assert self._socket is not None
        assert self._frame is not None
        rest = memoryview(self._frame)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return
        self._frame = None
