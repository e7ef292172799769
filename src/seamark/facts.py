"""What a decision is made from: the manifest, the observation, and what the two mean together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from seamark import gates
from seamark.actions import Action, Verdict
from seamark.evidence import Evidence
from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import State

__all__ = ["ALPHA", "Facts", "Turn", "finite"]

#: What a part of the decision returns: the memory after it, and what is to be done.
Turn = tuple[State, tuple[Action, ...]]

#: Accepted rate of wrong verdicts per rollout.
ALPHA = 0.05
#: Evidence older than this (seconds), and than two evaluations, says nothing about now.
_STALE_AFTER = 60.0
#: Clocks of two processes may differ by this much (seconds) about when the challenger became ready.
_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class Facts:
    spec: ModelDeployment
    seen: Seen

    @property
    def now(self) -> float:
        return self.seen.now

    def is_ready(self, name: str) -> bool:
        """At least one replica answers."""
        revision = self.seen.revisions.get(name)
        return revision is not None and revision.ready > 0

    def is_full(self, name: str) -> bool:
        """All replicas answer: it may be given more traffic."""
        revision = self.seen.revisions.get(name)
        return revision is not None and revision.ready >= self.spec.serving.replicas

    def failing(self, name: str) -> str:
        """Why the revision does not answer; "" if it does or the cause is unknown."""
        revision = self.seen.revisions.get(name)
        return "" if revision is None or revision.ready else revision.failing

    def evidence(self, state: State) -> Evidence | None:
        """The evidence, unless it is old or about another champion."""
        evidence = self.seen.evidence
        if evidence is None or self.now - evidence.time > max(_STALE_AFTER, 2 * self.spec.monitoring.interval):
            return None
        if evidence.champion is not None and evidence.champion.revision != state.champion:
            return None
        return evidence

    def verdict(self, state: State) -> Verdict | None:
        """What the gates say about the running challenger; None while nothing is known about it.

        Evidence from before this challenger was ready belongs to another try. No gates need no evidence.
        """
        rollout = state.rollout
        if rollout is None or rollout.ready_since is None:
            return None
        if not self.spec.rollout.gates:
            return gates.judge((), None, alpha=ALPHA)
        evidence = self.evidence(state)
        arm = evidence.challenger if evidence else None
        if evidence is None or arm is None or arm.revision != rollout.challenger:
            return None
        if arm.since < rollout.ready_since - _TOLERANCE:
            return None
        return gates.judge(self.spec.rollout.gates, evidence, alpha=ALPHA)


def finite(value: object) -> object:
    """The same value with NaN and infinities as None, which JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
