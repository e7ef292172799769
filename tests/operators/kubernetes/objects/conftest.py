"""Documents as Kubernetes and KServe write them, with only what is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from seamark import spec as manifests
from seamark.spec import ModelDeployment
from seamark_kubernetes import names
from seamark_kubernetes.api import Document, Owner
from seamark_kubernetes.settings import Images, Settings

NOW = 1_800_000_000.0
DIGEST = "d" * 64


class Make:
    """What tests make documents and manifests with."""

    now = NOW
    digest = DIGEST
    owner = Owner("shop", "churn", "uid-churn")
    settings = Settings(images=Images("predictor:1", "monitor:1", "trainer:1"), collector="http://collector:8081")
    key = b"k" * 32

    def spec(self, **spec: Any) -> ModelDeployment:
        document = {
            "apiVersion": "seamark.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "churn", "namespace": "shop"},
            "spec": {"model": {"uri": "pvc://models/churn/v1"}, **spec},
        }
        return manifests.parse(document)

    def time(self, ago: float = 0.0) -> str:
        return datetime.fromtimestamp(NOW - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def service(self, replicas: int = 1, runtime: str = "seamark-predictor", **status: Any) -> Document:
        predictor = {"minReplicas": replicas, "model": {"runtime": runtime}}
        return {"metadata": {"name": "churn-1"}, "spec": {"predictor": predictor}, "status": status}

    def pod(
        self, *containers: Document, ready: bool = False, name: str = "p", ago: float = 0.0, **status: Any
    ) -> Document:
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
        return {
            "metadata": {
                "name": name,
                "creationTimestamp": self.time(ago),
                "labels": names.labels("churn", "serving", "churn-1"),
            },
            "status": {"phase": "Running", "conditions": conditions, "containerStatuses": list(containers), **status},
        }

    def waiting(self, reason: str, message: str = "", name: str = "monitor") -> Document:
        return {"name": name, "ready": False, "state": {"waiting": {"reason": reason, "message": message}}}

    def crashed(
        self, status: int = 1, message: str = "", *, name: str = "kserve-container", ago: float = 5.0, **more: Any
    ) -> Document:
        """Runs again after an end `ago` seconds ago. reason: of that end; restarts; state."""
        ended = {"exitCode": status, "message": message, "finishedAt": self.time(ago)}
        ended["reason"] = more.get("reason", "Error")
        return {
            "name": name,
            "ready": more.get("ready", False),
            "restartCount": more.get("restarts", 1),
            "state": more.get("state", {"running": {}}),
            "lastState": {"terminated": ended},
        }

    def job(self, kind: str = "", reason: str = "", message: str = "", **status: Any) -> Document:
        ended = {"type": kind, "status": "True", "reason": reason, "message": message}
        ended["lastTransitionTime"] = self.time(10)
        claim = {"name": "seamark-claim", "persistentVolumeClaim": {"claimName": "models"}}
        return {
            "metadata": {
                "name": "churn-retrain-1",
                "creationTimestamp": self.time(100),
                "labels": names.labels("churn", "training"),
            },
            "spec": {"template": {"spec": {"volumes": [{"name": "tmp"}, claim]}}},
            "status": {"conditions": [ended] if kind else [], **status},
        }

    def ended(self, status: int = 0, message: Any = "", **more: Any) -> Document:
        """A pod of a Job whose container ended; a message that is no text is written as JSON."""
        text = message if isinstance(message, str) else json.dumps(message)
        state = {"terminated": {"exitCode": status, "message": text, "reason": more.pop("reason", "Error")}}
        phase = "Failed" if status else "Succeeded"
        return self.pod({"name": "trainer", "state": state}, **{"phase": phase, **more})


@pytest.fixture
def make() -> Make:
    return Make()
