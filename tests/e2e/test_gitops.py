"""Git holds the policy, revisions hold history: applying the same manifest again undoes nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)


def test_the_same_manifest_again_undoes_neither_a_rollback_nor_a_promotion(scene: Any) -> None:
    manifest = scene.manifest()
    manifest["spec"]["rollout"]["steps"] = [{"weight": 20}, {"hold": {}}]
    first = scene.serve(manifest)
    with scene.users(rate=20) as users:
        scene.put(manifest, "equal")
        second = scene.challenger()
        scene.until(lambda: (scene.status().get("weights") or {}).get(second) == 20)
        scene.annotate("abort by ana: not today")
        scene.until(lambda: not scene.status().get("challenger"))
        assert scene.status()["champion"] == first
        for _ in range(3):
            scene.apply(manifest)
            time.sleep(2)
        assert (scene.status()["champion"], scene.status().get("challenger")) == (first, None)

        scene.put(manifest, "wrong")
        third = scene.challenger()
        scene.until(lambda: (scene.status().get("weights") or {}).get(third) == 20)
        scene.annotate("promote by ana")
        scene.until(lambda: scene.status()["champion"] == third)
        for _ in range(3):
            scene.apply(manifest)
            time.sleep(2)
        assert (scene.status()["champion"], scene.status().get("challenger")) == (third, None)
    assert users.failures() == []


def test_a_deletion_during_a_rollout_leaves_nothing_behind(scene: Any) -> None:
    manifest = scene.manifest()
    manifest["spec"]["rollout"]["steps"] = [{"weight": 20}, {"hold": {}}]
    scene.serve(manifest)
    scene.put(manifest, "equal")
    second = scene.challenger()
    scene.until(lambda: (scene.status().get("weights") or {}).get(second) == 20)
    scene.cluster.kubectl("delete", "md", scene.name, "-n", scene.namespace, "--timeout=20s")

    def left() -> set[str]:
        kinds = "isvc,httproutes,backendtrafficpolicies,jobs,mr,mds,deployments,pods,services"
        found = scene.cluster.kubectl("get", kinds, "-n", scene.namespace, "-o", "name").split()
        return {name for name in found if name != "pod/filler"}

    scene.until(lambda: not left())
    time.sleep(3)
    assert left() == set()
