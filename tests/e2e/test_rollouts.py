"""Each strategy, from the first model to the next champion, as users and kubectl see it."""

from __future__ import annotations

import http.client
import json
import time
from collections import defaultdict
from math import sqrt
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)


def test_direct_switches_as_soon_as_the_new_model_is_ready(scene: Any) -> None:
    manifest = scene.manifest(rollout={"strategy": "direct"})
    first = scene.serve(manifest)
    with scene.users() as users:
        scene.until(lambda: users.shares()[first] > 50)
        scene.put(manifest, "equal")
        scene.until(lambda: scene.status()["champion"] != first, 120)
        second = scene.status()["champion"]
        moment = time.time()
        scene.until(lambda: users.shares(moment)[second] > 50)
        assert set(users.shares(moment)) == {second}
    assert users.failures() == []
    assert scene.event("Promoted") is not None or scene.event("GatesPassed") is not None


def test_canary_gets_the_share_that_its_step_says_and_becomes_the_champion(scene: Any) -> None:
    steps = [{"shadow": {"for": "4s"}}, {"weight": 20}, {"hold": {}}]
    manifest = scene.manifest()
    manifest["spec"]["rollout"]["steps"] = steps
    first = scene.serve(manifest)
    with scene.users(rate=60) as users:
        scene.put(manifest, "equal")
        second = scene.challenger()
        scene.until(lambda: (scene.status().get("weights") or {}).get(second) == 20, 120)
        moment = time.time() + 1
        scene.until(lambda: sum(users.shares(moment).values()) >= 600, 60)
        shares = users.shares(moment)
        total = sum(shares.values())
        assert set(shares) == {first, second}
        assert abs(shares[second] / total - 0.2) < 4 * sqrt(0.2 * 0.8 / total)
        scene.annotate("promote by ana")
        scene.until(lambda: scene.status()["champion"] == second, 60)
        moment = time.time()
        scene.until(lambda: users.shares(moment)[second] > 50)
    assert users.failures() == []
    line = scene.cluster.kubectl("get", "md", scene.name, "-n", scene.namespace)
    assert second in line
    assert scene.cluster.get("mr", first, scene.namespace)["status"]["phase"] == "Retired"


def test_blue_green_shows_the_preview_to_testers_only_then_switches_and_returns_at_once(scene: Any) -> None:
    rollout = {
        "strategy": "blueGreen",
        "steps": [{"shadow": {"for": "4s"}}, {"hold": {}}],
        "match": [{"header": "x-tester", "value": "yes"}],
    }
    manifest = scene.manifest(rollout=rollout)
    blue = scene.serve(manifest)
    with scene.users(rate=20) as users:
        scene.put(manifest, "equal")
        green = scene.challenger()
        with scene.users(rate=5, headers={"x-tester": "yes"}) as testers:
            scene.until(lambda: testers.shares()[green] >= 10, 120)
            moment = time.time()
            scene.until(lambda: testers.shares(moment)[green] >= 10 and users.shares(moment)[blue] >= 20)
            assert set(testers.shares(moment)) == {green}
        assert set(users.shares()) == {blue}
        scene.annotate("promote")
        scene.until(lambda: scene.status()["champion"] == green, 60)
        moment = time.time()
        scene.until(lambda: users.shares(moment)[green] > 20)
        # the old model is still warm: going back needs no start of a pod
        manifest["spec"]["rollout"] = {"strategy": "direct"}
        began = time.time()
        scene.put(manifest, "good")
        scene.until(lambda: scene.status()["champion"] == blue, 60)
        took = time.time() - began
        moment = time.time()
        scene.until(lambda: users.shares(moment)[blue] > 20)
        assert set(users.shares(moment)) == {blue}
    assert users.failures() == []
    print(f"blue-green: back on the old model {took:.1f} s after the manifest")


@pytest.mark.parametrize(("package", "outcome"), [("equal", "Promoted"), ("wrong", "RolledBack")])
def test_shadow_is_judged_by_paired_answers_that_users_never_see(scene: Any, package: str, outcome: str) -> None:
    gates = [{"metric": "shadowAgreement", "min": 0.9}]
    manifest = scene.manifest()
    manifest["spec"]["rollout"] |= {"strategy": "shadow", "steps": [{"shadow": {"for": "8s"}}], "gates": gates}
    first = scene.serve(manifest)
    with scene.users() as users:
        scene.put(manifest, package)
        second = scene.challenger()
        if outcome == "RolledBack":
            scene.until(lambda: phase(scene, second) == "RolledBack", 120)
            assert set(users.shares()) == {first}
        else:
            scene.until(lambda: phase(scene, second) == "Champion", 120)
    assert users.failures() == []
    history = scene.cluster.get("mr", second, scene.namespace)["status"]["history"]
    assert any("agree" in json.dumps(entry["evidence"]) for entry in history), history
    assert history[-1]["reason"] == {"Promoted": "GatesPassed", "RolledBack": "AgreementTooLow"}[outcome]


def phase(scene: Any, revision: str) -> str:
    found = scene.cluster.find("mr", revision, scene.namespace)
    return str((found or {}).get("status", {}).get("phase", ""))


AB_TEST: dict[str, Any] = {
    "strategy": "abTest",
    "steps": [{"weight": 50}, {"hold": {"for": "15s"}}],
    "gates": [{"metric": "accuracy", "margin": 0.05}],
    "sticky": {"header": "x-user-id"},
    "onInconclusive": {"action": "extend", "for": "40s"},
}


def test_ab_test_keeps_each_user_on_one_side_and_ends_when_its_time_is_over(scene: Any) -> None:
    scene.serve(scene.manifest(rollout=AB_TEST))
    with scene.users(rate=60) as users:
        scene.put(scene.manifest(rollout=AB_TEST), "equal")
        second = scene.challenger()
        scene.until(lambda: users.shares()[second] > 20, 120)
        moment = time.time()
        scene.until(lambda: sum(users.shares(moment).values()) > 400, 14)
        end = time.time()
        sides: dict[str, set[str]] = defaultdict(set)
        for answer in users.since(moment):
            if answer.status == 200 and answer.time < end:
                sides[answer.user].add(answer.revision)
        assert [user for user, seen in sides.items() if len(seen) > 1] == []
        on_second = sum(seen == {second} for seen in sides.values())
        assert abs(on_second / len(sides) - 0.5) < 4 * sqrt(0.25 / len(sides))
        scene.until(lambda: phase(scene, second) in ("RolledBack", "Champion"), 120)
        moment = time.time() + 1
        scene.until(lambda: sum(users.shares(moment).values()) > 50)
        assert set(users.shares(moment)) == {scene.status()["champion"]}
    assert users.failures() == []
    history = scene.cluster.get("mr", second, scene.namespace)["status"]["history"]
    print(f"A/B of equals: {on_second} of {len(sides)} users with the challenger, each on one side; {history[-1]}")


def test_ab_test_ends_early_with_a_significant_loser(scene: Any) -> None:
    first = scene.serve(scene.manifest(rollout=AB_TEST))
    with scene.users(rate=60) as users:
        scene.put(scene.manifest(rollout=AB_TEST), "wrong")
        second = scene.challenger()
        scene.until(lambda: phase(scene, second) == "RolledBack", 120)
        moment = time.time() + 1
        scene.until(lambda: users.shares(moment)[first] > 50)
        assert set(users.shares(moment)) == {first}
    assert users.failures() == []
    history = scene.cluster.get("mr", second, scene.namespace)["status"]["history"]
    assert history[-1]["reason"] == "AccuracyWorse"


def test_inference_is_answered_by_v1_and_v2_at_the_same_address(scene: Any) -> None:
    scene.serve(scene.manifest())
    row = scene.world.live[0].tolist()
    connection = http.client.HTTPConnection(*scene.platform.gateway, timeout=30)

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), {"Host": scene.host, "Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return dict(answer)

    v1 = post("/v1/models/scanner:predict", {"instances": [row]})
    data = {"inputs": [{"name": "input", "shape": [1, 30], "datatype": "FP64", "data": row}]}
    v2 = post("/v2/models/scanner/infer", data)
    connection.close()
    assert v1["predictions"][0] == v2["outputs"][0]["data"][0]
