"""A cluster in memory: the API, a cache of it that can be stopped, KServe and the Job controller in a few lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from seamark.actions import Decision
from seamark.evidence import Evidence
from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_kubernetes import fault, names
from seamark_kubernetes.api import (
    EVENT,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    JOB,
    MODEL_DEPLOYMENT,
    MODEL_REVISION,
    POD,
    STATE,
    Document,
    Kind,
    Owner,
)
from seamark_kubernetes.apply import Applier
from seamark_kubernetes.effects import Applier as Applying
from seamark_kubernetes.gather import Gatherer, Key
from seamark_kubernetes.outbox import timestamp
from seamark_kubernetes.refusals import Refusals
from seamark_kubernetes.settings import Images, Settings
from seamark_kubernetes.testing import FakeApi
from seamark_kubernetes.turn import Decide, Turns

KEY = ("shop", "churn")
SETTINGS = Settings(images=Images("predictor:1", "monitor:1", "trainer:1"))


class Killed(BaseException):
    """The process dies here: nothing after it runs."""


class Mirror:
    """A cache that always has the newest, but for the kinds that are frozen."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self._frozen: dict[Kind, list[Document]] = {}
        self.synced = True

    def freeze(self, *kinds: Kind) -> None:
        self._frozen = {kind: self._api.all(kind) for kind in kinds}

    def thaw(self) -> None:
        self._frozen = {}

    @property
    def deployments(self) -> dict[Key, Document]:
        found = self._frozen.get(MODEL_DEPLOYMENT, self._api.all(MODEL_DEPLOYMENT))
        return {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in found}

    def objects(self, kind: Kind, key: Key) -> list[Document]:
        return [
            one
            for one in self._frozen.get(kind, self._api.all(kind))
            if one["metadata"]["namespace"] == key[0] and one["metadata"]["labels"][names.DEPLOYMENT] == key[1]
        ]

    def find(self, kind: Kind, key: Key, name: str) -> Document | None:
        return next((one for one in self.objects(kind, key) if one["metadata"]["name"] == name), None)


class Gateway:
    """Confirms every route, unless it is down."""

    def __init__(self) -> None:
        self.is_down = False

    async def confirmed(self, owner: Owner, document: Document) -> bool:
        return not self.is_down

    def problem(self, owner: Owner) -> str:
        return "the gateway is down" if self.is_down else ""

    def forget(self, owner: Owner) -> None:
        pass


class Analyzer:
    def __init__(self) -> None:
        self.evidence: Evidence | None = None

    async def get(self, namespace: str, name: str) -> Evidence | None:
        return self.evidence


@dataclass
class World:
    """Everything outside of the operator; it survives every death of it. now: Unix seconds."""

    api: FakeApi
    cache: Mirror
    gateway: Gateway
    analyzer: Analyzer
    now: float = 1_780_000_000.0
    #: Packages by path on the claim: what a resolving Job finds there.
    packages: dict[str, Document] | None = None

    def operator(self, decide: Decide | None = None, applier: Applying | None = None) -> Turns:
        """A process that has just started."""
        refusals = Refusals()
        gatherer = Gatherer(self.cache, self.analyzer, self.gateway, None, refusals)
        applying = applier or Applier(self.api, SETTINGS, refusals, lambda: self.now)
        more: dict[str, Any] = {} if decide is None else {"decide": decide}
        return Turns(SETTINGS, self.api, self.cache, applying, gatherer, clock=lambda: self.now, **more)

    def turn(self, turns: Turns, times: int = 1, seconds: float = 1.0) -> float | None:
        """Turns with the clock moving on, and the cluster doing its part, before each."""
        wait: float | None = None
        for _ in range(times):
            self.now += seconds
            self.settle()
            wait = asyncio.run(turns.turn(KEY))
        return wait

    def survive(self, turns: Turns, times: int, seconds: float = 1.0) -> Turns:
        """Turns of a process that may die, and is then started again; returns the one that is alive at the end."""
        for _ in range(times):
            try:
                self.turn(turns, seconds=seconds)
            except Killed:
                turns = self.operator()
        return turns

    # --- people

    def submit(self, path: str = "v1", annotations: dict[str, str] | None = None, **spec: Any) -> Document:
        """kubectl apply."""
        spec = {"model": {"uri": f"pvc://models/{path}"}, "rollout": {"strategy": "direct"}, **spec}
        if KEY in self.cache.deployments:
            return self.api.edit(MODEL_DEPLOYMENT, *KEY, lambda found: found.update(spec=spec))
        metadata = {"name": KEY[1], "namespace": KEY[0], "annotations": annotations or {}}
        document = {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "metadata": metadata,
            "spec": spec,
        }
        return asyncio.run(self.api.create(MODEL_DEPLOYMENT, KEY[0], document))

    def annotate(self, **annotations: str) -> None:
        """kubectl annotate; command and the like stand for their full names."""
        full = {f"seamark.dev/{name}": value for name, value in annotations.items()}

        def change(found: Document) -> None:
            found["metadata"].setdefault("annotations", {}).update(full)

        self.api.edit(MODEL_DEPLOYMENT, *KEY, change)

    # --- the cluster

    def settle(self) -> None:
        """KServe starts and ends pods, Jobs end."""
        services = {one["metadata"]["name"]: one for one in self.api.all(INFERENCE_SERVICE)}
        for pod in self.api.all(POD):
            revision = pod["metadata"]["labels"].get(names.REVISION)
            if revision is not None and revision not in services:
                self.api.remove(POD, KEY[0], pod["metadata"]["name"])
        for service in services.values():
            for replica in range(service["spec"]["predictor"]["minReplicas"]):
                self._start_pod(service, replica)
        for job in self.api.all(JOB):
            if job["metadata"]["labels"][names.ROLE] == "resolve" and not job.get("status"):
                self._end_job(job)

    def _start_pod(self, service: Document, replica: int) -> None:
        name = f"{service['metadata']['name']}-predictor-{replica}"
        if name in [pod["metadata"]["name"] for pod in self.api.all(POD)]:
            return
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        self._pod(name, service["metadata"]["labels"], status)

    def _pod(self, name: str, labels: Document, status: Document) -> None:
        metadata = {"name": name, "namespace": KEY[0], "labels": labels}
        asyncio.run(self.api.create(POD, KEY[0], {"metadata": metadata}))
        self.api.edit(POD, KEY[0], name, lambda found: found.update(status=status))

    def _end_job(self, job: Document) -> None:
        path = job["spec"]["template"]["spec"]["containers"][0]["command"][-1].rpartition("/")[2]
        package = (self.packages or {}).get(path)
        self.end(job["metadata"]["name"], package or {"error": f"there is no folder {path}"}, well=package is not None)

    def end(self, name: str, result: Document, *, well: bool = True) -> None:
        """A Job ends with this result."""
        job = next(one for one in self.api.all(JOB) if one["metadata"]["name"] == name)
        how = {"type": "Complete" if well else "Failed", "status": "True", "lastTransitionTime": timestamp(self.now)}
        labels = {**job["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        ended = {"exitCode": 0 if well else 2, "message": json.dumps(result)}
        status = {"phase": "Succeeded" if well else "Failed"}
        self._pod(name, labels, status | {"containerStatuses": [{"name": "main", "state": {"terminated": ended}}]})
        times = {"startTime": timestamp(self.now), "completionTime": timestamp(self.now)}
        self.api.edit(JOB, KEY[0], name, lambda found: found.update(status={**times, "conditions": [how]}))

    # --- what can be seen from outside

    @property
    def status(self) -> Document:
        found: Document = self.cache.deployments[KEY].get("status", {})
        return found

    def condition(self, kind: str) -> Document:
        return next((one for one in self.status.get("conditions", []) if one["type"] == kind), {})

    @property
    def state(self) -> Document:
        """The ModelDeploymentState."""
        return self.api.all(STATE)[0]

    @property
    def events(self) -> list[str]:
        return [one["reason"] for one in sorted(self.api.all(EVENT), key=lambda one: _number(one["metadata"]["name"]))]

    @property
    def served(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.api.all(INFERENCE_SERVICE)]

    @property
    def backends(self) -> list[tuple[str, int]]:
        rule = self.api.all(HTTP_ROUTE)[0]["spec"]["rules"][1]
        return [(one["name"].removesuffix("-predictor"), one["weight"]) for one in rule["backendRefs"]]

    def history(self, revision: str) -> list[str]:
        found = next(one for one in self.api.all(MODEL_REVISION) if one["metadata"]["name"] == revision)
        return [line["what"] for line in found["status"].get("history", [])]


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def package(letter: str, format: str = "onnx") -> Document:  # noqa: A002 - the field's name
    """What the reader of a package says."""
    return {"digest": letter * 64, "version": f"version {letter}", "format": format}


@pytest.fixture
def world() -> World:
    api = FakeApi()
    packages = {"v1": package("a"), "v2": package("b")}
    return World(api, Mirror(api), Gateway(), Analyzer(), packages=packages)


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fault points that were reached."""
    reached: list[str] = []
    monkeypatch.setattr(fault, "point", reached.append)
    return reached


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Die at the nth fault point reached from now on."""

    def ask(number: int) -> None:
        left = [number]

        def point(name: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(name)

        monkeypatch.setattr(fault, "point", point)

    return ask


@pytest.fixture
def decided() -> Callable[..., Decide]:
    """A decision with these actions, made when there is no message in the memory yet; then nothing."""

    def make(*actions: Any) -> Decide:
        def decide(_: ModelDeployment, state: State, __: Seen) -> Decision:
            return Decision(state) if state.message else Decision(replace(state, message="decided"), actions)

        return decide

    return make
