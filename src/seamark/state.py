"""What the operator remembers between decisions: small, serialisable, written in one place.

Revisions' phases: Pending -> Shadow -> Canary -> Champion -> Retired, or RolledBack from any phase before Champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Origin", "Phase", "RetrainingState", "Revision", "RolloutState", "Route", "State"]

Phase = Literal["Pending", "Shadow", "Canary", "Champion", "Retired", "RolledBack"]
Origin = Literal["spec", "retraining"]


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable model version. `name` is `<deployment>-<first 8 of digest>`; `version` is the package's own."""

    name: str
    uri: str
    digest: str
    origin: Origin
    created: float
    version: str = ""
    phase: Phase = "Pending"


@dataclass(frozen=True, slots=True)
class Route:
    """Send traffic by weight (whole percents, sum 100) and copy `mirror[1]` percent to `mirror[0]`.

    fallback: who answers a request whose revision cannot; only revisions that users may see.
    match: (header, value) pairs whose requests go to the revision `match_to`, whatever its weight; without pairs it is
    None. sticky: the header that pins a user to an arm.
    """

    weights: Mapping[str, int]
    mirror: tuple[str, int] | None = None
    fallback: str | None = None
    match: tuple[tuple[str, str], ...] = ()
    sticky: str | None = None
    match_to: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutState:
    """A challenger under test.

    step: index into the steps; step_since: when its route was confirmed (None: not yet).
    held: seconds of the step spent before a pause, so that a pause stops the clock.
    ready_since: when the challenger was first ready; evidence runs from there.
    weight: percent that the steps passed so far have earned the challenger; announced: the last that people were told.
    unready_since: when it stopped answering after it had been ready; its traffic is with the champion meanwhile.
    passed: the step's time is over and its verdict was good once; something else stops it.
    doubted: seconds into the step at which an inconclusive verdict began to count; extended: it is counting.
    forced: a person promoted; by, because: who and why, as far as they said. approvers: who approved; approved: they
    are enough.
    """

    challenger: str
    started: float
    step: int = 0
    step_since: float | None = None
    held: float = 0.0
    ready_since: float | None = None
    extended: bool = False
    approved: bool = False
    weight: int = 0
    announced: int = 0
    unready_since: float | None = None
    passed: bool = False
    doubted: float | None = None
    forced: bool = False
    approvers: tuple[str, ...] = ()
    by: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class RetrainingState:
    """Episodes are counted for ever and name the Jobs, so a Job is never started twice.

    cause: what started the running episode, as `feature drift`; since: data to train on begins here.
    starts: times of the last day's starts. failures: in a row, for the backoff.
    blocked: why retraining may not start; waiting: what a due retraining waits for; both empty if nothing.
    scheduled: due times up to this one have been seen to.
    """

    episode: int = 0
    job: str | None = None
    cause: str = ""
    since: float = 0.0
    starts: tuple[float, ...] = ()
    finished: float | None = None
    failures: int = 0
    labels_used: int = 0
    blocked: str = ""
    waiting: str = ""
    scheduled: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One deployment's memory. `model` is the digest that spec.model resolved to when it was last taken up.

    alarms: active ones as (kind, feature). last_command: highest command id already obeyed.
    previous: the champion before, kept warm until `previous_until`.
    route: what the gateway was last asked for, at `route_asked`; asked: other requests not yet seen fulfilled, with
    their times. message: what people should know now; answer: what the last command was answered with, at `answered`.
    """

    revisions: tuple[Revision, ...] = ()
    champion: str | None = None
    previous: str | None = None
    previous_until: float | None = None
    model: str = ""
    generation: int = 0
    rollout: RolloutState | None = None
    retraining: RetrainingState = RetrainingState()
    alarms: tuple[tuple[str, str], ...] = ()
    violations: tuple[tuple[str, str], ...] = ()
    paused: bool = False
    last_command: int = 0
    message: str = ""
    paused_since: float | None = None
    route: Route | None = None
    route_asked: float = 0.0
    asked: tuple[tuple[str, float], ...] = ()
    answer: str = ""
    answered: float = 0.0

    def revision(self, name: str | None) -> Revision | None:
        return next((revision for revision in self.revisions if revision.name == name), None)
