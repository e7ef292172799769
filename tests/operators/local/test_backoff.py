"""Restarts come at once, then ever more slowly, and start over once a process has proven itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamark_local.backoff import LONGEST, LONGEST_FOR_USER_ERROR, PROVEN, Backoff


def test_the_first_restart_is_at_once_and_then_the_wait_doubles_up_to_ten_seconds() -> None:
    backoff = Backoff()
    assert [backoff.delay(0.1) for _ in range(9)] == [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_users_mistake_waits_longer() -> None:
    backoff = Backoff()
    assert [backoff.delay(0.1, user_error=True) for _ in range(7)] == [0.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_killed_process_never_waits_longer_than_half_a_second() -> None:
    backoff = Backoff()
    assert [backoff.delay(0.1, killed=True) for _ in range(6)] == [0.0, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_a_process_that_has_proven_itself_is_restarted_at_once() -> None:
    backoff = Backoff(failures=10)
    assert backoff.delay(PROVEN - 0.1) > 0
    assert backoff.delay(PROVEN) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=50), st.integers(0, 10**9))
def test_a_wait_is_never_negative_and_never_beyond_the_longest(lives: list[tuple[float, bool]], failures: int) -> None:
    backoff = Backoff(failures)
    for lived, user_error in lives:
        longest = LONGEST_FOR_USER_ERROR if user_error else LONGEST
        assert 0.0 <= backoff.delay(lived, user_error) <= longest
