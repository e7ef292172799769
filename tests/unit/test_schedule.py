"""Cron lines: what they mean, in UTC, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark import schedule
from seamark.errors import InvalidSpec


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NEXT = [
    ("* * * * *", "2026-11-21T10:00:30", "2026-11-21T10:01:00"),
    ("*/15 * * * *", "2026-11-21T10:45:00", "2026-11-21T11:00:00"),
    ("0 3 * * 1", "2026-11-21T10:00:00", "2026-11-23T03:00:00"),
    ("30 9,17 * * 1-5", "2026-11-20T17:30:00", "2026-11-23T09:30:00"),
    ("0 0 1 1 *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
    ("0 0 29 2 *", "2026-11-21T00:00:00", "2028-02-29T00:00:00"),
    ("0 0 29 2 *", "2096-02-29T00:00:00", "2104-02-29T00:00:00"),
    ("0 0 * * 0", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
    ("0 0 * * 7", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
    ("0 0 13 * 5", "2026-11-14T00:00:00", "2026-11-20T00:00:00"),
    ("0 0 */2 * 5", "2026-11-21T00:00:00", "2026-11-27T00:00:00"),
    ("10-40/20 0-1 31 12 *", "2026-12-31T00:10:00", "2026-12-31T00:30:00"),
]


@pytest.mark.parametrize(("line", "moment", "due"), NEXT, ids=[f"{line} after {moment}" for line, moment, _ in NEXT])
def test_the_next_due_time_is_the_first_later_one_that_fits(line: str, moment: str, due: str) -> None:
    assert schedule.parse(line, "p").next_after(at(moment)) == at(due)


@given(st.integers(0, 59), st.integers(0, 23), st.floats(0, 4e9))
def test_a_daily_schedule_is_due_within_a_day_at_its_time(minute: int, hour: int, moment: float) -> None:
    due = schedule.parse(f"{minute} {hour} * * *", "p").next_after(moment)
    assert due is not None
    assert 0 < due - moment <= 86400
    assert due % 86400 == hour * 3600 + minute * 60


WRONG = [
    ("", "'' has 0 fields; a schedule has 5: minute hour day month weekday"),
    ("* * * * * *", "'* * * * * *' has 6 fields; a schedule has 5: minute hour day month weekday"),
    ("60 * * * *", "'60' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("* 24 * * *", "'24' is not a hour: *, numbers from 0 to 23, ranges, steps or lists"),
    ("* * 0 * *", "'0' is not a day: *, numbers from 1 to 31, ranges, steps or lists"),
    ("* * * 13 *", "'13' is not a month: *, numbers from 1 to 12, ranges, steps or lists"),
    ("* * * * mon", "'mon' is not a weekday: *, numbers from 0 to 7, ranges, steps or lists"),
    ("5-1 * * * *", "'5-1' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("5- * * * *", "'5-' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("*/0 * * * *", "'*/0' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("*/x * * * *", "'*/x' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("*/ * * * *", "'*/' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("5/10 * * * *", "'5/10' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("1,,2 * * * *", "'' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("-1 * * * *", "'-1' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("٣ * * * *", "'٣' is not a minute: *, numbers from 0 to 59, ranges, steps or lists"),
    ("0 0 31 2 *", "'0 0 31 2 *' never comes: no such day is in these months"),
]


@pytest.mark.parametrize(("line", "problem"), WRONG, ids=[repr(line) for line, _ in WRONG])
def test_a_wrong_line_is_refused_with_its_path_and_what_is_wrong(line: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        schedule.parse(line, "spec.retraining.on[0].schedule")
    assert (error.value.path, error.value.problem) == ("spec.retraining.on[0].schedule", problem)
