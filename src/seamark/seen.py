"""What the operator sees: one frozen observation, gathered by a driver, with its time inside.

None means unknown, and unknown holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from seamark.evidence import Evidence

__all__ = ["Alerts", "Command", "JobSeen", "ModelSeen", "RevisionSeen", "RouteSeen", "Seen", "Verb"]

Verb = Literal["promote", "abort", "pause", "resume", "approve"]


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """What spec.model.uri resolves to now; `error` says why it cannot be used, and then digest is empty.

    format: the package's own, as `onnx`; empty while unknown.
    """

    uri: str
    digest: str = ""
    version: str = ""
    error: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class RevisionSeen:
    """A revision being served: how many replicas were asked for and how many answer. `failing` says why not."""

    replicas: int
    ready: int
    failing: str = ""


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """The route the gateway confirmed. weights sum to 100 over revisions; mirror: (revision, percent) or None."""

    weights: Mapping[str, int]
    mirror: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A retraining Job. result is its termination message; package and digest name what it produced."""

    phase: Literal["running", "succeeded", "failed"]
    started: float
    finished: float | None = None
    package: str = ""
    digest: str = ""
    version: str = ""
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alerts:
    """Drift alerts that fire at the alert manager and are not silenced, as (kind, feature).

    firing is None while it does not answer. Where an alert manager is used, people silence and route there: drift is
    acted on only while its alert fires.
    """

    firing: frozenset[tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asked for; ids only grow."""

    id: int
    verb: Verb
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """now: Unix seconds. generation grows with every change of the manifest. alerts: None where none are used."""

    now: float
    generation: int = 1
    model: ModelSeen | None = None
    revisions: Mapping[str, RevisionSeen] = field(default_factory=dict)
    route: RouteSeen | None = None
    evidence: Evidence | None = None
    jobs: Mapping[str, JobSeen] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    alerts: Alerts | None = None
