"""The analyzer's evidence about a deployment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from seamark.errors import Unavailable
from seamark.evidence import Evidence
from seamark_kubernetes.fetch import Fetcher

__all__ = ["Evidences"]

#: Seconds: an answer, and how long it is used again.
TIMEOUT = 2.0
KEPT = 1.0
#: Bytes of an answer: thousands of features, with room.
LIMIT = 4 * 2**20


@dataclass(frozen=True, slots=True)
class _Answer:
    asked: float
    evidence: Evidence | None


class Evidences:
    """base: the analyzer's address. clock: seconds that never go back."""

    def __init__(self, base: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = Fetcher(base, TIMEOUT, LIMIT)
        self._clock = clock
        self._answers: dict[tuple[str, str], _Answer] = {}

    async def close(self) -> None:
        await self._fetcher.close()

    async def get(self, namespace: str, name: str) -> Evidence | None:
        """None while the analyzer does not answer, does not know the deployment, or says what cannot be read."""
        self._forget_old()
        key = (namespace, name)
        known, asked = self._answers.get(key), self._clock()
        if known is not None and asked - known.asked < KEPT:
            return known.evidence
        evidence = await self._ask(namespace, name)
        self._answers.pop(key, None)
        self._answers[key] = _Answer(asked, evidence)
        return evidence

    async def _ask(self, namespace: str, name: str) -> Evidence | None:
        try:
            return await self._fetcher.get(f"/v1/models/{namespace}/{name}/evidence", Evidence)
        except Unavailable:
            return None

    def _forget_old(self) -> None:
        """Without this a deleted deployment's answer would stay for ever. The oldest stand first, more or less."""
        while self._answers:
            key, answer = next(iter(self._answers.items()))
            if self._clock() - answer.asked < KEPT:
                return
            del self._answers[key]
