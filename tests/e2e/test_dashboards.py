"""Every query of dashboards and rules, asked of a real Prometheus, has an answer when everything is going on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from harness import monitoring, queries
from harness.cluster import until

from seamark_local.demo.story import replay

pytestmark = pytest.mark.timeout(600)

#: Rows with too few numbers: the predictor refuses them.
TOO_SHORT = {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}]}


class Unanswered:
    """Queries, by place, to which Prometheus has given no value yet. What was there once may go, as a shadow does."""

    def __init__(self, prometheus: Any, asked: Iterable[queries.Shipped], choices: Mapping[str, str]) -> None:
        self._prometheus = prometheus
        self.left = {one.place: queries.filled(one.expr, choices) for one in asked}

    def ask(self) -> None:
        """Asks all that are left. A query that Prometheus cannot read fails."""
        answers = {place: self._prometheus.query(expr) for place, expr in self.left.items()}
        self.left = {place: expr for place, expr in self.left.items() if not queries.has_values(answers[place])}


def asked() -> list[queries.Shipped]:
    """A dashboard's queries as they are. A rule's is empty while all is well, so what it reads is asked for instead."""
    panels = [one for one in queries.shipped() if not one.place.startswith("rule")]
    read = {part for rule in queries.rules() for part in queries.selectors(rule["expr"])}
    return [*panels, *(queries.Shipped(f"rules: {part}", part) for part in sorted(read))]


def loaded(address: tuple[str, int]) -> dict[str, str]:
    """Prometheus's rules by name, each with what was wrong with its last evaluation."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", "/api/v1/rules")
    groups = json.loads(connection.getresponse().read())["data"]["groups"]
    connection.close()
    return {rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]}


def refused(scene: Any) -> int:
    """The status of a request that the model cannot answer."""
    connection = http.client.HTTPConnection(*scene.platform.gateway, timeout=30)
    headers = {"Host": scene.host, "Content-Type": "application/json"}
    connection.request("POST", f"/v2/models/{scene.name}/infer", json.dumps(TOO_SHORT), headers)
    status = connection.getresponse().status
    connection.close()
    return status


def everything_goes_on(scene: Any, unanswered: Unanswered) -> bool:
    assert refused(scene) >= 400
    unanswered.ask()
    return not unanswered.left


def test_no_panel_is_empty_and_no_rule_reads_what_is_not_there(scene: Any, prometheus: Any, cluster: Any) -> None:
    manifest = scene.manifest()
    manifest["spec"]["rollout"]["steps"] = [{"shadow": {"for": "15s"}}, {"weight": 20}, {"hold": {}}]
    first = scene.serve(manifest)
    choices = {
        "namespace": scene.namespace,
        "deployment": scene.name,
        "revision": ".*",
        "feature": "worst smoothness",
        "__rate_interval": "30s",
    }
    unanswered = Unanswered(prometheus, asked(), choices)
    with scene.users(rate=40) as users:
        scene.until(lambda: users.shares()[first] > 100)
        scene.put(manifest, "equal")
        scene.challenger()
        users.draw = replay(scene.world, scene.world.recalibrated())
        until(lambda: everything_goes_on(scene, unanswered), 180, lambda: f"{unanswered.left}\n{scene.story()}", 2)
    assert {rule["alert"]: "" for rule in queries.rules()}.items() <= loaded(
        cluster.reach(monitoring.NAMESPACE, "prometheus", 9090)
    ).items()
    # The rules as they are, so that Prometheus has read each as a whole.
    for rule in queries.rules():
        prometheus.query(rule["expr"])
