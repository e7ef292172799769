"""Predictions reach the monitor in order, off the hot path; what cannot is dropped and counted, and nothing blocks."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seamark.records import Frame, Prediction
from seamark_predictor.feed import Feed, Limits


def prediction(i: int, size: int = 0) -> Prediction:
    return Prediction(f"p{i}", 1.5, 0.001, 200, 1, numbers=b"\x00" * size)


class Monitor:
    """A fake monitor: accepts one sender after another and keeps whole frames."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames: list[Frame] = []
        self.reading = threading.Event()
        self.reading.set()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def ids(self) -> list[str]:
        return [each.prediction_id for frame in list(self.frames) for each in frame.predictions]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while True:
                self.reading.wait()
                try:
                    length = stream.read(4)
                    content = stream.read(struct.unpack(">I", length)[0]) if len(length) == 4 else b""
                except (OSError, ValueError):
                    return
                if not content:
                    return
                try:
                    self.frames.append(msgspec.msgpack.decode(content, type=Frame))
                except msgspec.DecodeError:
                    return  # cut off in the middle

    def kill(self) -> None:
        """As a killed process: every socket closes at once."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def monitors(path: Path) -> Iterator[Any]:
    started: list[Monitor] = []

    def begin() -> Monitor:
        started.append(Monitor(path))
        return started[-1]

    yield begin
    for monitor in started:
        monitor.reading.set()
        monitor.kill()


@pytest.fixture
def feeds(path: Path) -> Iterator[Any]:
    started: list[Feed] = []

    def begin(**limits: Any) -> Feed:
        quick = {"interval": 0.005, "backoff_first": 0.01, "backoff_last": 0.02}
        started.append(Feed(str(path), "r1", Limits(**{**quick, **limits})))
        return started[-1]

    yield begin
    for feed in started:
        feed.close(0)


def test_predictions_arrive_whole_and_in_order(feeds: Any, monitors: Any, kit: Any) -> None:
    monitor, feed = monitors(), feeds(frame_predictions=256)
    sent = [
        Prediction(f"p{i}", i, 0.5, 422, 2, "v1", b"ab", [["日", None]], b"c", [("f", "type", 2)]) for i in range(600)
    ]
    for each in sent:
        feed.add(each)
    kit.wait_for(lambda: len(monitor.ids) == 600)
    assert [each for frame in monitor.frames for each in frame.predictions] == sent
    assert max(len(frame.predictions) for frame in monitor.frames) <= 256
    assert {frame.dropped for frame in monitor.frames} == {0}
    assert {frame.sender for frame in monitor.frames} == {monitor.frames[0].sender}
    assert monitor.frames[0].sender.startswith("r1/")


def test_a_monitor_that_starts_late_gets_what_waited(feeds: Any, monitors: Any, kit: Any) -> None:
    feed = feeds()
    for i in range(50):
        feed.add(prediction(i))
    monitor = monitors()
    kit.wait_for(lambda: len(monitor.ids) == 50)
    assert monitor.ids == [f"p{i}" for i in range(50)]


def test_without_a_monitor_the_newest_are_dropped_and_counted(feeds: Any, monitors: Any, kit: Any) -> None:
    feed = feeds(predictions=100)
    for i in range(130):
        feed.add(prediction(i))
    assert feed.dropped == 30
    monitor = monitors()
    kit.wait_for(lambda: len(monitor.ids) == 100)
    assert monitor.ids == [f"p{i}" for i in range(100)]
    assert monitor.frames[-1].dropped == 30


def test_memory_is_bounded_by_bytes_as_well(feeds: Any) -> None:
    feed = feeds(bytes=10_000)
    for i in range(20):
        feed.add(prediction(i, size=1000))
    assert feed.dropped == 20 - 10_000 // 1200


def test_a_frame_is_bounded_by_bytes(feeds: Any, monitors: Any, kit: Any) -> None:
    feed = feeds(frame_bytes=3000)
    for i in range(9):
        feed.add(prediction(i, size=1000))
    monitor = monitors()
    kit.wait_for(lambda: len(monitor.ids) == 9)
    assert [len(frame.predictions) for frame in monitor.frames] == [2, 2, 2, 2, 1]


def test_a_prediction_too_long_for_the_monitor_is_dropped_and_counted(feeds: Any, monitors: Any, kit: Any) -> None:
    monitor, feed = monitors(), feeds(message_bytes=5000, frame_bytes=2000)
    for i, size in enumerate((10, 6000, 10)):
        feed.add(prediction(i, size))
    kit.wait_for(lambda: monitor.ids == ["p0", "p2"])
    assert monitor.frames[-1].dropped == 1


def test_a_stuck_monitor_never_holds_the_caller(feeds: Any, monitors: Any, kit: Any) -> None:
    """The socket's buffer is full and nobody reads; then reading goes on and every frame is whole."""
    monitor = monitors()
    monitor.reading.clear()
    feed = feeds(predictions=500)
    # Nobody reads before all are added: a call that waited for the monitor would wait for ever.
    for i in range(2000):
        feed.add(prediction(i, size=4000))
    assert not monitor.ids
    assert feed.dropped > 0
    monitor.reading.set()
    kit.wait_for(lambda: len(monitor.ids) == 2000 - feed.dropped)
    assert monitor.ids == sorted(monitor.ids, key=lambda name: int(name[1:]))


def test_a_restarted_monitor_gets_the_frame_the_dead_one_had_half_of(feeds: Any, monitors: Any, kit: Any) -> None:
    first = monitors()
    first.reading.clear()
    feed = feeds(frame_predictions=1)
    feed.add(prediction(0, size=4_000_000))  # far more than a socket's buffer holds
    kit.wait_for(lambda: first._open)
    time.sleep(0.05)  # lets part of the frame go out; the test holds without it too
    first.kill()
    second = monitors()
    feed.add(prediction(1))
    kit.wait_for(lambda: second.ids == ["p0", "p1"])
    assert feed.dropped == 0


def test_closing_sends_what_waits(feeds: Any, monitors: Any, kit: Any) -> None:
    monitor, feed = monitors(), feeds(interval=60.0)
    for i in range(300):
        feed.add(prediction(i))
    feed.close(60.0)
    kit.wait_for(lambda: len(monitor.ids) == 300)


@pytest.mark.parametrize("stuck", [False, True], ids=["absent", "stuck"])
def test_closing_ends_whatever_the_monitor_does(feeds: Any, monitors: Any, kit: Any, stuck: bool) -> None:
    if stuck:
        monitors().reading.clear()
    feed = feeds()
    for i in range(20):
        feed.add(prediction(i, size=1_000_000))
    feed.close(0.3)
    kit.wait_for(lambda: not feed._thread.is_alive())
