"""Turns that settle the inbox's hints: a hint is done when a turn has used an Alertmanager answer newer than it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from seamark_kubernetes.alertmanager import PERIOD, AlertManager
from seamark_kubernetes.inbox import Inbox, Key

__all__ = ["hinted"]

#: As `seamark_kubernetes.loop.Turn`.
Turn = Callable[[Key], Awaitable[float | None]]


def hinted(turn: Turn, inbox: Inbox, alertmanager: AlertManager | None) -> Turn:
    """The same turns. While a deployment has a hint, its next look comes as soon as Alertmanager can be asked again.

    alertmanager: None where none is used; then any turn settles the hints from before it. The three share a clock.
    """

    async def take(key: Key) -> float | None:
        if key not in inbox.pending():
            return await turn(key)
        looked = time.monotonic() if alertmanager is None else await alertmanager.refresh()
        wait = await turn(key)
        if wait is None:
            inbox.done(key)
            return None
        return wait if inbox.done(key, looked) else min(wait, PERIOD)

    return take
