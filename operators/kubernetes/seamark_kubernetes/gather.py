"""Reads: everything a decision may know, as one `Seen`. Nothing here changes anything, and nothing here decides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from seamark.admission import admit
from seamark.errors import InvalidSpec
from seamark.evidence import Evidence
from seamark.seen import Alerts, JobSeen, ModelSeen, RevisionSeen, RouteSeen, Seen
from seamark.spec import ModelDeployment
from seamark_kubernetes import commands, names, observe, pvc, routes
from seamark_kubernetes.api import (
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    JOB,
    MODEL_REVISION,
    POD,
    STATE,
    Document,
    Kind,
    Owner,
)
from seamark_kubernetes.commands import Asked
from seamark_kubernetes.memory import Memory, Resolved, is_foreign
from seamark_kubernetes.refusals import Refusals

__all__ = ["RESOLVE_AGAIN", "Cache", "Gathered", "Gatherer", "Key", "generation"]

#: (namespace, name) of a ModelDeployment.
Key = tuple[str, str]

#: Seconds after which a package that could not be read is looked at again.
RESOLVE_AGAIN = 300.0

#: Seconds that a pod may be seen to end after its Job was.
_POD_LAG = 10.0
#: Everything that hangs on a ModelDeployment itself; pods hang on something between.
_OWNED = (STATE, MODEL_REVISION, INFERENCE_SERVICE, HTTP_ROUTE, JOB)
#: Kubernetes puts it on the pods of a Job.
_JOB_NAME = "batch.kubernetes.io/job-name"


class Cache(Protocol):
    """The newest known objects (`seamark_kubernetes.watch.Cluster`)."""

    @property
    def synced(self) -> bool: ...

    @property
    def deployments(self) -> dict[Key, Document]: ...

    def objects(self, kind: Kind, key: Key) -> list[Document]: ...

    def find(self, kind: Kind, key: Key, name: str) -> Document | None: ...


class Evidences(Protocol):
    async def get(self, namespace: str, name: str) -> Evidence | None: ...


class AlertManager(Protocol):
    async def alerts(self, namespace: str, name: str) -> Alerts: ...


class Confirmer(Protocol):
    async def confirmed(self, owner: Owner, document: Document) -> bool: ...

    def problem(self, owner: Owner) -> str: ...

    def forget(self, owner: Owner) -> None: ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """seen: what is decided from. asked: the annotated command. resolved: what the memory is to keep of the model's
    address. start: the nonce of the Job that must look at that address; None if none is needed. problem: why the
    route is not confirmed, "" if that is unknown.
    """

    seen: Seen
    asked: Asked = field(default_factory=Asked)
    resolved: Resolved | None = None
    start: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Model:
    """seen: None while it is being found out; the others as in `Gathered`."""

    seen: ModelSeen | None
    resolved: Resolved | None = None
    start: str | None = None


class Gatherer:
    """alerts: None where no Alertmanager is used. refusals: what the API server would not take from the Applier."""

    def __init__(
        self,
        cluster: Cache,
        evidences: Evidences,
        confirmer: Confirmer,
        alerts: AlertManager | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._cluster = cluster
        self._evidences = evidences
        self._confirmer = confirmer
        self._alerts = alerts
        self._refusals = refusals or Refusals()

    async def gather(
        self, owner: Owner, document: Document, spec: ModelDeployment, memory: Memory, now: float
    ) -> Gathered:
        """The deployment at `now` (Unix seconds)."""
        key = (owner.namespace, owner.name)
        # Three questions to others than the API server; each is bounded in time, and none waits for another.
        evidence, alerts, route = await asyncio.gather(
            self._evidences.get(*key), self._firing(key), self._route(owner, key)
        )
        # All else is in the cache: read at one moment, after the waiting.
        pods = self._cluster.objects(POD, key)
        model = self._model(owner, document, spec, memory, now)
        asked = commands.read(document, memory)
        seen = Seen(
            now=now,
            generation=generation(document),
            model=model.seen,
            revisions=self._revisions(key, pods, now),
            route=route,
            evidence=evidence,
            jobs=self._training(key, pods, now),
            commands=(asked.command,) if asked.command else (),
            alerts=alerts,
        )
        problem = "" if route else self._confirmer.problem(owner)
        return Gathered(seen, asked, model.resolved, model.start, problem)

    def forget(self, owner: Owner) -> None:
        """A deployment that is gone."""
        self._confirmer.forget(owner)
        self._refusals.forget((owner.namespace, owner.name))

    def foreign(self, owner: Owner) -> list[str]:
        """Objects, as `Kind/name`, that an earlier ModelDeployment of this name left and that are being removed."""
        key = (owner.namespace, owner.name)
        return [
            f"{kind.kind}/{found['metadata']['name']}"
            for kind in _OWNED
            for found in self._cluster.objects(kind, key)
            if is_foreign(found, owner)
        ]

    async def _firing(self, key: Key) -> Alerts | None:
        return await self._alerts.alerts(*key) if self._alerts else None

    async def _route(self, owner: Owner, key: Key) -> RouteSeen | None:
        """The route, once the gateway shows that it obeys it."""
        found = self._cluster.find(HTTP_ROUTE, key, names.route(owner.name))
        if found is None or not await self._confirmer.confirmed(owner, found):
            return None
        return routes.route_seen(found)

    def _revisions(self, key: Key, pods: Sequence[Document], now: float) -> dict[str, RevisionSeen]:
        found = {
            service["metadata"]["name"]: observe.revision_seen(service, _of(pods, names.REVISION, service), now)
            for service in self._cluster.objects(INFERENCE_SERVICE, key)
        }
        return self._refusals.revisions(key, {name: seen for name, seen in found.items() if seen is not None})

    def _training(self, key: Key, pods: Sequence[Document], now: float) -> dict[str, JobSeen]:
        jobs = [job for job in self._cluster.objects(JOB, key) if _role(job) == "training"]
        found = {job["metadata"]["name"]: _job_seen(job, _of(pods, _JOB_NAME, job), now) for job in jobs}
        return self._refusals.jobs(key, found)

    # --- the model

    def _model(self, owner: Owner, document: Document, spec: ModelDeployment, memory: Memory, now: float) -> _Model:
        """What spec.model is, from the manifest, the memory or a Job's result; and whether a Job must find out."""
        wish = spec.model
        try:
            pvc.parse(wish.uri)
        except InvalidSpec as error:
            return _Model(ModelSeen(wish.uri, error=str(error)), memory.resolved)
        if wish.digest is not None:
            # The predictor checks that the package has this digest; what the manifest does not say is not known.
            given = ModelSeen(wish.uri, wish.digest, format=wish.format or "")
            return _Model(admit(given, wish), memory.resolved)
        found = self._resolve(owner, document, wish.uri, memory.resolved, now)
        return _Model(admit(found.seen, wish) if found.seen else None, found.resolved, found.start)

    def _resolve(self, owner: Owner, document: Document, uri: str, known: Resolved | None, now: float) -> _Model:
        nonce = (document["metadata"].get("annotations") or {}).get(names.RESOLVE, "")
        is_same = known is not None and (known.model.uri, known.nonce) == (uri, nonce)
        if known is not None and is_same and not _is_to_repeat(known, document, now):
            return _Model(known.model, known)
        # An error stays in sight until there is something newer to say.
        shown = known.model if known and is_same else None
        count = known.count if known else 0
        mark = f"{nonce}#{count}" if count else nonce
        key = (owner.namespace, owner.name)
        job = self._cluster.find(JOB, key, names.resolve_job(owner.name, uri, mark))
        if job is None:
            return _Model(shown, known, start=mark)
        pods = _of(self._cluster.objects(POD, key), _JOB_NAME, job)
        result = observe.model_seen(job, pods, uri, now)
        if result is None or _is_ahead(job, pods, now):
            return _Model(shown, known)
        if not (_ended(job, "Complete") or _ended(job, "Failed")):
            return _Model(result, known)  # stuck, says why, and may yet end well
        return _Model(result, Resolved(result, nonce, generation(document), now, count + 1))


def generation(document: Document) -> int:
    """Grows with every change of the manifest."""
    return int(document["metadata"].get("generation", 1))


def _is_to_repeat(known: Resolved, document: Document, now: float) -> bool:
    """A package that could not be read is looked at again when the manifest changes, and every few minutes."""
    if not known.model.error:
        return False
    return known.generation != generation(document) or not 0 <= now - known.time < RESOLVE_AGAIN


def _job_seen(job: Document, pods: Sequence[Document], now: float) -> JobSeen:
    seen = observe.job_seen(job, pods)
    return JobSeen("running", seen.started) if _is_ahead(job, pods, now) else seen


def _is_ahead(job: Document, pods: Sequence[Document], now: float) -> bool:
    """Has the Job been seen to succeed, and its pod not yet? The pod holds the result, and comes by another watch."""
    ended = _ended(job, "Complete")
    if ended is None or any((pod.get("status") or {}).get("phase") == "Succeeded" for pod in pods):
        return False
    return now - datetime.fromisoformat(ended["lastTransitionTime"]).timestamp() < _POD_LAG


def _ended(job: Document, how: str) -> Document | None:
    found = (job.get("status") or {}).get("conditions") or []
    return next((one for one in found if one["type"] == how and one["status"] == "True"), None)


def _role(found: Document) -> str:
    return str((found["metadata"].get("labels") or {}).get(names.ROLE, ""))


def _of(pods: Sequence[Document], label: str, found: Document) -> list[Document]:
    """The pods whose label bears the object's name."""
    name = found["metadata"]["name"]
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == name]
