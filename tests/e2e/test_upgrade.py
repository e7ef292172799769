"""A release comes and goes: running models are not touched. Last, because it takes the platform away."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(600), pytest.mark.alone]

SYSTEM = "seamark-system"


def helm(*arguments: str) -> None:
    done = subprocess.run(["helm", *arguments], text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_upgrade_uninstall_and_a_new_install_leave_running_models_alone(
    scene: Any, reinstall: Callable[..., None]
) -> None:
    champion = scene.serve(scene.manifest())

    def runtime() -> str:
        found = scene.cluster.get("clusterservingruntime", "seamark-predictor", "")
        return str(found["spec"]["containers"][0]["image"])

    usual = runtime()

    def pods() -> set[str]:
        found = scene.cluster.items("pods", scene.namespace, **{"seamark.dev/role": "serving"})
        return {pod["metadata"]["uid"] for pod in found}

    before = pods()
    assert len(before) == 1
    helm("test", "seamark", "-n", SYSTEM)
    with scene.users(rate=20) as users:

        def served() -> None:
            moment = time.time()
            scene.until(lambda: sum(users.shares(moment).values()) >= 100)
            assert set(users.shares(moment)) == {champion}
            assert pods() == before

        reinstall("--set", "runtime.image.tag=another")
        served()
        # the log's key, its tables and the definitions stay, too
        helm("uninstall", "seamark", "-n", SYSTEM, "--wait")
        assert scene.cluster.names("deployments", SYSTEM) == set()
        served()
        assert scene.status()["champion"] == champion
        assert runtime().endswith(":another")
        reinstall()
        assert runtime() == usual
        scene.annotate("approve by ana")
        scene.until(lambda: "no rollout is running" in scene.status().get("message", ""))
        served()
    assert users.failures() == []
    assert scene.status()["champion"] == champion
    scene.cluster.wait_for(f"md/{scene.name}", "condition=Ready", scene.namespace, 30)
