"""Monitors that nothing needs any more run on until the collector has all their predictions.

A revision is retired whenever its time has come, also while the collector is down; what its monitor has on disk then is
delivered later. The definitions stay in the store until that is done, so this goes on after any kill and any restart.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Container, Iterable

from seamark_local import definitions, spools
from seamark_local.home import Home
from seamark_local.spools import SpoolSeen
from seamark_local.store import Process

__all__ = ["MOST", "SETTLE", "Draining"]

log = logging.getLogger("seamark.operator")

#: Monitors that may wait for the collector in this way; with more, the one that has waited longest is ended.
MOST = 16
#: Seconds that a spool must be empty after its predictor's end: the last messages may still be on their way to it.
SETTLE = 3.0


class Draining:
    """Tells when the monitors of one home may end. `clock`: seconds that only grow."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._clock = clock
        self._empty_since: dict[str, float] = {}

    def unfinished(self, monitors: Iterable[Process], running: Container[str]) -> list[Process]:
        """Those of `monitors`, which no revision needs, that must run on. running: names of processes not yet ended."""
        waiting: list[tuple[float, str, Process]] = []
        empty_since = {}
        for monitor in monitors:
            name, seen = monitor.name, self._look(monitor.name)
            if definitions.feeder(name) not in running and not (seen and seen.unsent):
                empty_since[name] = self._empty_since.get(name, self._clock())
                if seen is None or self._clock() - empty_since[name] >= SETTLE:
                    continue
            waiting.append((seen.changed if seen else math.inf, name, monitor))
        self._empty_since = empty_since
        waiting.sort()
        for _, name, _ in waiting[:-MOST]:
            log.error("event=draining_given_up process=%s cause='more than %d wait for the collector'", name, MOST)
        return [monitor for _, _, monitor in waiting[-MOST:]]

    def _look(self, monitor: str) -> SpoolSeen | None:
        folder = definitions.spools_folder(self._home) / definitions.spool_name(monitor)
        try:
            return spools.look(folder)
        except OSError as error:
            # What cannot be told is taken for unsent.
            log.warning("event=spool_unreadable spool=%s error=%r", folder, str(error))
            return SpoolSeen(unsent=1, changed=0.0, rejected=False)
