"""How long to wait before a process is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]

#: Seconds. The first restart is at once; then this, doubling, up to the longest.
SHORTEST = 0.2
LONGEST = 10.0
#: The same after a mistake that only the user can mend: trying again soon will not help.
SHORTEST_FOR_USER_ERROR = 2.0
LONGEST_FOR_USER_ERROR = 30.0
#: The longest after SIGKILL: somebody or the kernel ended it, so its configuration is not at fault.
LONGEST_IF_KILLED = 0.5
#: Seconds alive after which a process has proven itself and the count starts again.
PROVEN = 30.0


@dataclass(slots=True)
class Backoff:
    """Counts quick failures in a row."""

    failures: int = 0

    def delay(self, lived: float, user_error: bool = False, killed: bool = False) -> float:
        """Seconds to wait now that the process has ended after `lived` seconds."""
        self.failures = 1 if lived >= PROVEN else self.failures + 1
        if self.failures == 1:
            return 0.0
        shortest, longest = SHORTEST, LONGEST
        if killed:
            longest = LONGEST_IF_KILLED
        if user_error:
            shortest, longest = SHORTEST_FOR_USER_ERROR, LONGEST_FOR_USER_ERROR
        # Bounded before raising to a power: the count may grow for weeks.
        return min(longest, shortest * 2.0 ** min(self.failures - 2, 20))
