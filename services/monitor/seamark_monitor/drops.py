"""Predictions that did not reach the log, by reason. Nothing is lost in silence."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal, get_args

__all__ = ["REASONS", "Drops", "Reason", "Senders"]

#: queue_full  the predictor's own queue was full
#: spool_full  the spool reached its limit: the oldest went, or nothing older could go
#: disk        the disk refused the write
#: corrupt     damaged on disk; counts what can be told, at least 1 for each damaged place
#: rejected    the collector can never read the batch; it was set aside
#: invalid     the prediction does not fit the package (sizes, time, id)
#: too_large   more rows or bytes than one log record holds
#: bad_frame   a message on the socket that is none; 1 for each
#: bad_event   a CloudEvent that cannot be read; 1 for each
#: unpaired    a CloudEvent whose other half did not come in time; 1 for each
Reason = Literal[
    "queue_full",
    "spool_full",
    "disk",
    "corrupt",
    "rejected",
    "invalid",
    "too_large",
    "bad_frame",
    "bad_event",
    "unpaired",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class Drops:
    """Counts by reason; every reason is there from the start."""

    def __init__(self) -> None:
        self.by_reason: dict[Reason, int] = dict.fromkeys(REASONS, 0)

    def add(self, reason: Reason, count: int = 1) -> None:
        self.by_reason[reason] += count


class Senders:
    """Turns each sender's own running total of drops into growth."""

    #: Senders remembered; a predictor that restarts is a new one.
    MOST = 256

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def growth(self, sender: str, dropped: int) -> int:
        """How many more than at its last message; a total that fell began at 0 again."""
        last = self._last.pop(sender, 0)
        self._last[sender] = dropped
        if len(self._last) > self.MOST:
            self._last.popitem(last=False)
        return dropped - last if dropped >= last else dropped
