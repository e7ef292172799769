"""Counter growth is exact over any window, through restarts, gaps and vanishing targets, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark_analyzer import history
from seamark_analyzer.history import MOST_VANISHED, SAMPLES_PER_WINDOW, Fleet, History

SERIES = ("seamark_requests_total", "200")


def grown_by(known: History | Fleet, start: float, end: float = 1e9) -> float:
    return known.window(start, end).counts.get(SERIES, 0.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=40), st.data())
def test_growth_between_any_two_samples_is_what_was_counted_between(
    steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """A restart loses nothing that was exported after it began again."""
    target = History(window=1000, latest=1000)
    target.add(0, {SERIES: 100})
    value, truth = 100, [0]
    for time, (count, restarts) in enumerate(steps, 1):
        if restarts and count >= value:
            restarts = False  # nobody can see a restart that counted past the last value
        value = count if restarts else value + count
        truth.append(truth[-1] + count)
        target.add(time, {SERIES: value})
    start = data.draw(st.integers(0, len(steps)))
    end = data.draw(st.integers(start, len(steps)))
    assert grown_by(target, start, end) == truth[end] - truth[start]


def test_the_first_sample_is_the_base() -> None:
    target = History(window=60, latest=10)
    assert target.window(0, 100).counts == {}
    target.add(1, {SERIES: 5})
    assert target.window(0, 100).counts == {}
    target.add(2, {SERIES: 7})
    window = target.window(0, 100)
    assert (window.counts, window.start, window.end) == ({SERIES: 2}, 1, 2)


def test_a_series_that_appears_later_counts_from_zero() -> None:
    target = History(window=60, latest=10)
    other = ("seamark_contract_violations_total", "f", "range")
    target.add(1, {SERIES: 5})
    target.add(2, {SERIES: 5, other: 3})
    assert target.window(1, 2).counts == {SERIES: 0, other: 3}


def test_samples_are_bounded_and_thinning_loses_no_growth() -> None:
    target = History(window=60, latest=10)
    for tick in range(5000):
        target.add(tick * 0.2, {SERIES: tick})
    now = 4999 * 0.2
    assert len(target._samples()) <= SAMPLES_PER_WINDOW + 10 / 0.2 + 3
    assert abs(grown_by(target, now - 60) - 300) <= 3  # to one thinned sample
    assert grown_by(target, now - 2) == 10


def test_a_window_that_begins_in_a_long_gap_does_not_reach_behind_it() -> None:
    target = History(window=60, latest=10)
    target.add(0, {SERIES: 0})
    target.add(5, {SERIES: 5})
    target.add(300, {SERIES: 1000})
    target.add(310, {SERIES: 1001})
    assert grown_by(target, 250) == 1
    assert grown_by(target, 5) == 996


def test_a_gap_at_the_end_is_no_data() -> None:
    target = History(window=60, latest=10)
    target.add(0, {SERIES: 0})
    target.add(5, {SERIES: 5})
    assert target.window(100, 160).counts == {}


def test_a_clock_set_back_loses_no_growth() -> None:
    target = History(window=60, latest=10)
    for time in range(100, 200):
        target.add(time, {SERIES: time})
    target.add(50, {SERIES: 210})
    target.add(51, {SERIES: 215})
    assert grown_by(target, 50) == 5
    assert grown_by(target, 0) == 5


def test_a_pinned_beginning_outlives_the_window() -> None:
    target = History(window=60, latest=10)
    for time in range(0, 1000, 5):
        target.pin(101.0 if time >= 120 else None)
        target.add(time, {SERIES: time})
    window = target.window(101.0, 1000)
    assert (window.counts[SERIES], window.start) == (995 - 105, 105)
    target.pin(995.5)
    assert target.window(995.5, 1000).counts == {}
    target.add(1000, {SERIES: 1000})
    target.add(1005, {SERIES: 1007})
    assert grown_by(target, 995.5, 1010) == 7


def test_a_fleet_adds_its_targets_and_forgets_ever_new_ones() -> None:
    """A monitor in a restart loop gets a new port each time; what each counted stays in the rollout."""
    fleet = Fleet(window=60, latest=10)
    for turn in range(200):
        now = float(turn)
        fleet.follow((f"t{turn}",), 60, 10, 0.0, now)
        fleet.add(f"t{turn}", now, {SERIES: 0})
        fleet.add(f"t{turn}", now + 0.5, {SERIES: 3})
    assert len(fleet._vanished) <= MOST_VANISHED
    assert grown_by(fleet, 0.0) == 600
    assert grown_by(fleet, 170.0) == 90


def test_a_target_that_comes_back_goes_on_where_it_was() -> None:
    fleet = Fleet(window=60, latest=10)
    fleet.follow(("a",), 60, 10, None, 0)
    fleet.add("a", 1, {SERIES: 10})
    fleet.follow((), 60, 10, None, 2)
    fleet.follow(("a",), 60, 10, None, 3)
    fleet.add("a", 4, {SERIES: 15})
    assert grown_by(fleet, 0) == 5


def test_counters_that_overtook_a_dead_process_are_counted_whole() -> None:
    """Another pod on the same address: one counter fell, so all began anew, also the one that is ahead already."""
    other = ("seamark_requests_total", "500")
    target = History(window=60, latest=10)
    target.add(1, {SERIES: 100, other: 1})
    target.add(2, {SERIES: 7, other: 3})
    assert target.window(1, 2).counts == {SERIES: 7, other: 3}


def test_a_series_that_went_away_tells_a_new_process() -> None:
    """Rare series come with their first event; what the old process had of them must not look like a fall later."""
    rare = ("seamark_contract_violations_total", "f", "range")
    target = History(window=60, latest=10)
    target.add(1, {SERIES: 5, rare: 4})
    target.add(2, {SERIES: 9})
    assert target.window(1, 2).counts[SERIES] == 9
    target.add(3, {SERIES: 10, rare: 1})
    assert target.window(1, 3).counts == {SERIES: 10, rare: 1}


STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=4, unique=True),  # the addresses that the settings name
        st.sets(st.integers(0, 5), max_size=2),  # those where a new pod takes over
        st.lists(st.integers(0, 9), min_size=6, max_size=6),  # what each counts until the next scrape
    ),
    min_size=1,
    max_size=30,
)


@given(STEPS, st.integers(0, 3), st.data())
def test_pods_that_come_and_go_lose_and_double_nothing(
    steps: list[tuple[list[int], set[int], list[int]]], most_vanished: int, data: st.DataObject
) -> None:
    """Over any window, and from a rollout's start, however few of those that left are remembered one by one.

    A scrape shows what was counted since the same target's last one; the first of a target is its base.
    """
    start = data.draw(st.integers(0, len(steps)), "start")
    since = data.draw(st.none() | st.integers(0, len(steps)), "since")
    fleet = Fleet(window=SAMPLES_PER_WINDOW, latest=1000)
    pods = [0] * 6
    counted = [0] * 6
    shown: dict[int, tuple[int, int, int]] = {}  # the last scrape's pod, count and time
    in_window = in_rollout = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_VANISHED", most_vanished)
        for time, (targets, replaced, counts) in enumerate(steps):
            fleet.follow(tuple(f"t{i}" for i in targets), SAMPLES_PER_WINDOW, 1000, since, time)
            remembered = {int(name[1:]) for name in (*fleet._live, *fleet._vanished)}
            shown = {i: last for i, last in shown.items() if i in remembered}
            for i in replaced:
                pods[i], counted[i] = pods[i] + 1, 0
            for i in targets:
                counted[i] += counts[i]
                pod, count, seen = shown.get(i, (pods[i], counted[i], time))
                grown = counted[i] - count if pod == pods[i] else counted[i]
                in_window += grown if time > start else 0
                in_rollout += grown if since is not None and seen >= since else 0
                shown[i] = (pods[i], counted[i], time)
                fleet.add(f"t{i}", time, {SERIES: counted[i], ("falls with each pod",): 1000 - pods[i]})
    if start != since:  # a rollout counts from its first scrapes on, a window from those before it
        assert grown_by(fleet, start) == in_window
    if since is not None:
        assert grown_by(fleet, since) == in_rollout
