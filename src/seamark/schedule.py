"""Cron schedules: `minute hour day month weekday`, in UTC.

Each field takes `*`, numbers, ranges `1-5`, steps `*/15` or `0-30/10`, and lists of these. Weekdays run from 0
(Sunday) to 7 (Sunday again). As in every cron, where neither day nor weekday begins with `*`, one of the two is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from seamark.errors import InvalidSpec

__all__ = ["Schedule", "parse"]

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
#: 29 February comes back after eight years at the latest (around 2100).
_HORIZON_DAYS = 8 * 366 + 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """What fits in each field (weekday 0 is Sunday); either_day: one of day and weekday is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def next_after(self, moment: float) -> float | None:
        """The first due time later than `moment`, both in Unix seconds; None if there is none in eight years."""
        start = datetime.fromtimestamp(moment, UTC)
        for days in range(_HORIZON_DAYS):
            day = start.date() + timedelta(days=days)
            if self._fits(day):
                due = [due for due in self._times(day) if due > moment]
                if due:
                    return min(due)
        return None

    def _fits(self, day: date) -> bool:
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        fits = in_month or in_week if self.either_day else in_month and in_week
        return fits and day.month in self.months

    def _times(self, day: date) -> list[float]:
        midnight = datetime.combine(day, time(), UTC).timestamp()
        return [midnight + hour * 3600 + minute * 60 for hour in self.hours for minute in self.minutes]


def parse(text: str, path: str) -> Schedule:
    """Reads a cron line; raises `InvalidSpec` naming the field that is wrong."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise InvalidSpec(path, f"{text!r} has {len(parts)} fields; a schedule has 5: minute hour day month weekday")
    minutes, hours, days, months, weekdays = (
        _field(part, name, low, high, path) for part, (name, low, high) in zip(parts, _FIELDS, strict=True)
    )
    schedule = Schedule(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either_day=not parts[2].startswith("*") and not parts[4].startswith("*"),
    )
    if schedule.next_after(0.0) is None:
        raise InvalidSpec(path, f"{text!r} never comes: no such day is in these months")
    return schedule


def _field(text: str, name: str, low: int, high: int, path: str) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, last = _span(span, low, high)
        if slash and "-" not in span and span != "*":
            last = -1  # `5/10` is read differently by different crons, so by none here
        if not low <= first <= last <= high or (slash and not (_is_number(step) and int(step) > 0)):
            raise InvalidSpec(
                path, f"{part!r} is not a {name}: *, numbers from {low} to {high}, ranges, steps or lists"
            )
        values.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(values)


def _span(text: str, low: int, high: int) -> tuple[int, int]:
    if text == "*":
        return low, high
    first, dash, last = text.partition("-")
    if _is_number(first) and (not dash or _is_number(last)):
        return int(first), int(last if dash else first)
    return -1, -1


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 2
