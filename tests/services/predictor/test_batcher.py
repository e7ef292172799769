"""Requests that meet go together, and each gets what it would have got alone: its answer, its error, its time."""

from __future__ import annotations

import asyncio
import threading
import timeit
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.errors import InvalidInput, Unavailable
from seamark_predictor.batcher import Batcher, DeadlineExceeded, Limits, Model, Overloaded
from seamark_predictor.pacing import Costs, Pace, pace

#: On the loop, in the thread, and neither joined.
SHORT = Pace(joins=True, inline_rows=100, most_rows=1000, linger=0.0, crowd=1.5)
LONG = Pace(joins=True, inline_rows=0, most_rows=100, linger=0.0, crowd=1.5)
ALONE = Pace(joins=False, inline_rows=100, most_rows=1000, linger=0.0, crowd=1.5)
ALONE_LONG = Pace(joins=False, inline_rows=0, most_rows=1000, linger=0.0, crowd=1.5)


@dataclass(frozen=True, eq=False)
class Numbers:
    """A batch; 13 is a bad row. `on_loop` is set when it is run."""

    values: list[int]

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass
class Doubler:
    """A model that doubles, refuses 13, and can be held up. runs: what each run was given."""

    runs: list[list[int]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    splits_wrongly: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def run(self, batch: Numbers) -> list[int]:
        self.runs.append(batch.values)
        self.started.set()
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(20)
        if 13 in batch.values:
            raise InvalidInput(f"13 is among {batch.values}", status=422)
        return [2 * value for value in batch.values]

    def join(self, batches: Sequence[Numbers]) -> Numbers:
        assert len(batches) > 1
        return Numbers([value for batch in batches for value in batch.values])

    def split(self, answer: list[int], counts: Sequence[int]) -> list[list[int]]:
        if self.splits_wrongly:
            raise ValueError("not one row for each")
        assert len(answer) == sum(counts)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        return [answer[start : start + count] for start, count in zip(starts, counts, strict=True)]


@dataclass
class Meter:
    rows: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    refused: int = 0
    late: int = 0

    def ran(self, rows: int) -> None:
        self.rows.append(rows)

    def waiting(self, requests: int) -> None:
        self.depths.append(requests)

    def rejected(self) -> None:
        self.refused += 1

    def timed_out(self) -> None:
        self.late += 1


class Bench:
    """A batcher on a running loop."""

    def __init__(self, pace: Pace, limits: Limits | None = None, seconds_per_row: float = 0.001) -> None:
        self.model = Doubler()
        self.meter = Meter()
        model = Model(self.model.run, self.model.join, self.model.split)
        self.batcher: Batcher[Numbers, list[int]] = Batcher(
            model, pace, self.meter, seconds_per_row, limits or Limits()
        )

    def submit(self, *values: int, seconds: float = 60, kind: Any = True) -> asyncio.Future[list[int]]:
        return self.batcher.submit(Numbers(list(values)), asyncio.get_running_loop().time() + seconds, kind)

    async def held_up(self) -> asyncio.Future[list[int]]:
        """A run in the thread that lasts until the gate opens."""
        return await self.held_up_with(0)

    async def held_up_with(self, *values: int) -> asyncio.Future[list[int]]:
        """The same, of these values."""
        self.model.gate.clear()
        first = self.submit(*values)
        await asyncio.to_thread(self.model.started.wait, 20)
        return first


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it; what is left to a loop's own handler of errors fails it."""

    async def watched() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        await test()
        assert not problems

    asyncio.run(watched())


async def outcomes(futures: Sequence[Awaitable[list[int]]]) -> list[Any]:
    found = await asyncio.gather(*futures, return_exceptions=True)
    return [str(one) if isinstance(one, BaseException) else one for one in found]


# --- what goes together


@pytest.mark.parametrize("pace", [SHORT, LONG], ids=["on the loop", "in the thread"])
def test_requests_of_one_turn_of_the_loop_are_one_run(pace: Pace) -> None:
    async def test() -> None:
        bench = Bench(pace)
        found = await outcomes([bench.submit(1), bench.submit(2, 3), bench.submit(4)])
        assert found == [[2], [4, 6], [8]]
        # In the thread the first begins at once, and the others wait for its end.
        assert bench.model.runs == ([[1, 2, 3, 4]] if pace is SHORT else [[1], [2, 3, 4]])
        assert bench.meter.rows == [len(run) for run in bench.model.runs]
        assert bench.meter.depths[-1] == 0

    on_loop(test)


def test_requests_that_come_during_a_run_are_the_next_one() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        others = [bench.submit(i) for i in range(1, 6)]
        assert bench.meter.depths[-1] == 5
        bench.model.gate.set()
        assert await outcomes([first, *others]) == [[0], [2], [4], [6], [8], [10]]
        assert bench.model.runs == [[0], [1, 2, 3, 4, 5]]

    on_loop(test)


@pytest.mark.parametrize(("pace", "threads"), [(SHORT, {"MainThread"}), (LONG, {"model_0"})], ids=["short", "long"])
def test_short_runs_are_made_on_the_loop_and_long_ones_in_a_thread(pace: Pace, threads: set[str]) -> None:
    async def test() -> None:
        bench = Bench(pace)
        await bench.submit(1)
        assert bench.model.threads == threads

    on_loop(test)


def test_one_request_with_many_rows_holds_up_neither_the_loop_nor_small_ones() -> None:
    async def test() -> None:
        bench = Bench(SHORT)
        large = await bench.held_up_with(*([1] * 101))
        assert bench.model.threads == {"model_0"}
        assert bench.batcher.is_direct(1)
        bench.model.gate.set()
        assert await large == [2] * 101

    on_loop(test)


@pytest.mark.parametrize("pace", [ALONE, ALONE_LONG], ids=["on the loop", "in the thread"])
def test_where_joining_does_not_pay_each_runs_alone(pace: Pace) -> None:
    async def test() -> None:
        bench = Bench(pace)
        assert await outcomes([bench.submit(i) for i in range(4)]) == [[0], [2], [4], [6]]
        assert bench.model.runs == [[0], [1], [2], [3]]

    on_loop(test)


def test_a_run_has_no_more_rows_than_it_may() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        futures = [bench.submit(*([1] * 40)) for _ in range(6)]
        bench.model.gate.set()
        await asyncio.gather(first, *futures)
        assert [len(run) for run in bench.model.runs] == [1, 80, 80, 80]

    on_loop(test)


def test_a_request_with_more_rows_than_a_run_may_have_runs_alone() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        futures = [bench.submit(1), bench.submit(*([1] * 101)), bench.submit(1)]
        bench.model.gate.set()
        await asyncio.gather(first, *futures)
        assert [len(run) for run in bench.model.runs] == [1, 1, 101, 1]

    on_loop(test)


def test_only_those_of_one_kind_go_together() -> None:
    async def test() -> None:
        bench = Bench(SHORT)
        kinds = ("a", "a", "b", "a", None, None)
        assert await outcomes([bench.submit(i, kind=kind) for i, kind in enumerate(kinds)]) == [
            [0],
            [2],
            [4],
            [6],
            [8],
            [10],
        ]
        assert bench.model.runs == [[0, 1], [2], [3], [4], [5]]

    on_loop(test)


def test_clients_that_were_answered_together_are_waited_for_a_moment() -> None:
    """Else one of them would run alone each time, and the others in the run after."""

    async def test() -> None:
        bench = Bench(Pace(joins=True, inline_rows=0, most_rows=100, linger=30.0, crowd=1.5))
        first = await bench.held_up()
        others = [bench.submit(1), bench.submit(2)]
        bench.model.gate.set()
        await asyncio.gather(first)
        # Three were there: the third is waited for before the next run.
        assert bench.model.runs == [[0]]
        await asyncio.gather(bench.submit(3), *others)
        assert bench.model.runs == [[0], [1, 2, 3]]

    on_loop(test)


def test_clients_that_do_not_come_back_are_not_waited_for_long() -> None:
    async def test() -> None:
        bench = Bench(Pace(joins=True, inline_rows=0, most_rows=100, linger=0.001, crowd=1.5))
        first = await bench.held_up()
        other = bench.submit(1)
        bench.model.gate.set()
        await asyncio.gather(first, other)
        await bench.submit(2)
        assert bench.model.runs == [[0], [1], [2]]

    on_loop(test)


# --- alone


@pytest.mark.parametrize(
    ("pace", "rows", "direct"),
    [
        (SHORT, 1, True),
        (SHORT, 100, True),
        (SHORT, 101, False),
        (ALONE, 100, True),
        (ALONE, 101, False),
        (LONG, 1, False),
    ],
)
def test_a_request_that_gains_nothing_by_waiting_is_run_directly(pace: Pace, rows: int, direct: bool) -> None:
    assert Bench(pace).batcher.is_direct(rows) == direct


def test_nobody_overtakes_those_that_wait() -> None:
    async def test() -> None:
        bench = Bench(SHORT)
        waiting = bench.submit(1)
        assert not bench.batcher.is_direct(1)
        await waiting
        assert bench.batcher.is_direct(1)

    on_loop(test)


async def turn(bench: Bench, requests: int) -> list[bool]:
    """So many requests come in one turn of the loop; whether each was run directly."""
    waits, direct = [], []
    for number in range(requests):
        direct.append(bench.batcher.is_direct(1))
        if direct[-1]:
            bench.batcher.direct(Numbers([number]))
        else:
            waits.append(bench.submit(number))
    await asyncio.gather(*waits)
    return direct


def test_requests_that_come_one_by_one_are_run_directly_but_for_a_look_now_and_then() -> None:
    async def test() -> None:
        bench = Bench(SHORT)
        direct = [(await turn(bench, 1))[0] for _ in range(130)]
        assert direct.count(False) == 10

    on_loop(test)


def test_where_requests_come_together_they_soon_go_together_and_no_longer_when_that_is_over() -> None:
    async def test() -> None:
        bench = Bench(SHORT)
        for _ in range(10):
            together = await turn(bench, 8)
        assert together == [False] * 8
        assert len(bench.model.runs[-1]) == 8
        for _ in range(20):
            alone = await turn(bench, 1)
        assert alone == [True]

    on_loop(test)


def test_a_costly_model_waits_for_fewer_others_than_a_cheap_one() -> None:
    crowds = [pace(Costs(fixed, fixed, 32)).crowd for fixed in (10e-6, 20e-6, 200e-6)]
    assert crowds == pytest.approx([10 / 3, 20 / 13, 200 / 193])


def test_a_direct_run_is_counted_and_raises_what_the_model_raises() -> None:
    bench = Bench(SHORT)
    assert bench.batcher.direct(Numbers([1, 2])) == [2, 4]
    assert bench.meter.rows == [2]
    with pytest.raises(InvalidInput, match="13 is among"):
        bench.batcher.direct(Numbers([13]))


def test_the_direct_way_costs_less_than_a_microsecond() -> None:
    """Some 0.1 us; one is allowed."""
    batcher = Bench(SHORT).batcher
    assert min(timeit.repeat(lambda: batcher.is_direct(1), number=10_000, repeat=5)) / 10_000 < 1e-6


# --- failures


requests = st.lists(st.lists(st.sampled_from([1, 2, 3, 13]), max_size=4), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(requests, st.sampled_from([SHORT, LONG, ALONE, ALONE_LONG]), st.booleans())
def test_bad_rows_fail_nobody_but_their_sender(batches: list[list[int]], pace: Pace, splits_wrongly: bool) -> None:
    async def test() -> None:
        bench = Bench(pace)
        bench.model.splits_wrongly = splits_wrongly
        found = await outcomes([bench.submit(*values) for values in batches])
        alone = [f"13 is among {values}" if 13 in values else [2 * v for v in values] for values in batches]
        assert found == alone
        assert bench.meter.depths[-1] == 0
        await bench.batcher.drain()

    on_loop(test)


def test_one_bad_request_among_many_costs_few_runs() -> None:
    """The joined run fails twice, then its halves find the one."""

    async def test() -> None:
        bench = Bench(SHORT)
        futures = [bench.submit(13 if i == 5 else 20 + i) for i in range(32)]
        found = await outcomes(futures)
        assert [one for one in found if isinstance(one, str)] == ["13 is among [13]"]
        assert len(bench.model.runs) <= 2 + 2 * 5

    on_loop(test)


def test_a_failed_run_is_taken_apart_in_the_thread() -> None:
    """The loop has no time for as many runs as there are requests."""

    async def test() -> None:
        bench = Bench(SHORT)
        await outcomes([bench.submit(1), bench.submit(13), bench.submit(2)])
        assert len(bench.model.runs[0]) == 3
        assert bench.model.threads == {"MainThread", "model_0"}

    on_loop(test)


# --- bounds


def test_what_comes_when_too_many_wait_is_refused_and_counted() -> None:
    async def test() -> None:
        bench = Bench(LONG, Limits(requests=3, rows=1000), seconds_per_row=0.7)
        first = await bench.held_up()
        taken = [bench.submit(i) for i in range(1, 4)]
        with pytest.raises(Overloaded) as caught:
            bench.submit(9)
        said = "Cannot predict: 3 requests with 3 rows wait already; at most 3 requests and 1000 rows may; try again"
        assert str(caught.value).startswith(said)
        assert isinstance(caught.value, Unavailable)
        # Three rows wait, and each takes 0.7 seconds.
        assert (caught.value.status, caught.value.retry_after, bench.meter.refused) == (503, 3, 1)
        bench.model.gate.set()
        assert await outcomes([first, *taken]) == [[0], [2], [4], [6]]
        assert await bench.submit(9) == [18]

    on_loop(test)


@pytest.mark.parametrize(("rows", "refused"), [(10, False), (11, True)])
def test_rows_are_bounded_too(rows: int, refused: bool) -> None:
    async def test() -> None:
        bench = Bench(LONG, Limits(requests=100, rows=30))
        futures = [await bench.held_up(), bench.submit(*range(20, 40))]
        if refused:
            with pytest.raises(Overloaded):
                bench.submit(*([1] * rows))
        else:
            futures.append(bench.submit(*([1] * rows)))
        bench.model.gate.set()
        await asyncio.gather(*futures)

    on_loop(test)


def test_one_large_request_is_taken_when_nothing_waits() -> None:
    async def test() -> None:
        assert len(await Bench(LONG, Limits(requests=1, rows=5)).submit(*range(20, 40))) == 20

    on_loop(test)


@pytest.mark.parametrize(("seconds_per_row", "seconds"), [(1e-6, 1), (1.2, 3), (100.0, 60)])
def test_retry_after_is_how_long_what_waits_will_take(seconds_per_row: float, seconds: int) -> None:
    async def test() -> None:
        bench = Bench(LONG, Limits(requests=2), seconds_per_row)
        futures = [await bench.held_up(), bench.submit(1), bench.submit(2)]
        with pytest.raises(Overloaded) as caught:
            bench.submit(3)
        assert caught.value.retry_after == seconds
        bench.model.gate.set()
        await asyncio.gather(*futures)

    on_loop(test)


# --- deadlines and clients that leave


@pytest.mark.parametrize("pace", [SHORT, LONG], ids=["on the loop", "in the thread"])
def test_what_has_waited_too_long_is_not_run(pace: Pace) -> None:
    async def test() -> None:
        bench = Bench(pace)
        futures = [bench.submit(1, seconds=0), bench.submit(2)]
        late = "Cannot predict: the request was not answered within its deadline"
        assert await outcomes(futures) == [late, [4]]
        assert bench.model.runs == [[2]]
        assert bench.meter.late == 1
        assert futures[0].exception().__class__ is DeadlineExceeded
        assert DeadlineExceeded.status == 504

    on_loop(test)


def test_deadlines_pass_while_a_run_hangs() -> None:
    """Both for what waits and for what runs; the later deadline was set first."""

    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        later, sooner = bench.submit(1, seconds=0.05), bench.submit(2, seconds=0.01)
        running = [asyncio.ensure_future(asyncio.wait_for(each, 10)) for each in (sooner, later)]
        for each in running:
            with pytest.raises(DeadlineExceeded):
                await each
        assert not first.done()
        bench.model.gate.set()
        assert await first == [0]
        assert (bench.model.runs, bench.meter.late) == ([[0]], 2)

    on_loop(test)


def test_the_deadline_of_what_runs_holds_too() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        bench.model.gate.clear()
        running = bench.submit(1, seconds=0.01)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(running, 10)
        bench.model.gate.set()
        assert await bench.submit(2) == [4], "its late answer does no harm"

    on_loop(test)


@pytest.mark.parametrize("pace", [SHORT, LONG], ids=["on the loop", "in the thread"])
def test_clients_that_have_gone_are_dropped(pace: Pace) -> None:
    async def test() -> None:
        bench = Bench(pace)
        futures = [bench.submit(0)]
        if pace is LONG:
            await asyncio.sleep(0)
        futures += [bench.submit(i) for i in range(1, 5)]
        futures[1].cancel()
        futures[3].cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        assert [value for run in bench.model.runs for value in run] == [0, 2, 4]
        assert bench.meter.depths[-1] == 0

    on_loop(test)


def test_a_client_that_goes_while_its_run_is_in_flight_does_no_harm() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        other = bench.submit(1)
        first.cancel()
        bench.model.gate.set()
        assert await other == [2]

    on_loop(test)


# --- the end


@pytest.mark.parametrize("pace", [SHORT, LONG], ids=["on the loop", "in the thread"])
def test_the_drain_answers_what_waits_and_takes_nothing_more(pace: Pace) -> None:
    async def test() -> None:
        bench = Bench(pace)
        futures = [bench.submit(i) for i in range(5)]
        draining = asyncio.ensure_future(bench.batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="Cannot predict: the server is stopping"):
            bench.submit(9)
        await draining
        assert await outcomes(futures) == [[0], [2], [4], [6], [8]]
        assert bench.meter.refused == 0

    on_loop(test)


@pytest.mark.parametrize("pace", [SHORT, LONG], ids=["on the loop", "in the thread"])
def test_a_drain_of_nothing_is_over_at_once(pace: Pace) -> None:
    async def test() -> None:
        await asyncio.wait_for(Bench(pace).batcher.drain(), 10)

    on_loop(test)


def test_a_drain_waits_for_the_run_in_flight() -> None:
    async def test() -> None:
        bench = Bench(LONG)
        first = await bench.held_up()
        draining = asyncio.ensure_future(bench.batcher.drain())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not draining.done()
        bench.model.gate.set()
        await draining
        assert await first == [0]

    on_loop(test)
