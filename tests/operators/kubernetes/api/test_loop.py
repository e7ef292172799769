"""Which deployment takes its turn when. The clock jumps: hours take milliseconds."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamark.errors import Conflict, Unavailable
from seamark_kubernetes import loop as loops
from seamark_kubernetes.loop import Loop

A, B = ("ns", "a"), ("ns", "b")


def now() -> float:
    return asyncio.get_running_loop().time()


class Turns:
    """Takes `lasts` seconds for a turn, and answers what `answers` says next, then `delay`."""

    def __init__(self, delay: float | None = 60.0, lasts: float = 0.0, answers=()):
        self.delay, self.lasts, self.answers = delay, lasts, list(answers)
        self.started: list[tuple[float, tuple[str, str]]] = []
        self.running: Counter[tuple[str, str]] = Counter()
        self.most = self.most_of_one = 0

    async def __call__(self, key):
        self.started.append((now(), key))
        self.running[key] += 1
        self.most = max(self.most, self.running.total())
        self.most_of_one = max(self.most_of_one, self.running[key])
        try:
            await asyncio.sleep(self.lasts)
        finally:
            self.running[key] -= 1
        answer = self.answers.pop(0) if self.answers else self.delay
        if isinstance(answer, Exception):
            raise answer
        return answer

    def times(self, key=A):
        return [time for time, of in self.started if of == key]


async def during(seconds: float, loop: Loop, *events) -> None:
    """Runs the loop for so long; events are (after seconds, function)."""
    running = asyncio.create_task(loop.run())
    start = now()
    for after, event in sorted(events, key=lambda pair: pair[0]):
        await asyncio.sleep(max(0.0, start + after - now()))
        event()
    await asyncio.sleep(start + seconds - now())
    await loop.stop()
    await running


def test_a_woken_deployment_takes_its_turn_at_once_and_again_when_it_asked_to(run):
    turns = Turns(delay=60.0)

    async def work():
        loop = Loop(turns)
        start = now()
        await during(125.0, loop, (0.0, lambda: loop.wake(A)))
        return [time - start for time in turns.times()]

    first, second, third = run(work())
    assert first == 0.0
    assert 60.0 <= second <= 61.0
    assert 120.0 <= third <= 122.0


def test_a_deployment_with_nothing_to_look_at_is_forgotten_until_it_is_woken(run):
    turns = Turns(delay=None)

    async def work():
        loop = Loop(turns)
        await during(7200.0, loop, (0.0, lambda: loop.wake(A)), (3600.0, lambda: loop.wake(A)))
        return loop.age()

    assert run(work()) == 0.0
    assert len(turns.started) == 2


def test_a_wake_up_during_a_turn_brings_another_one_right_after_even_if_the_turn_saw_nothing_to_do(run):
    for delay in (None, 60.0):
        turns = Turns(delay=delay, lasts=5.0)

        async def work(turns=turns):
            loop = Loop(turns)
            start = now()
            await during(30.0, loop, (0.0, lambda: loop.wake(A)), (1.0, lambda: loop.wake(A)))
            return [time - start for time in turns.times()]

        assert run(work()) == [0.0, pytest.approx(5.0 + loops.REST)]


def test_a_storm_of_changes_becomes_few_turns(run):
    turns = Turns()

    async def work():
        loop = Loop(turns)
        await during(10.0, loop, *((n / 1000, lambda: loop.wake(A)) for n in range(10_000)))

    run(work())
    assert 10.0 / loops.REST * 0.9 <= len(turns.started) <= 10.0 / loops.REST + 1


def test_a_failing_deployment_is_tried_less_and_less_often_and_the_others_go_on(run, caplog):
    error = Unavailable("Cannot get Job ns/a: no answer")

    async def turn(key):
        turns.started.append((now(), key))
        if key == A:
            raise error
        return 1.0

    turns = Turns()

    async def work():
        loop = Loop(turn)
        start = now()
        loop.wake(B)
        await during(400.0, loop, (0.0, lambda: loop.wake(A)))
        return [time - start for time in turns.times()]

    with caplog.at_level(logging.WARNING):
        times = run(work())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for gap, least in zip(gaps, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=False):
        assert least <= gap <= least + 1.0
    assert len(turns.times(B)) > 300
    assert caplog.messages[0] == f"event=turn_failed namespace=ns deployment=a error={str(error)!r}"


def test_success_ends_the_backoff(run):
    turns = Turns(delay=10.0, answers=[ValueError("x")] * 5 + [10.0, ValueError("x")])

    async def work():
        loop = Loop(turns)
        await during(60.0, loop, (0.0, lambda: loop.wake(A)))

    run(work())
    *_, before, failed, after = turns.times()[:8]
    assert failed - before == pytest.approx(10.25, abs=0.26)
    assert 1.0 <= after - failed <= 1.1


def test_a_change_is_looked_at_soon_even_after_many_failures(run):
    turns = Turns(answers=[ValueError("x")] * 20)

    async def work():
        loop = Loop(turns)
        start = now()
        await during(200.0, loop, (0.0, lambda: loop.wake(A)), (150.0, lambda: loop.wake(A)))
        return [time - start for time in turns.times()]

    assert any(150.0 <= time <= 151.0 for time in run(work()))


def test_a_conflict_is_retried_silently(run, caplog):
    turns = Turns(answers=[Conflict("Cannot replace it: not the newest")])

    async def work():
        loop = Loop(turns)
        await during(5.0, loop, (0.0, lambda: loop.wake(A)))

    with caplog.at_level(logging.INFO):
        run(work())
    assert len(turns.started) == 2
    assert caplog.messages == []


def test_an_error_of_its_own_is_logged_with_its_trace(run, caplog):
    turns = Turns(answers=[ZeroDivisionError("oops")])

    async def work():
        loop = Loop(turns)
        await during(5.0, loop, (0.0, lambda: loop.wake(A)))

    run(work())
    assert [record.exc_info[1].args for record in caplog.records] == [("oops",)]


def test_a_turn_that_hangs_is_given_up_and_does_not_count_as_finished(run, caplog):
    async def work():
        hung = asyncio.Event()

        async def turn(key):
            await hung.wait()

        loop = Loop(turn)
        loop.wake(A)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(119.0)
        before = loop.age()
        await asyncio.sleep(11.0)
        after = loop.age()
        await loop.stop(grace=0.0)
        await running
        return before, after

    before, after = run(work())
    assert before == pytest.approx(119.0)
    # It was given up at 120 s and tried again a second later; nothing else was ever due.
    assert after < 11.0
    assert caplog.messages == ["event=turn_hung namespace=ns deployment=a seconds=120"]


def test_age_grows_while_all_places_are_taken_by_turns_that_do_not_end(run):
    async def work():
        ages = []

        async def turn(key):
            await asyncio.sleep(100.0)
            return 1.0

        loop = Loop(turn, concurrency=1)
        for n in range(3):
            loop.wake(("ns", str(n)))
        running = asyncio.create_task(loop.run())
        for _ in range(4):
            await asyncio.sleep(50.0)
            ages.append(round(loop.age()))
        await loop.stop(grace=0.0)
        await running
        return ages

    assert run(work()) == [50, 0, 50, 0]


def test_age_is_zero_while_nothing_is_due(run):
    turns = Turns(delay=600.0)

    async def work():
        loop = Loop(turns)
        ages = []
        await during(
            500.0,
            loop,
            (0.0, lambda: loop.wake(A)),
            *((n * 50.0, lambda: ages.append(loop.age())) for n in range(1, 9)),
        )
        return ages

    assert run(work()) == [0.0] * 8


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wakes=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 30)), max_size=80),
    concurrency=st.integers(1, 8),
    lasts=st.floats(0, 3),
    delay=st.sampled_from([None, 0.0, 0.1, 5.0]),
)
def test_never_two_turns_of_one_deployment_never_too_many_and_no_wake_up_is_lost(run, wakes, concurrency, lasts, delay):
    turns = Turns(delay=delay, lasts=lasts)
    woken: dict[tuple[str, str], float] = {}

    async def work():
        loop = Loop(turns, concurrency=concurrency)

        def wake(n):
            woken["ns", str(n)] = now()
            loop.wake(("ns", str(n)))

        await during(150.0, loop, *((after, lambda n=n: wake(n)) for after, n in wakes))

    run(work())
    assert turns.most <= concurrency
    assert turns.most_of_one <= 1
    for key, last in woken.items():
        assert any(time >= last for time in turns.times(key))


def test_what_has_waited_longest_goes_first_so_a_busy_deployment_starves_nobody(run):
    turns = Turns(delay=0.0, lasts=1.0)

    async def work():
        loop = Loop(turns, concurrency=1)
        for n in range(10):
            loop.wake(("ns", str(n)))
        await during(100.5, loop)

    run(work())
    counts = Counter(key for _, key in turns.started)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_thousand_idle_deployments_cost_one_timer(run):
    turns = Turns(delay=3600.0)

    async def work():
        loop = Loop(turns)
        for n in range(1000):
            loop.wake(("ns", str(n)))
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(10.0)
        wakes = 0
        original = loop._start_due

        def counted():
            nonlocal wakes
            wakes += 1
            original()

        loop._start_due = counted
        await asyncio.sleep(3000.0)
        await loop.stop()
        await running
        return wakes

    # The heartbeat, once a minute.
    assert run(work()) <= 52
    assert len(turns.started) == 1000


def test_replaced_places_in_the_queue_do_not_pile_up(run):
    async def work():
        loop = Loop(Turns(delay=3600.0))
        running = asyncio.create_task(loop.run())
        for _ in range(2000):
            loop.wake(A)
            await asyncio.sleep(1.0)
        size = len(loop._queue)
        await loop.stop()
        await running
        return size

    assert run(work()) <= 100


def test_it_tells_of_each_pass_and_that_it_is_alive_while_idle(run):
    passes: list[float] = []

    async def work():
        loop = Loop(Turns(delay=None, lasts=3.0), on_pass=lambda: passes.append(now()))
        start = now()
        await during(300.0, loop, (100.0, lambda: loop.wake(A)))
        return [round(time - start) for time in passes]

    times = run(work())
    assert 103 in times
    assert not [time for time in times if 100 < time < 103]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= 61


def test_stopping_waits_for_running_turns_and_starts_no_more(run):
    async def work():
        turns = Turns(lasts=5.0)
        loop = Loop(turns, concurrency=1)
        loop.wake(A)
        loop.wake(B)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(1.0)
        start = now()
        await loop.stop()
        await running
        return now() - start, turns.started, turns.running.total()

    took, started, still = run(work())
    assert took == pytest.approx(4.0)
    assert [key for _, key in started] == [A]
    assert still == 0


def test_stopping_ends_a_turn_that_takes_too_long(run):
    async def work():
        turns = Turns(lasts=1000.0)
        loop = Loop(turns)
        loop.wake(A)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(1.0)
        start = now()
        await loop.stop()
        await running
        return now() - start, turns.running.total()

    took, still = run(work())
    assert took == pytest.approx(loops.GRACE)
    assert still == 0
