"""Which deployment takes its turn when.

Every deployment has a time at which it is due: what its last turn asked for, or now, when something about it changed.
What is due longest goes first, a bounded number at once, never one deployment twice at the same time. Waiting costs one
timer, however many deployments wait.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

from seamark.errors import Conflict, SeamarkError
from seamark_kubernetes.watch import Key

__all__ = ["Loop", "Turn"]

log = logging.getLogger("seamark.operator")

#: Takes the turn of one deployment. Returns seconds until the next look; None: there is nothing more to look at.
Turn = Callable[[Key], Awaitable[float | None]]

#: Turns at the same time.
CONCURRENCY = 8
#: Seconds between the end of a turn and the next one's start, whatever changes: a storm of changes becomes few turns.
REST = 0.2
#: Seconds after a failed turn, doubling with each in a row, up to the longest. A change does not wait beyond the first.
BACKOFF, LONGEST = 1.0, 60.0
#: Seconds after which a turn is given up: its calls are bounded, so something is wrong.
TURN_LIMIT = 120.0
#: Added to a wait, as a share of it and in seconds at most, so that deployments do not stay in step.
JITTER, MOST_JITTER = 0.05, 1.0
#: Seconds after which an idle loop shows that it is alive.
HEARTBEAT = 60.0
#: Seconds given to running turns when the operator stops.
GRACE = 10.0


@dataclass(slots=True)
class _Entry:
    """due: None while the turn runs. ticket: tells the newest place in the queue from those that it has replaced.

    rested: when the next turn may start at the soonest.
    """

    due: float | None = None
    ticket: int = 0
    rested: float = 0.0
    started: float = 0.0
    woken: bool = False
    failures: int = 0


class Loop:
    """Use it in one event loop.

    on_pass: called when everything that was due has had its turn, and every minute while nothing is due.
    """

    def __init__(
        self, turn: Turn, *, on_pass: Callable[[], None] = lambda: None, concurrency: int = CONCURRENCY
    ) -> None:
        self._turn = turn
        self._on_pass = on_pass
        self._concurrency = concurrency
        self._entries: dict[Key, _Entry] = {}
        self._queue: list[tuple[float, int, Key]] = []
        self._tickets = count()
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._last_finish = 0.0
        self._is_stopping = False

    def wake(self, key: Key) -> None:
        """Make the deployment due now; if its turn is running, right after it."""
        now = _now()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = entry = _Entry()
            self._enqueue(key, entry, now)
        elif entry.due is None:
            entry.woken = True
        elif (soonest := max(now, entry.rested)) < entry.due:
            self._enqueue(key, entry, soonest)

    def age(self) -> float:
        """Seconds for which something has been due and no turn has finished; 0 while nothing is due.

        Turns are due while they run.
        """
        now = _now()
        waiting = [entry.started if entry.due is None else entry.due for entry in self._entries.values()]
        oldest = min(waiting, default=now)
        return max(0.0, now - max(oldest, self._last_finish))

    async def run(self) -> None:
        """Until `stop`."""
        while not self._is_stopping:
            self._changed.clear()
            self._start_due()
            if not self._running:
                self._on_pass()
            await self._wait()

    async def stop(self, grace: float = GRACE) -> None:
        """Start no more turns; wait for those that run, for `grace` seconds at most, then end them."""
        self._is_stopping = True
        self._changed.set()
        tasks = list(self._running.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _enqueue(self, key: Key, entry: _Entry, due: float) -> None:
        entry.due, entry.ticket = due, next(self._tickets)
        heapq.heappush(self._queue, (due, entry.ticket, key))
        if len(self._queue) > 2 * len(self._entries) + 64:
            self._compact()
        self._changed.set()

    def _compact(self) -> None:
        """Drop replaced places, so that many wake-ups do not fill the memory."""
        self._queue = [place for place in self._queue if self._is_current(place)]
        heapq.heapify(self._queue)

    def _is_current(self, place: tuple[float, int, Key]) -> bool:
        _, ticket, key = place
        entry = self._entries.get(key)
        return entry is not None and entry.due is not None and entry.ticket == ticket

    def _next_due(self) -> float | None:
        while self._queue and not self._is_current(self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _start_due(self) -> None:
        while len(self._running) < self._concurrency:
            due = self._next_due()
            if due is None or due > _now():
                return
            _, _, key = heapq.heappop(self._queue)
            entry = self._entries[key]
            entry.due, entry.started, entry.woken = None, _now(), False
            self._running[key] = asyncio.create_task(self._take(key, entry), name=f"turn {'/'.join(key)}")

    async def _wait(self) -> None:
        """Until something is due, changes or ends."""
        until = _now() + HEARTBEAT
        due = self._next_due()
        if due is not None and len(self._running) < self._concurrency:
            until = min(until, due)
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _take(self, key: Key, entry: _Entry) -> None:
        try:
            delay = await self._attempt(key, entry)
        finally:
            del self._running[key]
            self._changed.set()
        self._settle(key, entry, delay)

    async def _attempt(self, key: Key, entry: _Entry) -> float | None:
        """Seconds until the next turn. Whatever happens in one turn, the other deployments go on."""
        try:
            async with asyncio.timeout(TURN_LIMIT) as limit:
                delay = await self._turn(key)
        except Exception as error:
            if limit.expired():
                log.error("event=turn_hung namespace=%s deployment=%s seconds=%g", *key, TURN_LIMIT)
            else:
                self._last_finish = _now()
                _report(key, error)
            entry.failures += 1
            # Bounded before raising to a power: the count may grow for weeks.
            return min(LONGEST, BACKOFF * 2.0 ** min(entry.failures - 1, 20))
        self._last_finish = _now()
        entry.failures = 0
        return None if delay is None else max(REST, delay)

    def _settle(self, key: Key, entry: _Entry, delay: float | None) -> None:
        now = _now()
        if delay is None and not entry.woken:
            del self._entries[key]
            return
        entry.rested = now + (BACKOFF if entry.failures else REST)
        if entry.woken or delay is None:
            self._enqueue(key, entry, entry.rested)
            return
        jitter = min(MOST_JITTER, JITTER * delay) * random.random()  # noqa: S311 - spreads load, hides nothing
        self._enqueue(key, entry, now + delay + jitter)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _report(key: Key, error: Exception) -> None:
    match error:
        case Conflict():
            # Somebody else was first; the next turn sees what they did.
            log.debug("event=turn_conflict namespace=%s deployment=%s error=%r", *key, str(error))
        case SeamarkError():
            log.warning("event=turn_failed namespace=%s deployment=%s error=%r", *key, str(error))
        case _:
            log.error("event=turn_failed namespace=%s deployment=%s", *key, exc_info=error)
