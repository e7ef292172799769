"""Counter growth is exact over any window, through restarts, gaps and vanishing targets, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamark_analyzer.history import MOST_VANISHED, SAMPLES_PER_WINDOW, Fleet, History

SERIES = ("seamark_requests_total", "200")


def grown(history: History | Fleet, start: float, end: float = 1e9) -> float:
    return history.window(start, end).counts.get(SERIES, 0.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=40), st.data())
def test_growth_between_any_two_samples_is_what_was_counted_between(
    steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """A restart loses nothing that was exported after it began again."""
    history = History(window=1000, latest=1000)
    history.add(0, {SERIES: 100})
    value, truth = 100, [0]
    for time, (count, restarts) in enumerate(steps, 1):
        if restarts and count >= value:
            restarts = False  # nobody can see a restart that counted past the last value
        value = count if restarts else value + count
        truth.append(truth[-1] + count)
        history.add(time, {SERIES: value})
    start = data.draw(st.integers(0, len(steps)))
    end = data.draw(st.integers(start, len(steps)))
    assert grown(history, start, end) == truth[end] - truth[start]


def test_the_first_sample_is_the_base() -> None:
    history = History(window=60, latest=10)
    assert history.window(0, 100).counts == {}
    history.add(1, {SERIES: 5})
    assert history.window(0, 100).counts == {}
    history.add(2, {SERIES: 7})
    window = history.window(0, 100)
    assert (window.counts, window.start, window.end) == ({SERIES: 2}, 1, 2)


def test_a_series_that_appears_later_counts_from_zero() -> None:
    history = History(window=60, latest=10)
    other = ("seamark_contract_violations_total", "f", "range")
    history.add(1, {SERIES: 5})
    history.add(2, {SERIES: 5, other: 3})
    assert history.window(1, 2).counts == {SERIES: 0, other: 3}


def test_samples_are_bounded_and_thinning_loses_no_growth() -> None:
    history = History(window=60, latest=10)
    for tick in range(5000):
        history.add(tick * 0.2, {SERIES: tick})
    now = 4999 * 0.2
    assert len(history._samples()) <= SAMPLES_PER_WINDOW + 10 / 0.2 + 3
    assert abs(grown(history, now - 60) - 300) <= 3  # to one thinned sample
    assert grown(history, now - 2) == 10


def test_a_window_that_begins_in_a_long_gap_does_not_reach_behind_it() -> None:
    history = History(window=60, latest=10)
    history.add(0, {SERIES: 0})
    history.add(5, {SERIES: 5})
    history.add(300, {SERIES: 1000})
    history.add(310, {SERIES: 1001})
    assert grown(history, 250) == 1
    assert grown(history, 5) == 996


def test_a_gap_at_the_end_is_no_data() -> None:
    history = History(window=60, latest=10)
    history.add(0, {SERIES: 0})
    history.add(5, {SERIES: 5})
    assert history.window(100, 160).counts == {}


def test_a_clock_set_back_loses_no_growth() -> None:
    history = History(window=60, latest=10)
    for time in range(100, 200):
        history.add(time, {SERIES: time})
    history.add(50, {SERIES: 210})
    history.add(51, {SERIES: 215})
    assert grown(history, 50) == 5
    assert grown(history, 0) == 5


def test_a_pinned_beginning_outlives_the_window() -> None:
    history = History(window=60, latest=10)
    for time in range(0, 1000, 5):
        history.pin(101.0 if time >= 120 else None)
        history.add(time, {SERIES: time})
    window = history.window(101.0, 1000)
    assert (window.counts[SERIES], window.start) == (995 - 105, 105)
    history.pin(995.5)
    assert history.window(995.5, 1000).counts == {}
    history.add(1000, {SERIES: 1000})
    history.add(1005, {SERIES: 1007})
    assert grown(history, 995.5, 1010) == 7


def test_a_fleet_adds_its_targets_and_forgets_ever_new_ones() -> None:
    """A monitor in a restart loop gets a new port each time; what each counted stays in the rollout."""
    fleet = Fleet(window=60, latest=10)
    for turn in range(200):
        now = float(turn)
        fleet.follow((f"t{turn}",), 60, 10, 0.0, now)
        fleet.add(f"t{turn}", now, {SERIES: 0})
        fleet.add(f"t{turn}", now + 0.5, {SERIES: 3})
    assert len(fleet._vanished) <= MOST_VANISHED
    assert grown(fleet, 0.0) == 600
    assert grown(fleet, 170.0) == 90


def test_a_target_that_comes_back_goes_on_where_it_was() -> None:
    fleet = Fleet(window=60, latest=10)
    fleet.follow(("a",), 60, 10, None, 0)
    fleet.add("a", 1, {SERIES: 10})
    fleet.follow((), 60, 10, None, 2)
    fleet.follow(("a",), 60, 10, None, 3)
    fleet.add("a", 4, {SERIES: 15})
    assert grown(fleet, 0) == 5
