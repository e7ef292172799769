"""Predictions reach the monitor in order, off the hot path; what cannot is dropped and counted, and nothing blocks."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from seamark.records import Frame, Prediction, unpack
from seamark_predictor.feed import Feed, Limits

#: Seconds that stand for "soon" on a machine that is busy with something else.
SOON = 30.0


def prediction(i: int, size: int = 0) -> Prediction:
    return Prediction(f"p{i}", 1.5, 0.001, 200, 1, numbers=b"\x00" * (8 + size // 8 * 8), outputs=bytes(8))


def predictions(frame: Frame) -> list[Prediction]:
    return unpack(frame.answered) + frame.others


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
        return [each.prediction_id for frame in list(self.frames) for each in predictions(frame)]

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


class Feeds:
    """Makes feeds on the loop that runs, quick ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.started: list[Feed] = []

    def __call__(self, **limits: Any) -> Feed:
        quick = {"interval": 0.005, "backoff_first": 0.01, "backoff_last": 0.02}
        feed = Feed(str(self._path), "r1", Limits(**{**quick, **limits}))
        self.started.append(feed)
        feed.start()
        return feed


@pytest.fixture
def feeds(path: Path) -> Iterator[Feeds]:
    made = Feeds(path)
    yield made
    for feed in made.started:
        feed.close(0)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    return asyncio.run if request.param == "asyncio" else uvloop.run


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110  # the monitor is in threads of its own
            await asyncio.sleep(0.005)


def test_predictions_arrive_whole_and_in_order(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()
    sent = [
        Prediction(f"p{i}", i, 0.5, 200, 2, bytes(32), [["日", None]], bytes(16), [("f", "type", 2)] * (i % 2))
        for i in range(600)
    ]

    async def scenario() -> None:
        feed = feeds(frame_predictions=256)
        for each in sent:
            feed.add(each)
        await until(lambda: len(monitor.ids) == 600)

    run(scenario())
    assert [each for frame in monitor.frames for each in predictions(frame)] == sent
    assert max(len(predictions(frame)) for frame in monitor.frames) <= 256
    assert {frame.dropped for frame in monitor.frames} == {0}
    assert {frame.sender for frame in monitor.frames} == {monitor.frames[0].sender}
    assert monitor.frames[0].sender.startswith("r1/")


def test_few_wait_for_more_until_the_end_of_the_interval(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds(interval=0.3, hurry=100)
        for i in range(10):
            feed.add(prediction(i))
            await asyncio.sleep(0)
        await until(lambda: len(monitor.ids) == 10)
        feed.add(prediction(10))
        await until(lambda: len(monitor.ids) == 11)

    run(scenario())
    assert [len(predictions(frame)) for frame in monitor.frames] == [10, 1]


def test_many_do_not_wait_for_the_end_of_the_interval(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds(interval=3600.0, hurry=100)
        for i in range(150):
            feed.add(prediction(i))
        await until(lambda: len(monitor.ids) == 150)

    run(scenario())


def test_a_feed_that_has_nothing_to_send_plans_nothing(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds()
        feed.add(prediction(0))
        await until(lambda: monitor.ids)
        assert feed._due is None

    run(scenario())


def test_a_monitor_that_starts_late_gets_what_waited(feeds: Feeds, monitors: Any, run: Any) -> None:
    async def scenario() -> None:
        feed = feeds()
        for i in range(50):
            feed.add(prediction(i))
        monitor = monitors()
        await until(lambda: len(monitor.ids) == 50)
        assert monitor.ids == [f"p{i}" for i in range(50)]

    run(scenario())


def test_a_monitor_is_connected_to_before_there_is_anything_to_send(feeds: Feeds, monitors: Any, run: Any) -> None:
    async def scenario() -> None:
        feeds()
        monitor = monitors()
        await until(lambda: monitor._open)

    run(scenario())


def test_without_a_monitor_the_newest_are_dropped_and_counted(feeds: Feeds, monitors: Any, run: Any) -> None:
    async def scenario() -> None:
        feed = feeds(predictions=100)
        for i in range(130):
            feed.add(prediction(i))
        assert feed.dropped == 30
        monitor = monitors()
        await until(lambda: len(monitor.ids) == 100)
        assert monitor.ids == [f"p{i}" for i in range(100)]
        assert monitor.frames[-1].dropped == 30

    run(scenario())


def test_memory_is_bounded_by_bytes_as_well(feeds: Feeds, monitors: Any, run: Any) -> None:
    async def scenario() -> None:
        feed = feeds(bytes=8 * 1400)
        for i in range(20):
            feed.add(prediction(i, size=1000))
        assert feed.dropped == 20 - 8
        monitor = monitors()
        await until(lambda: len(monitor.ids) == 8)
        # What was sent makes room.
        for i in range(8):
            feed.add(prediction(100 + i, size=1000))
        assert feed.dropped == 12
        await until(lambda: len(monitor.ids) == 16)

    run(scenario())


def test_a_frame_is_bounded_by_bytes(feeds: Feeds, monitors: Any, run: Any) -> None:
    async def scenario() -> None:
        feed = feeds(frame_bytes=3000)
        for i in range(9):
            feed.add(prediction(i, size=1000))
        monitor = monitors()
        await until(lambda: len(monitor.ids) == 9)
        assert [len(predictions(frame)) for frame in monitor.frames] == [2, 2, 2, 2, 1]

    run(scenario())


def test_a_prediction_too_long_for_the_monitor_is_dropped_and_counted(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds(message_bytes=5000, frame_bytes=2000)
        for i, size in enumerate((10, 6000, 10)):
            feed.add(prediction(i, size))
        await until(lambda: monitor.ids == ["p0", "p2"])

    run(scenario())
    assert monitor.frames[-1].dropped == 1


LONG = "日" * 50

ODD = {
    "answered": Prediction("x" * 128, 1e9, 0.1, 200, 1, bytes(8), [], bytes(8)),
    "refused": Prediction("x" * 128, 1e9, 0.1, 422, 2**40),
    "texts": Prediction("p", 1e9, 0.1, 200, 4, b"", [[LONG, "x" * 300, None, ""]] * 30, bytes(32)),
    "refused texts": Prediction("p", 1e9, 0.1, 400, 4, b"", [[LONG, "x" * 300, None, ""]] * 30),
    "violations": Prediction("p", 1e9, 0.1, 200, 1, bytes(8), [], bytes(8), [(LONG, "nonfinite", 2**40)] * 50),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_no_prediction_takes_more_of_a_frame_than_it_is_counted_for(feeds: Feeds, run: Any, odd: Prediction) -> None:
    async def scenario() -> None:
        feed = feeds()
        feed.add(odd)
        counted = feed._bytes
        empty = len(msgspec.msgpack.encode(Frame(feed._sender, 0)))
        assert len(feed._next_frame()) - empty <= counted
        assert feed._bytes == 0

    run(scenario())


def test_refusals_come_beside_the_answers(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()
    refused = Prediction("refused", 1.5, 0.001, 422, 2, violations=[("age", "type", 2)])
    silent = Prediction("silent", 1.5, 0.001, 200, 1)

    async def scenario() -> None:
        feed = feeds(interval=0.05)
        for each in (prediction(0), refused, prediction(1), silent):
            feed.add(each)
        await until(lambda: len(monitor.ids) == 4)

    run(scenario())
    (frame,) = monitor.frames
    assert (unpack(frame.answered), frame.others) == ([prediction(0), prediction(1)], [refused, silent])


def test_a_stuck_monitor_never_holds_the_caller(feeds: Feeds, monitors: Any, run: Any) -> None:
    """The socket's buffer is full and nobody reads; then reading goes on and every frame is whole."""
    monitor = monitors()
    monitor.reading.clear()

    async def scenario() -> None:
        feed = feeds(predictions=500)
        # Nobody reads before all are added: a call that waited for the monitor would wait for ever.
        for i in range(2000):
            feed.add(prediction(i, size=4000))
            if i % 100 == 0:
                await asyncio.sleep(0)
        assert not monitor.ids
        assert feed.dropped > 0
        monitor.reading.set()
        await until(lambda: len(monitor.ids) == 2000 - feed.dropped)
        # And it goes on.
        feed.add(prediction(2000))
        await until(lambda: monitor.ids[-1] == "p2000")

    run(scenario())
    assert monitor.ids == sorted(monitor.ids, key=lambda name: int(name[1:]))


def test_sending_much_leaves_turns_of_the_loop_to_others(feeds: Feeds, monitors: Any, run: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds(frame_predictions=1, interval=0.0)
        for i in range(100):
            feed.add(prediction(i))
        turns = 0
        while len(feed._queue) > 0:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 20
        await until(lambda: len(monitor.ids) == 100)

    run(scenario())


def test_a_restarted_monitor_gets_the_frame_the_dead_one_had_half_of(feeds: Feeds, monitors: Any, run: Any) -> None:
    first = monitors()
    first.reading.clear()

    async def scenario() -> None:
        feed = feeds(frame_predictions=1)
        feed.add(prediction(0, size=4_000_000))  # far more than a socket's buffer holds
        await until(lambda: feed._is_blocked)
        first.kill()
        second = monitors()
        feed.add(prediction(1))
        await until(lambda: second.ids == ["p0", "p1"])
        assert feed.dropped == 0

    run(scenario())


def test_a_monitor_that_hangs_up_at_once_is_not_asked_without_end(feeds: Feeds, path: Path, run: Any) -> None:
    attempts = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.transport.abort()

    async def scenario() -> None:
        server = await asyncio.start_unix_server(hang_up, path)
        feed = feeds(backoff_first=0.05, backoff_last=0.05)
        for i in range(20):
            feed.add(prediction(i, size=100_000))
            await asyncio.sleep(0.005)
        server.close()

    run(scenario())
    assert attempts <= 10


def test_closing_sends_what_waits(feeds: Feeds, monitors: Any, run: Any, kit: Any) -> None:
    monitor = monitors()

    async def scenario() -> None:
        feed = feeds(interval=60.0, hurry=1000)
        for i in range(300):
            feed.add(prediction(i))

    run(scenario())
    feeds.started[0].close(60.0)
    kit.wait_for(lambda: len(monitor.ids) == 300)


def test_closing_finishes_the_frame_under_way(feeds: Feeds, monitors: Any, run: Any, kit: Any) -> None:
    monitor = monitors()
    monitor.reading.clear()

    async def scenario() -> None:
        feed = feeds()
        feed.add(prediction(0, size=4_000_000))
        await until(lambda: feed._is_blocked)

    run(scenario())
    monitor.reading.set()
    feeds.started[0].close(60.0)
    kit.wait_for(lambda: monitor.ids == ["p0"])


@pytest.mark.parametrize("stuck", [False, True], ids=["absent", "stuck"])
def test_closing_ends_whatever_the_monitor_does(
    feeds: Feeds, monitors: Any, run: Any, stuck: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if stuck:
        monitors().reading.clear()

    async def scenario() -> None:
        feed = feeds()
        for i in range(20):
            feed.add(prediction(i, size=1_000_000))

    caplog.set_level(logging.INFO, "seamark.predictor")
    run(scenario())
    began = time.monotonic()
    feeds.started[0].close(0.3)
    assert time.monotonic() - began < SOON
    (told,) = [record for record in caplog.records if "feed_closed" in record.getMessage()]
    assert "unsent=20" in told.getMessage()
