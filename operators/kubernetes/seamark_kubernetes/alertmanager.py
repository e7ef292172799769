"""Which drift alerts fire, as Alertmanager's API says it: silenced and inhibited ones do not count.

What the API says is the truth; the webhook only hints that it may have changed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from seamark.errors import Unavailable
from seamark.seen import Alerts
from seamark_kubernetes.fetch import Fetcher
from seamark_kubernetes.secret import read_token

__all__ = ["ALERT", "AlertManager"]

log = logging.getLogger("seamark.operator")

#: The name of the alert that the chart's Prometheus rule raises.
ALERT = "SeamarkDrift"
#: Seconds: between two questions, for an answer, and how long an answer is believed.
PERIOD = 2.0
TIMEOUT = 5.0
BELIEVED = 60.0
#: Seconds that a turn waits for an answer under way. A hanging Alertmanager must not slow a rollback.
PATIENCE = 1.0
#: Bytes of an answer; an alert takes about 700.
LIMIT = 16 * 2**20

_QUERY = {"active": "true", "silenced": "false", "inhibited": "false", "filter": f'alertname="{ALERT}"'}

_Firing = dict[tuple[str, str], frozenset[tuple[str, str]]]


class _Alert(msgspec.Struct, frozen=True, rename="camel"):
    labels: dict[str, str]
    ends_at: Annotated[datetime, Meta(tz=True)] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """asked: when, on the clock that never goes back. ignored: alerts without the labels that they need."""

    asked: float
    firing: _Firing
    ignored: int


class AlertManager:
    """One question serves all deployments. base: address, perhaps with a path; token_file: a bearer token, read anew.

    on_ignored is told after each answer how many firing alerts lack labels. clock: seconds that never go back; now:
    Unix seconds.
    """

    def __init__(
        self,
        base: str,
        token_file: Path | None = None,
        *,
        on_ignored: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fetcher = Fetcher(base, TIMEOUT, LIMIT)
        self._token_file = token_file
        self._on_ignored = on_ignored
        self._clock = clock
        self._now = now
        self._answer: _Answer | None = None
        self._begun = -math.inf
        self._question: asyncio.Task[None] | None = None
        self._problem = ""

    async def close(self) -> None:
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)
        await self._fetcher.close()

    async def alerts(self, namespace: str, name: str) -> Alerts:
        """The deployment's (kind, feature) pairs that fire; unknown (None) without a good answer of the last minute."""
        await self.refresh()
        answer = self._answer
        if answer is None or self._clock() - answer.asked > BELIEVED:
            return Alerts(None)
        return Alerts(answer.firing.get((namespace, name), frozenset()))

    async def refresh(self) -> float:
        """Ask if that is due, and wait a little for the answer.

        Returns when (on `clock`) the newest good answer was asked for, -inf before the first: what changed later is not
        in it.
        """
        self._ask_if_due()
        if self._question is not None and not self._question.done():
            await asyncio.wait({self._question}, timeout=PATIENCE)
        return self._answer.asked if self._answer else -math.inf

    def _ask_if_due(self) -> None:
        is_running = self._question is not None and not self._question.done()
        if not is_running and self._clock() - self._begun >= PERIOD:
            self._begun = self._clock()
            self._question = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        asked = self._begun
        try:
            token = read_token(self._token_file) if self._token_file else None
            found = await self._fetcher.get("/api/v2/alerts", list[_Alert], _QUERY, token)
        except Unavailable as error:
            self._report(str(error))
            return
        self._report("")
        self._take(_answer(asked, found, datetime.fromtimestamp(self._now(), UTC)))

    def _take(self, answer: _Answer) -> None:
        before = self._answer.ignored if self._answer else 0
        if answer.ignored > before:
            log.warning(
                "event=alerts_ignored count=%d cause='missing labels namespace, deployment, kind'", answer.ignored
            )
        self._answer = answer
        if self._on_ignored is not None:
            self._on_ignored(answer.ignored)

    def _report(self, problem: str) -> None:
        """One line when it begins and one when it is over, not one every two seconds."""
        if bool(problem) != bool(self._problem):
            log.warning("event=alertmanager problem=%r", problem)
        self._problem = problem


def _answer(asked: float, alerts: Iterable[_Alert], now: datetime) -> _Answer:
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    ignored = 0
    for alert in alerts:
        if alert.labels.get("alertname") != ALERT or (alert.ends_at is not None and alert.ends_at <= now):
            continue
        key, kind = (
            (alert.labels.get("namespace", ""), alert.labels.get("deployment", "")),
            alert.labels.get("kind", ""),
        )
        if not all((*key, kind)):
            ignored += 1
            continue
        # Prometheus drops empty labels: drift of no single feature comes without that label.
        found.setdefault(key, set()).add((kind, alert.labels.get("feature", "")))
    return _Answer(asked, {key: frozenset(pairs) for key, pairs in found.items()}, ignored)
