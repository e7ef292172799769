"""Looking for the next request without going to sleep, for a moment after an answer.

A core that sleeps takes tens of microseconds to wake, and comes back with cold caches: where a client asks again as
soon as it was answered, that is a third of what it waits for, and costs more of the processor than looking does. Where
nobody asks within the moment, looking is tried more and more rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

__all__ = ["LONGEST", "Poller"]

#: Seconds: a core that looked for longer would cost more than it gains.
LONGEST = 0.001
#: After a moment in vain so many answers pass without one: one more than twice as many each time, at most so many.
_MOST_PASSED = 255


class Poller:
    """On the event loop. seconds: the moment; 0 for none.

    While something is due at once the loop does not sleep, so that is what `_look` is: due again until it ends.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        self._seconds = seconds
        self._clock = clock
        #: Requests that ever came, and those that are not answered.
        self.came = self.under_way = 0
        self._seen = 0
        self._until = 0.0
        self._pass = self._passing = 0
        self._looks = False

    def asked(self) -> None:
        """A request has come; `answered` or `dropped` follows."""
        self.came += 1
        self.under_way += 1

    def dropped(self) -> None:
        """A request will not be answered."""
        self.under_way -= 1

    def answered(self) -> None:
        """Looks for the next request where that has been worth it."""
        self.under_way -= 1
        if self._looks or not self._seconds:
            return
        if self._passing:
            self._passing -= 1
            return
        self._looks = True
        self._begin()

    def _begin(self) -> None:
        self._seen = self.came
        self._until = self._clock() + self._seconds
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if self.came != self._seen:
            self._pass = self._passing = self._pass >> 1
            if self._passing or self.under_way:
                self._looks = False
            else:
                self._begin()
        elif self._clock() < self._until:
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self._pass = self._passing = min(2 * self._pass + 1, _MOST_PASSED)
            self._looks = False
