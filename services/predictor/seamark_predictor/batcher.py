"""Runs of the model that serve several requests, on the asyncio event loop.

While a run is in flight, or while others of the same turn of the loop are read, requests wait and go together in the
next run. Where requests come one by one they do not wait. Short runs are made on the loop itself; long ones in one
thread, so that health checks never wait for them. Everything is called from the loop's thread.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from seamark.errors import Unavailable
from seamark_predictor.pacing import Pace

__all__ = ["Batcher", "DeadlineExceeded", "Limits", "Meter", "Model", "Overloaded"]


class Sized(Protocol):
    """The input of one request. count: its rows."""

    @property
    def count(self) -> int: ...


B = TypeVar("B", bound=Sized)
A = TypeVar("A")

#: Weight of the newest run in the mean time of a row.
_NEWEST = 0.2
#: Weight of the newest run in the mean number of requests that go together; one in so many requests looks for others,
#: a number that no usual size of a crowd divides.
_NEWEST_CROWD = 0.25
_LOOK = 13
#: Seconds of Retry-After at most.
_LATEST_RETRY = 60


class Overloaded(Unavailable):
    """Too much waits, or the server stops: HTTP 503. retry_after: whole seconds, at least 1."""

    status = 503

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(Unavailable):
    """The request's time was over before it was answered: HTTP 504."""

    status = 504


class Meter(Protocol):
    """Who counts; `counters.ModelCounters` is one."""

    def ran(self, rows: int) -> None:
        """One run of the model with so many rows."""

    def waiting(self, requests: int) -> None:
        """So many wait now."""

    def rejected(self) -> None:
        """One was refused because too much waits."""

    def timed_out(self) -> None:
        """One waited, or ran, for longer than it had."""


@dataclass(frozen=True, slots=True)
class Model(Generic[B, A]):
    """run: may raise anything, and is called from several threads. join: at least two batches of one kind as one.

    split: an answer to joined batches as theirs, by their counts of rows; it may raise, then each runs by itself.
    """

    run: Callable[[B], A]
    join: Callable[[Sequence[B]], B]
    split: Callable[[A, Sequence[int]], list[A]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may wait. One request with more rows than `rows` is taken when nothing else waits."""

    requests: int = 1024
    rows: int = 100_000


@dataclass(slots=True, eq=False)
class _Job(Generic[B, A]):
    batch: B
    rows: int
    kind: Hashable
    deadline: float
    future: asyncio.Future[A]


class Batcher(Generic[B, A]):
    """One model's queue. A future that is cancelled because its client has gone is dropped without a run."""

    def __init__(self, model: Model[B, A], pace: Pace, meter: Meter, seconds_per_row: float, limits: Limits) -> None:
        """seconds_per_row: what is expected until runs have been timed."""
        self._model = model
        self._pace = pace
        self._meter = meter
        self._limits = limits
        self._seconds_per_row = seconds_per_row
        self._short: deque[_Job[B, A]] = deque()
        self._long: deque[_Job[B, A]] = deque()
        self._waiting = self._rows = 0
        self._short_due: asyncio.Handle | None = None
        self._long_due: asyncio.TimerHandle | None = None
        self._expected = 1
        self._together_lately = 1.0
        self._passed = 0
        self._running: list[_Job[B, A]] = []
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")

    def is_direct(self, rows: int) -> bool:
        """Whether a request should be run at once by `direct`, because nobody gains by its waiting.

        To be asked once for each request, since it decides by what it has seen: requests wait for others of the same
        turn of the loop where that many came together lately; now and then one waits only to see whether others come.
        """
        pace = self._pace
        if rows > pace.inline_rows:
            return False
        if not pace.joins:
            return True
        if self._short or self._together_lately >= pace.crowd:
            return False
        self._passed += 1
        return self._passed % _LOOK != 0

    def direct(self, batch: B) -> A:
        """The answer, by a run on the loop; raises what the model raises."""
        answer = self._model.run(batch)
        self._meter.ran(batch.count)
        return answer

    def submit(self, batch: B, deadline: float, kind: Hashable = True) -> asyncio.Future[A]:
        """The answer, once it has had its run; raises `Overloaded` at once, the future `DeadlineExceeded` and more.

        deadline: in the loop's time. kind: only batches of one kind are joined, those of kind None with no other.
        """
        rows = batch.count
        self._make_room(rows)
        loop = asyncio.get_running_loop()
        job = _Job(batch, rows, kind, deadline, loop.create_future())
        self._count(1, rows)
        if rows <= self._pace.inline_rows:
            self._short.append(job)
            if self._short_due is None:
                self._short_due = loop.call_soon(self._run_short)
        else:
            self._run_later((job,))
        return job.future

    def _make_room(self, rows: int) -> None:
        if self._closed:
            raise Overloaded("Cannot predict: the server is stopping", 1)
        limits = self._limits
        if self._waiting >= limits.requests or (self._waiting and self._rows + rows > limits.rows):
            self._meter.rejected()
            seconds = min(max(1, math.ceil(self._rows * self._seconds_per_row)), _LATEST_RETRY)
            raise Overloaded(
                f"Cannot predict: {self._waiting} requests with {self._rows} rows wait already; at most "
                f"{limits.requests} requests and {limits.rows} rows may; try again in {seconds} s",
                seconds,
            )

    def _count(self, requests: int, rows: int) -> None:
        self._waiting += requests
        self._rows += rows
        self._meter.waiting(self._waiting)

    def _take(self, lane: deque[_Job[B, A]], most_rows: int) -> list[_Job[B, A]]:
        """The next jobs that can go together; at least one, unless none of those that wait is still wanted."""
        now = asyncio.get_running_loop().time()
        taken: list[_Job[B, A]] = []
        passed = rows = passed_rows = 0
        while lane:
            job = lane[0]
            if taken and (rows + job.rows > most_rows or job.kind != taken[0].kind or not self._joins(job)):
                break
            lane.popleft()
            passed += 1
            passed_rows += job.rows
            if job.future.done():
                continue
            if job.deadline <= now:
                self._expire(job)
                continue
            taken.append(job)
            rows += job.rows
        self._count(-passed, -passed_rows)
        return taken

    def _joins(self, job: _Job[B, A]) -> bool:
        return self._pace.joins and job.kind is not None

    # --- short runs, on the loop

    def _run_short(self) -> None:
        self._short_due = None
        jobs = self._take(self._short, self._pace.inline_rows)
        if jobs:
            self._together_lately += _NEWEST_CROWD * (len(jobs) - self._together_lately)
            self._answer_on_loop(jobs)
        if self._short:
            # Not at once: between two runs the loop sees to everything else.
            self._short_due = asyncio.get_running_loop().call_soon(self._run_short)
        self._settle()

    def _answer_on_loop(self, jobs: list[_Job[B, A]]) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            answers = self._together(jobs)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            # One by one they take many times as long, which the loop has no time for.
            self._count(len(jobs), sum(job.rows for job in jobs))
            self._run_later(jobs)
            return
        self._ran(jobs, clock() - started)
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)

    def _together(self, jobs: Sequence[_Job[B, A]]) -> list[A]:
        if len(jobs) == 1:
            return [self._model.run(jobs[0].batch)]
        answer = self._model.run(self._model.join([job.batch for job in jobs]))
        return self._model.split(answer, [job.rows for job in jobs])

    def _ran(self, jobs: Sequence[_Job[B, A]], seconds: float) -> None:
        rows = sum(job.rows for job in jobs)
        self._meter.ran(rows)
        self._seconds_per_row += _NEWEST * (seconds / max(1, rows) - self._seconds_per_row)

    # --- long runs, in the thread

    def _run_later(self, jobs: Sequence[_Job[B, A]]) -> None:
        self._long.extend(jobs)
        for job in jobs:
            self._watch(job.deadline)
        self._start_long()

    def _start_long(self) -> None:
        """Starts the next run, unless one is in flight or more requests are expected within a moment."""
        if self._running or not self._long:
            return
        loop = asyncio.get_running_loop()
        if len(self._long) < self._expected and self._pace.linger:
            if self._long_due is None:
                self._long_due = loop.call_later(self._pace.linger, self._linger_is_over)
            return
        self._begin()

    def _linger_is_over(self) -> None:
        self._long_due = None
        if not self._running:
            self._begin()

    def _begin(self) -> None:
        if self._long_due is not None:
            self._long_due.cancel()
            self._long_due = None
        jobs = self._take(self._long, self._pace.most_rows)
        if not jobs:
            self._settle()
            return
        self._running = jobs
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, self._outcomes, jobs, loop.time)
        done.add_done_callback(self._finish)

    def _outcomes(self, jobs: list[_Job[B, A]], clock: Callable[[], float]) -> tuple[list[A | Exception], float]:
        """In the thread: what each job gets, and the seconds it took."""
        started = clock()
        return self._taken_apart(jobs), clock() - started

    def _taken_apart(self, jobs: Sequence[_Job[B, A]]) -> list[A | Exception]:
        """One run for all; where it fails, runs of its halves, so that bad rows fail nobody but their sender."""
        try:
            return list(self._together(jobs))
        except Exception as error:
            if len(jobs) == 1:
                return [error]
        middle = len(jobs) // 2
        return self._taken_apart(jobs[:middle]) + self._taken_apart(jobs[middle:])

    def _finish(self, done: asyncio.Future[tuple[list[A | Exception], float]]) -> None:
        jobs, self._running = self._running, []
        outcomes, seconds = done.result()
        self._ran(jobs, seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
        # Clients that were answered together ask again together. Without waiting for them a moment they would fall into
        # two groups that take turns, in runs half as large.
        self._expected = len(jobs) + len(self._long)
        self._start_long()
        self._settle()

    # --- deadlines

    def _watch(self, deadline: float) -> None:
        """Long runs may take longer than a request has; short ones are over before a timer would ring."""
        if self._expiry is not None:
            if self._expiry.when() <= deadline:
                return
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(deadline, self._expire_all)

    def _expire_all(self) -> None:
        self._expiry = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        open_jobs = [job for job in (*self._running, *self._long) if not job.future.done()]
        for job in open_jobs:
            if job.deadline <= now:
                self._expire(job)
        left = [job.deadline for job in open_jobs if job.deadline > now]
        if left:
            self._expiry = loop.call_at(min(left), self._expire_all)

    def _expire(self, job: _Job[B, A]) -> None:
        self._meter.timed_out()
        job.future.set_exception(DeadlineExceeded("Cannot predict: the request was not answered within its deadline"))

    # --- the end

    async def drain(self) -> None:
        """Takes nothing more; returns when all that waits is answered, so bound it."""
        self._closed = True
        self._drained = asyncio.get_running_loop().create_future()
        self._settle()
        await self._drained
        self._pool.shutdown(wait=False)

    def _settle(self) -> None:
        is_idle = not self._running and not self._waiting
        if self._drained is not None and is_idle and not self._drained.done():
            self._drained.set_result(None)
