"""Retraining: when a new model is trained, what becomes of the Job, and the brakes.

At most one Job runs. Episodes are counted for ever and name the Jobs, and a Job unknown to the driver is asked for
again under the same name: so a crash between the decision and the start neither loses nor doubles it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seamark import schedule
from seamark.actions import Notify, Record, StartRetraining, StopRetraining
from seamark.alarms import active_drift, drift_name
from seamark.evidence import Drift
from seamark.facts import Facts, Turn, finite
from seamark.revisions import add_revision, is_pending, revision_name
from seamark.seen import JobSeen
from seamark.spec import Trigger
from seamark.state import RetrainingState, Revision, State

__all__ = ["cooldown_end", "finish", "job_deadline", "pending_job", "start"]

_DAY = 86400.0
#: The cooldown doubles with every failure up to this (seconds), or stays as it is if longer.
_MAX_BACKOFF = 32 * 3600.0
#: What the driver may need (seconds) beyond the Job's own time before the Job counts as lost.
_GRACE = 300.0

_DIGEST = re.compile(r"[0-9a-f]{8,128}")


@dataclass(frozen=True, slots=True)
class _Demand:
    """Something asks for a retraining on the data since `since`; `waits` says what it lacks, "" if nothing."""

    reason: str
    cause: str
    since: float
    waits: str = ""


# --- starting


def start(facts: Facts, state: State) -> Turn:
    """Starts a Job if something asks for one and nothing stands against it; otherwise says what it waits for."""
    if not facts.spec.retraining.on:
        return _with(state, waiting="", scheduled=None), ()
    state = _with_counts(facts, state)
    demands = [demand for trigger in facts.spec.retraining.on for demand in _demands(facts, state, trigger)]
    chosen = min(demands, key=lambda demand: bool(demand.waits), default=None)
    if chosen is None or state.retraining.job:
        known = facts.evidence(state) is not None
        return (_with(state, waiting="") if known or state.retraining.job else state), ()
    waits = chosen.waits or _brake(facts, state)
    return (_with(state, waiting=waits), ()) if waits else _start(facts, state, chosen)


def _with(state: State, **changes: Any) -> State:
    return replace(state, retraining=replace(state.retraining, **changes))


def _with_counts(facts: Facts, state: State) -> State:
    """Schedules count from when they are first seen, and labels from what is left where old ones were deleted."""
    evidence, old = facts.evidence(state), state.retraining
    used = old.labels_used if evidence is None else min(old.labels_used, evidence.labels_total)
    scheduled = None
    if any(trigger.schedule for trigger in facts.spec.retraining.on):
        scheduled = facts.now if old.scheduled is None else old.scheduled
    return _with(state, scheduled=scheduled, labels_used=used)


def _demands(facts: Facts, state: State, trigger: Trigger) -> list[_Demand]:
    if trigger.drift is not None:
        return _drift_demands(facts, state, trigger.drift)
    if trigger.schedule is not None:
        return _schedule_demands(facts, state, trigger.schedule)
    return _label_demands(facts, state, trigger.new_labels or 0)


def _drift_demands(facts: Facts, state: State, kind: str) -> list[_Demand]:
    """Data from the drifted world only: a score over a window crosses its threshold when the change has come, so what
    is later than `since` is new. Earlier rows would teach the old world and blur the new profile."""
    evidence = facts.evidence(state)
    found = [finding for finding in active_drift(facts, state) if finding.kind == kind]
    if evidence is None or not found:
        return []
    since = min(finding.since for finding in found if finding.since is not None)
    labels, needed = evidence.labels_since_drift, facts.spec.retraining.min_labels
    waits = "" if labels >= needed else f"waiting for labels: {labels} of {needed}"
    return [_Demand(drift_name([kind]), f"{kind} drift{_features(found)}", since, waits)]


def _features(found: list[Drift]) -> str:
    names = [finding.feature for finding in found if finding.feature]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" in {', '.join(names[:3])}{more}" if names else ""


def _schedule_demands(facts: Facts, state: State, text: str) -> list[_Demand]:
    """Due times missed while something stood against them are made up for once."""
    seen_to = state.retraining.scheduled if state.retraining.scheduled is not None else facts.now
    due = schedule.parse(text, "spec.retraining.on").next_after(seen_to)
    if due is None or due > facts.now:
        return []
    return [_Demand("Schedule", f"schedule {text}", _all_data(facts))]


def _label_demands(facts: Facts, state: State, needed: int) -> list[_Demand]:
    evidence = facts.evidence(state)
    if evidence is None or evidence.labels_total - state.retraining.labels_used < needed:
        return []
    return [_Demand("NewLabels", f"{needed} new labels", _all_data(facts))]


def _all_data(facts: Facts) -> float:
    return max(0.0, facts.now - facts.spec.governance.retention)


# --- brakes


def _brake(facts: Facts, state: State) -> str:
    """The first fact that stands against a start; "" if none does."""
    failures, most = state.retraining.failures, facts.spec.retraining.max_per_day
    recent = len(_last_day(facts, state.retraining))
    after = f" after {failures} failures in a row" if failures > 1 else ""
    is_busy = state.rollout is not None or any(is_pending(state, revision) for revision in state.revisions)
    brakes = (
        (state.paused, "waiting for a person to resume"),
        (state.champion is None, "waiting for a champion"),
        (is_busy, "waiting for the running rollout to end"),
        (bool(state.violations), "blocked while the input contract is violated"),
        (facts.now < cooldown_end(facts, state), f"waiting for the cooldown to end{after}"),
        (recent >= most, f"waiting: {recent} retrainings in 24 hours, {most} are allowed"),
    )
    return next((text for stands, text in brakes if stands), "")


def _last_day(facts: Facts, retraining: RetrainingState) -> tuple[float, ...]:
    return tuple(start for start in retraining.starts if facts.now - start < _DAY)


def cooldown_end(facts: Facts, state: State) -> float:
    """Unix seconds when the next Job may start; the cooldown doubles with every failure in a row."""
    cooldown, finished = facts.spec.retraining.cooldown, state.retraining.finished
    if finished is None:
        return 0.0
    doublings = min(state.retraining.failures, 30)  # 2**30 times any cooldown is beyond the cap
    return finished + min(cooldown * 2.0**doublings, max(cooldown, _MAX_BACKOFF))


def _start(facts: Facts, state: State, demand: _Demand) -> Turn:
    assert state.champion is not None  # a brake says so
    old, evidence = state.retraining, facts.evidence(state)
    labels = evidence.labels_total if evidence else old.labels_used
    episode = old.episode + 1
    job = f"{facts.spec.name}-retrain-{episode}"
    new = replace(
        old,
        episode=episode,
        job=job,
        cause=demand.cause,
        since=demand.since,
        starts=(*_last_day(facts, old), facts.now),
        labels_used=labels,
        waiting="",
        scheduled=old.scheduled if old.scheduled is None else facts.now,
    )
    details = {"job": job, "cause": demand.cause, "since": demand.since, "labels": labels}
    return replace(state, retraining=new), (
        Record("StartRetraining", state.champion, demand.reason, details),
        Notify("RetrainingStarted", state.champion, demand.reason, f"{job}: {demand.cause}", details),
    )


def pending_job(facts: Facts, state: State) -> list[StartRetraining]:
    """The Job that should have been started and that the driver does not know."""
    retraining = state.retraining
    if retraining.job is None or state.champion is None or retraining.job in facts.seen.jobs:
        return []
    config = facts.spec.retraining.trainer.config
    return [StartRetraining(retraining.job, state.champion, retraining.since, retraining.cause, config)]


# --- finishing


def job_deadline(facts: Facts, retraining: RetrainingState) -> float:
    """Unix seconds after which a Job that has not ended counts as lost: all its tries, and some grace."""
    limits = facts.spec.retraining
    return retraining.starts[-1] + limits.deadline * (limits.retries + 1) + _GRACE


def finish(facts: Facts, state: State) -> Turn:
    """Takes the Job's result: a new revision, or a failure that leaves the champion untouched."""
    name = state.retraining.job
    if name is None:
        return state, ()
    job = facts.seen.jobs.get(name)
    if job is None or job.phase == "running":
        if facts.now < job_deadline(facts, state.retraining):
            return state, ()
        state, actions = _fail(facts, state, "Failed", "it did not end in time")
        return state, (StopRetraining(name), *actions)
    if job.phase == "failed":
        return _fail(facts, state, "Failed", job.message or "the trainer gave no reason")
    return _take_result(facts, state, job)


def _take_result(facts: Facts, state: State, job: JobSeen) -> Turn:
    if not job.package or not _DIGEST.fullmatch(job.digest):
        problem = job.message or f"its result has package {job.package!r} and digest {job.digest!r}"
        return _fail(facts, state, "Failed", problem)
    known = next((revision for revision in state.revisions if revision.digest == job.digest), None)
    if known is not None and known.phase == "RolledBack":
        return _fail(facts, state, "RolledBackBefore", f"{known.name} was rolled back before")
    if known is not None and known.phase != "Retired":
        return _fail(facts, state, "NoChange", f"the result is {known.name}, which is there already")
    return _succeed(facts, state, job)


def _succeed(facts: Facts, state: State, job: JobSeen) -> Turn:
    revision = Revision(
        revision_name(facts.spec.name, job.digest), job.package, job.digest, "retraining", facts.now, job.version
    )
    details = {key: finite(job.result[key]) for key in ("metrics", "rows", "dataVersion") if key in job.result}
    message = f"{state.retraining.job}: {revision.name} is trained and will be tried"
    event = Notify("RetrainingFinished", revision.name, "Succeeded", message, {"job": state.retraining.job, **details})
    state = replace(state, retraining=_ended(facts, state.retraining))
    return add_revision(state, revision), (event,)


def _fail(facts: Facts, state: State, reason: str, problem: str) -> Turn:
    """Counts for the backoff: a retraining that changes nothing should not be repeated at full speed either."""
    old = state.retraining
    details: Mapping[str, object] = {"job": old.job, "failures": old.failures + 1}
    event = Notify("RetrainingFinished", state.champion or "", reason, f"{old.job}: {problem}", details)
    new = replace(_ended(facts, old), failures=old.failures + 1)
    return replace(state, retraining=new), (event,)


def _ended(facts: Facts, old: RetrainingState) -> RetrainingState:
    return replace(old, job=None, cause="", since=0.0, finished=facts.now)
