"""Applies what was committed, one action at a time, so that one that fails stops no other.

What fails is asked for again by a later decision, for as long as it is wanted. Until then people are told.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Protocol

from seamark.actions import Action, Notify, Promote, Record, RollBack, StopRetraining
from seamark.errors import InvalidSpec, SeamarkError
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark.traffic import ask_again
from seamark_kubernetes import fault
from seamark_kubernetes.api import Owner
from seamark_kubernetes.conditions import Trouble

__all__ = ["Applier", "Effects", "fault_name"]

log = logging.getLogger("seamark.operator")

#: Seconds that a trouble is told after it was last met: several times as long as the next try takes.
_TOLD = 10.0


class Applier(Protocol):
    """Makes actions true (`seamark_kubernetes.apply.Applier`); raises `SeamarkError`."""

    async def apply(self, owner: Owner, spec: ModelDeployment, state: State, actions: Iterable[Action]) -> None: ...

    async def resolve(self, owner: Owner, spec: ModelDeployment, nonce: str) -> None: ...


def fault_name(action: Action) -> str:
    """The fault point of an action: `StartRetraining` is `start_retraining`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()


@dataclass(slots=True)
class _Met:
    trouble: Trouble
    first: float
    last: float


class Effects:
    """One deployment's effects, and what stood against them lately."""

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
        self._met: dict[str, _Met] = {}
        self._resolving: tuple[str, float] | None = None

    async def apply(
        self, owner: Owner, spec: ModelDeployment, state: State, actions: Iterable[Action], now: float
    ) -> None:
        """Apply the actions that change something outside; the outbox tells the others."""
        for action in actions:
            # A promotion's traffic is there already, and a rollback's was asked for by a Route.
            if not isinstance(action, Notify | Record | StopRetraining | Promote | RollBack):
                name = fault_name(action)
                fault.point(f"{name}:before")
                await self._try(name, owner, self._applier.apply(owner, spec, state, (action,)), now)
                fault.point(f"{name}:after")

    async def stop(self, owner: Owner, spec: ModelDeployment, state: State, job: str, now: float) -> bool:
        """Stop a retraining; False if it must be tried again."""
        action = StopRetraining(job)
        fault.point("stop_retraining:before")
        done = await self._try(fault_name(action), owner, self._applier.apply(owner, spec, state, (action,)), now)
        fault.point("stop_retraining:after")
        return done

    async def resolve(self, owner: Owner, spec: ModelDeployment, nonce: str, now: float) -> None:
        """Start the Job that reads spec.model.uri, unless it was just asked for."""
        mark = f"{spec.model.uri}\n{nonce}"
        if self._resolving and self._resolving[0] == mark and not ask_again(now, self._resolving[1]):
            return
        self._resolving = (mark, now)
        await self._try("resolve", owner, self._applier.resolve(owner, spec, nonce), now)

    def troubles(self, now: float) -> list[Trouble]:
        """What stands in the way. What may pass by itself counts when it is met again."""
        return [
            met.trouble
            for met in self._met.values()
            if 0 <= now - met.last < _TOLD and (met.trouble.stalls or met.last > met.first)
        ]

    async def _try(self, name: str, owner: Owner, effect: Awaitable[None], now: float) -> bool:
        try:
            await effect
        except SeamarkError as error:
            self._meet(name, owner, error, now)
            return False
        self._met.pop(name, None)
        return True

    def _meet(self, name: str, owner: Owner, error: SeamarkError, now: float) -> None:
        stalls = isinstance(error, InvalidSpec)
        before = self._met.get(name)
        first = before.first if before and 0 <= now - before.last < _TOLD else now
        self._met[name] = _Met(Trouble("Refused" if stalls else "NotApplied", str(error), stalls), first, now)
        log.warning(
            "event=not_applied deployment=%s/%s action=%s cause=%r", owner.namespace, owner.name, name, str(error)
        )
