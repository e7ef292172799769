"""The whole loop: the world drifts, Prometheus sees it, Alertmanager tells, a Job trains, the challenger wins."""

from __future__ import annotations

import time
from typing import Any

import pytest

from seamark_local.demo.story import replay

pytestmark = pytest.mark.timeout(600)

RETRAINING = {
    "triggers": [{"drift": "feature"}],
    "cooldown": "1h",
    "minLabels": 200,
    "deadline": "5m",
    "trainer": {"config": {"candidates": ["logistic"]}},
}


def test_drift_alerts_and_is_retrained_away(scene: Any, prometheus: Any) -> None:
    manifest = scene.manifest(retraining=RETRAINING)
    manifest["spec"]["rollout"]["gates"] = [
        {"metric": "errorRate", "margin": 0.05},
        {"metric": "accuracy", "margin": 0.05},
    ]
    first = scene.serve(manifest)
    mine = f'namespace="{scene.namespace}",deployment="{scene.name}"'
    with scene.users(rate=50) as users:
        scene.until(lambda: (prometheus.value(f"sum(seamark_predictions_total{{{mine}}})") or 0) > 200)
        time.sleep(20)  # a quiet world for one window: nothing may alarm
        assert prometheus.query(f'ALERTS{{alertname="SeamarkDrift",{mine}}}') == []
        assert scene.cluster.names("jobs", scene.namespace, "seamark.dev/role=training") == set()

        users.draw = replay(scene.world, scene.world.recalibrated())
        shifted = time.time()
        firing = f'ALERTS{{alertname="SeamarkDrift",alertstate="firing",{mine}}}'
        scene.until(lambda: prometheus.query(firing))
        alarmed = time.time() - shifted
        names = {one["metric"]["feature"] for one in prometheus.query(firing)}
        assert names <= {"worst smoothness", "mean smoothness", "worst texture", "mean texture"}, names
        job = f"{scene.name}-retrain-1"
        scene.until(lambda: scene.cluster.find("job", job, scene.namespace))
        started = time.time() - shifted
        scene.until(lambda: scene.status()["champion"] != first, 240)
        promoted = time.time() - shifted
        second = scene.status()["champion"]
        assert scene.cluster.get("mr", second, scene.namespace)["spec"]["origin"] == "retraining"
        scene.until(lambda: not prometheus.query(firing))
        moment = time.time()
        scene.until(lambda: users.shares(moment)[second] >= 200)
        good = [answer.right for answer in users.since(moment) if answer.status == 200]
        assert sum(good) / len(good) > 0.9
    assert users.failures() == []
    assert scene.cluster.names("jobs", scene.namespace, "seamark.dev/role=training") == {job}
    print(f"drift: alert {alarmed:.0f} s, Job {started:.0f} s, promoted {promoted:.0f} s after the shift")
