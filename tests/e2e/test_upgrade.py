"""A release comes and goes: running models are not touched. Last, because it takes the platform away."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(500)

SYSTEM = "seamark-system"


def helm(*arguments: str) -> None:
    done = subprocess.run(["helm", *arguments], text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_upgrade_uninstall_and_a_new_install_leave_running_models_alone(scene: Any, install: tuple[str, ...]) -> None:
    champion = scene.serve(scene.manifest())

    def pods() -> set[str]:
        found = scene.cluster.items("pods", scene.namespace, **{"seamark.dev/role": "serving"})
        return {pod["metadata"]["uid"] for pod in found}

    before = pods()
    assert len(before) == 1
    helm("test", "seamark", "-n", SYSTEM)
    with scene.users(rate=20) as users:

        def served(seconds: float) -> None:
            moment = time.time()
            time.sleep(seconds)
            assert set(users.shares(moment)) == {champion}
            assert pods() == before

        helm(*install, "--set", "runtime.image.tag=another")
        served(10)
        # the log's key, its tables and the definitions stay, too
        helm("uninstall", "seamark", "-n", SYSTEM, "--wait")
        assert scene.cluster.names("deployments", SYSTEM) == set()
        served(10)
        assert scene.status()["champion"] == champion
        helm(*install)
        scene.annotate("approve by ana")
        scene.until(lambda: "no rollout is running" in scene.status().get("message", ""), 60)
        served(5)
    assert users.failures() == []
    assert scene.status()["champion"] == champion
    scene.cluster.wait_for(f"md/{scene.name}", "condition=Ready", scene.namespace, 30)
