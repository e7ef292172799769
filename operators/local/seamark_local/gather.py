"""Reads: everything a decision may know, as one `Seen`. Nothing here changes anything, and nothing here decides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from seamark.admission import admit
from seamark.evidence import Evidence
from seamark.seen import JobSeen, ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_local import definitions
from seamark_local.home import Home
from seamark_local.packages import Packages, resolve_model
from seamark_local.store import Manifest, Status, Store
from seamark_local.wanted import Served, load

__all__ = ["Gatherer", "ModelSeen", "job_seen", "ports", "resolve_model", "revision_seen"]

#: Restarts after which a process in backoff counts as failing, not as starting.
PATIENCE = 3
USER_ERROR = 2
#: Seconds an answer of the analyzer is used before it is asked again.
EVIDENCE_AGE = 1.0
EVIDENCE_TIMEOUT = 1.0
MAX_RESULT = 64 * 1024


def revision_seen(name: str, served: Served, statuses: Mapping[str, Status]) -> RevisionSeen:
    """A replica is ready when both its predictor and its monitor are."""
    ready, failing = 0, served.error
    for replica in range(served.replicas):
        pair = [statuses.get(of(name, replica)) for of in (definitions.predictor_name, definitions.monitor_name)]
        ready += all(status is not None and status.phase == "ready" for status in pair)
        failing = failing or next((_complaint(status) for status in pair if status and _fails(status)), "")
    return RevisionSeen(served.replicas, ready, failing)


def _fails(status: Status) -> bool:
    """Will trying again not help? Exit status 2 says so itself; a crash says so when it comes again and again."""
    tried = status.restarts >= PATIENCE or status.exit_status == USER_ERROR
    return status.phase == "failed" or (status.phase == "backoff" and tried)


def _complaint(status: Status) -> str:
    return f"{status.name}: {status.message or f'ended with status {status.exit_status}'}"


def ports(name: str, served: Served, statuses: Mapping[str, Status]) -> tuple[int, ...]:
    """The ports of the revision's ready predictors.

    With none ready, those of all that ever had one: a request then waits, trying, until one is back.
    """
    found = [statuses.get(definitions.predictor_name(name, replica)) for replica in range(served.replicas)]
    known = [status for status in found if status and status.port]
    ready = [status for status in known if status.phase == "ready"]
    return tuple(status.port for status in ready or known)


def job_seen(status: Status | None, packages: Packages) -> JobSeen:
    """What became of a Job. A result that cannot be read, or a package that is not what it says, is a failure."""
    if status is None:
        return JobSeen("running", started=0.0)
    if status.phase == "succeeded":
        return _finished(status, packages)
    if status.phase in ("failed", "stopped"):
        message = _error_of(status.result) or status.message or f"ended with status {status.exit_status}"
        return JobSeen("failed", status.started, status.finished, message=message)
    return JobSeen("running", status.started, message=status.message)


def _finished(status: Status, packages: Packages) -> JobSeen:
    def failed(message: str) -> JobSeen:
        return JobSeen("failed", status.started, status.finished, message=message)

    result = _result(status.result)
    if result is None:
        return failed(f"wrote no readable result: {status.result[:200]!r}")
    model = packages.resolve(result["package"])
    if model.error:
        return failed(model.error)
    if model.digest != result["digest"]:
        return failed(f"wrote a package of digest {model.digest[:12]}...; its result says {result['digest'][:12]!r}...")
    return JobSeen(
        "succeeded",
        status.started,
        status.finished,
        package=model.uri,
        digest=model.digest,
        version=model.version,
        result=result,
    )


def _result(text: str) -> dict[str, Any] | None:
    """A Job's result when it names a package and its digest; None for anything else."""
    document = _mapping(text)
    if isinstance(document.get("package"), str) and isinstance(document.get("digest"), str):
        return document
    return None


def _error_of(text: str) -> str:
    error = _mapping(text).get("error")
    return error[:500] if isinstance(error, str) else ""


def _mapping(text: str) -> dict[str, Any]:
    if len(text) > MAX_RESULT:
        return {}
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class _Answer:
    asked: float
    evidence: Evidence | None


class Gatherer:
    """Gathers for the deployments of one home; remembers resolved packages and the analyzer's last answers."""

    def __init__(self, home: Home, store: Store) -> None:
        self.packages = Packages(home.root)
        self._store = store
        self._client = httpx.Client(timeout=EVIDENCE_TIMEOUT, trust_env=False)
        self._answers: dict[str, _Answer] = {}

    def close(self) -> None:
        self._client.close()

    def seen(
        self, manifest: Manifest, spec: ModelDeployment, state: State, route: RouteSeen | None, now: float
    ) -> Seen:
        """The deployment at `now` (Unix seconds); `route` is what the gateway confirmed."""
        statuses = self._store.statuses()
        wanted = load(self._store, spec.name)
        jobs = set(definitions.jobs(self._store.desired(), spec.name))
        # A Job that could not even be started has no process, but a status that says why.
        if state.retraining.job and definitions.trainer_name(state.retraining.job) in statuses:
            jobs.add(state.retraining.job)
        return Seen(
            now=now,
            generation=manifest.generation,
            model=admit(self.packages.resolve(spec.model.uri), spec.model),
            revisions={name: revision_seen(name, served, statuses) for name, served in wanted.serving.items()},
            route=route,
            evidence=self.evidence(spec.name, definitions.port(statuses, "analyzer")),
            jobs={job: job_seen(statuses.get(definitions.trainer_name(job)), self.packages) for job in sorted(jobs)},
            commands=self._store.commands(spec.name, state.last_command),
        )

    def evidence(self, name: str, port: int) -> Evidence | None:
        """The analyzer's evidence; None while it does not answer, or answers what cannot be read."""
        known = self._answers.get(name)
        started = time.monotonic()
        if known and started - known.asked < EVIDENCE_AGE:
            return known.evidence
        evidence = self._ask(name, port) if port else None
        self._answers[name] = _Answer(started, evidence)
        return evidence

    def _ask(self, name: str, port: int) -> Evidence | None:
        try:
            answer = self._client.get(f"http://127.0.0.1:{port}/v1/models/{name}/evidence").raise_for_status()
            return msgspec.json.decode(answer.content, type=Evidence)
        except (httpx.HTTPError, msgspec.MsgspecError, RecursionError):
            return None
