"""What a decision asks a driver to do. Every action is idempotent: doing it again changes nothing.

A driver applies them in order with one `match` and `assert_never`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from seamark.state import Route, State

__all__ = [
    "Action",
    "Decision",
    "EventKind",
    "Notify",
    "Outcome",
    "Promote",
    "Record",
    "Retire",
    "RollBack",
    "Route",
    "Serve",
    "StartRetraining",
    "StopRetraining",
    "Verdict",
]

EventKind = Literal[
    "Deployed",
    "Alarm",
    "AlarmCleared",
    "RetrainingStarted",
    "RetrainingFinished",
    "RetrainingBlocked",
    "ShadowStarted",
    "WeightChanged",
    "Promoted",
    "RolledBack",
    "ContractViolated",
]
Outcome = Literal["Better", "Worse", "Equivalent", "Inconclusive"]


@dataclass(frozen=True, slots=True)
class Serve:
    """Run `replicas` of the revision."""

    revision: str
    uri: str
    digest: str
    replicas: int


@dataclass(frozen=True, slots=True)
class StartRetraining:
    """Start the Job with this name unless a Job of this name was ever started."""

    job: str
    champion: str
    since: float
    cause: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StopRetraining:
    job: str


@dataclass(frozen=True, slots=True)
class Promote:
    """The revision becomes the champion (move the registry alias, say); traffic is already on it."""

    revision: str
    previous: str | None


@dataclass(frozen=True, slots=True)
class RollBack:
    """The challenger is given up; traffic is already asked back to the champion."""

    revision: str
    champion: str | None


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop serving the revision; it carries no traffic any more."""

    revision: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people: one event."""

    kind: EventKind
    revision: str
    reason: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """Write to the audit trail what was decided about a revision, and from which evidence."""

    what: str
    revision: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


Action = Serve | Route | StartRetraining | StopRetraining | Promote | RollBack | Retire | Notify | Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates say. `gates` holds each gate's own outcome and message, in the manifest's order."""

    outcome: Outcome
    reason: str
    message: str
    gates: tuple[tuple[str, Outcome, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The new memory, what to do, what the gates say, and when to look again (seconds)."""

    state: State
    actions: tuple[Action, ...] = ()
    verdict: Verdict | None = None
    wake_after: float = 60.0
