"""The operator may die at any moment: it resumes, nothing is doubled, and users notice nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.cluster import Document, until

pytestmark = [pytest.mark.timeout(900), pytest.mark.alone]

SYSTEM = "seamark-system"
DEPLOYMENT = "deployment/seamark-operator"


class Operator:
    """The operator's Deployment, and how to make it die at a named point."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.deaths = 0

    def dies_at(self, point: str, cause: Callable[[], None] | None = None) -> None:
        """A new one takes over, and dies whenever it comes to the point; returns when it did.

        cause: what brings it there, done once the new one is ready, or has died there for another reason.
        """
        self._set(f"SEAMARK_FAULT={point}:kill")
        if cause is not None:
            until(lambda: self._is_up(point) or self._deaths(point), 120, self._seen)
            cause()
        until(lambda: self._deaths(point), 120, lambda: f"the operator did not die at {point}: {self._seen()}")
        self.deaths += self._deaths(point)

    def recovers(self) -> None:
        self._set("SEAMARK_FAULT-")
        self._cluster.kubectl("rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=120s")

    def _set(self, variable: str) -> None:
        self._cluster.kubectl("set", "env", DEPLOYMENT, "-n", SYSTEM, variable)

    def _is_up(self, point: str) -> bool:
        return any(status["ready"] for status in self._containers(point))

    def _deaths(self, point: str) -> int:
        """Of the container that was started for this point: 137 is what a killed one ends with."""
        found = 0
        for status in self._containers(point):
            ended = status["state"].get("terminated") or status["lastState"].get("terminated") or {}
            if ended.get("exitCode") == 137:
                found += status["restartCount"] + ("running" not in status["state"])
        return found

    def _containers(self, point: str) -> list[Document]:
        pods = self._cluster.items("pods", SYSTEM, **{"app.kubernetes.io/component": "operator"})
        mine = [pod for pod in pods if {"name": "SEAMARK_FAULT", "value": f"{point}:kill"} in _env(pod)]
        return [status for pod in mine for status in pod["status"].get("containerStatuses") or []]

    def _seen(self) -> str:
        return str(self._cluster.kubectl("get", "pods", "-n", SYSTEM, check=False))


def _env(pod: Document) -> list[Document]:
    return list(pod["spec"]["containers"][0].get("env") or [])


@pytest.fixture
def operator(cluster: Any, platform: Any) -> Iterator[Operator]:
    found = Operator(cluster)
    yield found
    found.recovers()


def test_killed_at_every_step_of_a_rollout_it_ends_as_if_it_had_not_been(scene: Any, operator: Operator) -> None:
    """Before and after each kind of write: of a new model, a person's promotion, and an abort."""
    manifest = scene.manifest()
    # There is always something left to write, also when it is the next that dies.
    walk = [step for weight in range(1, 20) for step in ({"weight": weight}, {"hold": {"for": "1s"}})]
    manifest["spec"]["rollout"] = {
        "steps": [{"shadow": {"for": "2s"}}, *walk, {"hold": {}}],
        "gates": [],
        "progressDeadline": "5m",
    }

    def weight(revision: str) -> int:
        return int((scene.status().get("weights") or {}).get(revision, 0))

    first = scene.serve(manifest)
    with scene.users(rate=20) as users:
        operator.dies_at("commit:before", lambda: scene.put(manifest, "equal"))
        operator.dies_at("commit:after")
        for point in ("serve", "route", "tell", "report"):
            operator.dies_at(f"{point}:before")
            operator.dies_at(f"{point}:after")
        second = scene.challenger()
        assert scene.status()["champion"] == first
        operator.dies_at("command:before", lambda: scene.annotate("promote by ana"))
        operator.dies_at("command:after")

        def abort_the_next() -> None:
            scene.until(lambda: scene.status()["champion"] == second)
            scene.put(manifest, "wrong")
            scene.until(lambda: scene.status().get("challenger") and weight(scene.challenger()) > 0)
            scene.annotate("abort by ana")

        operator.dies_at("retire:before", abort_the_next)
        operator.dies_at("retire:after")
        operator.recovers()
        assert scene.status()["champion"] == second
        scene.until(lambda: (scene.status()["weights"], scene.status().get("challenger")) == ({second: 100}, None))
        # The champion before stays for some minutes.
        scene.until(lambda: scene.cluster.names("isvc", scene.namespace) <= {first, second})
        assert second in scene.cluster.names("isvc", scene.namespace)
    assert users.failures() == []
    events = scene.cluster.events(scene.name, scene.namespace)
    told = Counter((event["reason"], event["message"]) for event in events)
    assert [what for what, count in told.items() if count > 1] == []
    revisions = scene.cluster.items("mr", scene.namespace)
    history = Counter(
        (one["metadata"]["name"], entry["what"]) for one in revisions for entry in one["status"]["history"]
    )
    assert set(history.values()) == {1}, history
    print(f"operator killed {operator.deaths} times; {len(users.since())} requests, none failed")


def test_killed_around_the_start_of_a_retraining_it_starts_one_job_only(scene: Any, operator: Operator) -> None:
    retraining = {
        "triggers": [{"newLabels": 300}],
        "cooldown": "1h",
        "deadline": "5m",
        "trainer": {"config": {"candidates": ["logistic"]}},
    }
    manifest = scene.manifest(retraining=retraining)
    manifest["spec"]["rollout"] = {"strategy": "direct"}
    first = scene.serve(manifest)
    with scene.users(rate=40) as users:
        operator.dies_at("start_retraining:before")
        operator.dies_at("start_retraining:after")
        operator.recovers()
        scene.until(lambda: scene.status()["champion"] != first, 240)
    assert users.failures() == []
    jobs = scene.cluster.names("jobs", scene.namespace, "seamark.dev/role=training")
    assert jobs == {f"{scene.name}-retrain-1"}


@pytest.mark.skipif("SEAMARK_E2E_RESTART_API" not in os.environ, reason="needs a command that restarts the API server")
def test_the_api_server_may_restart_during_a_rollout(scene: Any, tmp_path: Path) -> None:
    manifest = scene.manifest()
    manifest["spec"]["rollout"]["steps"] = [{"shadow": {"for": "2s"}}, {"weight": 20}, {"hold": {"for": "20s"}}]
    scene.serve(manifest)
    with scene.users(rate=20) as users:
        scene.put(manifest, "equal")
        second = scene.challenger()
        scene.until(lambda: (scene.status().get("weights") or {}).get(second) == 20)
        said = tmp_path / "said"
        with said.open("w") as file:  # no pipe: what is started anew may hold it
            command = os.environ["SEAMARK_E2E_RESTART_API"]
            done = subprocess.run(command, shell=True, check=False, timeout=200, stdout=file, stderr=file)
        assert done.returncode == 0, said.read_text()
        began = time.time()
        scene.until(lambda: scene.status().get("champion") == second, 200)
        print(f"promoted {time.time() - began:.0f} s after the API server was back")
    assert users.failures() == []
    names = [event["metadata"]["name"] for event in scene.cluster.events(scene.name, scene.namespace)]
    assert len(names) == len(set(names))
