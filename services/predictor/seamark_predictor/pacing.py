"""Whether requests should wait for each other, from what a run of the model costs: measured once, then arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SAMPLE_ROWS", "Costs", "Pace", "measure", "pace"]

#: Seconds that a run may hold the event loop; health checks and other models wait that long.
INLINE = 0.0015
#: Seconds that waiting, joining and splitting cost one of two requests: 6 us, measured; one of 32 it costs 2 us.
JOINING = 7e-6
#: A joined run may take so many seconds, or so many times a run of one row where that is longer.
LONGEST = 0.05
LONGEST_RATIO = 2.0
#: Rows are joined until the fixed part of a run is this share of it: more would wait longer and gain nothing.
NEGLIGIBLE = 0.02
#: Rows of one joined run, whatever it costs.
MOST_ROWS = 1024

#: Rows of the larger of the two runs that `measure` asks for; the other has 1.
SAMPLE_ROWS = 32
#: Each of the two is run so often, or for so many seconds; at least twice, because the first may be slow.
_MOST_RUNS = 10
_LONGEST_SAMPLE = 0.1


@dataclass(frozen=True, slots=True)
class Costs:
    """one, many: seconds of a run of 1 row and of `rows` rows; rows is at least 2."""

    one: float
    many: float
    rows: int

    @property
    def per_row(self) -> float:
        """Seconds that each further row takes."""
        return max(0.0, (self.many - self.one) / (self.rows - 1))

    @property
    def fixed(self) -> float:
        """Seconds that a run takes however few rows it has."""
        return max(0.0, self.one - self.per_row)


@dataclass(frozen=True, slots=True)
class Pace:
    """How requests are run.

    joins: whether those that wait go together. inline_rows: runs of up to so many rows are made on the event loop, 0
    for none; longer ones in a thread. most_rows: rows of a joined run in the thread. linger: seconds that a run in the
    thread may be put off for those that are expected. crowd: requests that must go together, on average, for waiting to
    pay.
    """

    joins: bool
    inline_rows: int
    most_rows: int
    linger: float
    crowd: float


def pace(costs: Costs) -> Pace:
    """The pace for these costs.

    Of n requests that go together each saves (n - 1) / n of a run's fixed cost: that must be more than joining costs.
    """
    joins = costs.fixed > JOINING
    longest = max(LONGEST, LONGEST_RATIO * costs.one)
    enough = costs.fixed / NEGLIGIBLE / costs.per_row if costs.per_row else MOST_ROWS
    return Pace(
        joins=joins,
        inline_rows=_rows_within(INLINE, costs) if costs.one <= INLINE else 0,
        most_rows=max(1, min(_rows_within(longest, costs), int(min(enough, MOST_ROWS)))),
        linger=costs.fixed / 10 if joins else 0.0,
        crowd=costs.fixed / (costs.fixed - JOINING) if joins else 1.0,
    )


def _rows_within(seconds: float, costs: Costs) -> int:
    if not costs.per_row:
        return MOST_ROWS
    return int(min((seconds - costs.fixed) / costs.per_row, MOST_ROWS))


def measure(run: Callable[[int], object], clock: Callable[[], float] = time.perf_counter) -> Costs:
    """What `run(rows)`, one run of the model with so many rows, costs; making the rows is not to be part of it.

    Takes 0.2 seconds, or four runs if those do.
    """
    return Costs(_least(run, 1, clock), _least(run, SAMPLE_ROWS, clock), SAMPLE_ROWS)


def _least(run: Callable[[int], object], rows: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of some runs: the others were disturbed."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < _MOST_RUNS and sum(taken) < _LONGEST_SAMPLE):
        started = clock()
        run(rows)
        taken.append(clock() - started)
    return min(taken)
