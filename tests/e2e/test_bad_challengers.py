"""A bad challenger is rolled back, and no user's request fails because of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Case:
    """package: what is put in; reasons: of the rollback, one of these; rollout, spec: what is changed for it; rate: of
    requests."""

    package: str
    reasons: tuple[str, ...]
    rollout: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    rate: float = 40.0


_WEIGHT = [{"weight": 20}, {"hold": {"for": "60s"}}]
CASES = {
    "wrong": Case(
        "wrong",
        ("AccuracyWorse",),
        {"steps": _WEIGHT, "gates": [{"metric": "accuracy", "margin": 0.02}]},
    ),
    "slow": Case(
        "slow",
        ("LatencyWorse",),
        # The champion's p99 takes a thousand of its requests to prove. The challenger's take a tenth of a second of
        # computing each: few of them are enough, and more would make the champion slow, too.
        {
            "steps": [{"weight": 5}, {"hold": {"for": "60s"}}],
            "gates": [{"metric": "latencyP99", "maxRatio": 2, "margin": 0.005}],
        },
        rate=60,
    ),
    "crashing": Case(
        "crashing",
        ("ChallengerNotReady", "ErrorRateWorse"),
        {"steps": _WEIGHT},
        {"serving": {"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "450Mi"}}}},
    ),
    "broken": Case("broken", ("ChallengerNotReady",), {"steps": _WEIGHT, "progressDeadline": "20s"}),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_rolled_back_and_nobody_suffers(scene: Any, name: str) -> None:
    case = CASES[name]
    manifest = scene.manifest(**case.spec)
    manifest["spec"]["rollout"] |= case.rollout
    champion = scene.serve(manifest)
    with scene.users(rate=case.rate) as users:
        scene.put(manifest, case.package)
        bad = scene.challenger()

        def given_up() -> bool:
            found = scene.cluster.find("mr", bad, scene.namespace) or {}
            return bool(found.get("status", {}).get("phase") == "RolledBack")

        scene.until(given_up, 150)
        scene.until(lambda: (scene.status().get("weights") or {}) == {champion: 100})
        scene.until(lambda: scene.cluster.find("isvc", bad, scene.namespace) is None)
    failures = users.failures()
    assert failures == [], (len(failures), failures[:3])
    assert scene.status()["champion"] == champion
    history = scene.cluster.get("mr", bad, scene.namespace)["status"]["history"]
    assert history[-1]["reason"] in case.reasons, json.dumps(history)
    print(f"{name}: {history[-1]['reason']}: {len(users.since())} requests, none failed")
