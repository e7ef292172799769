"""Fifty ModelDeployments at once: the operator stays small and quiet. No pod of a model needs to run for it."""

from __future__ import annotations

import time
from math import inf
from typing import Any

import pytest
from harness.cluster import Document, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.alone]

COUNT = 50
#: Seconds of quiet that are looked at.
LOOK = 30


def calls(prometheus: Any, seconds: int) -> float:
    """Of the API server, by the operator, lately; as many as can be while nothing is known."""
    found = prometheus.value(f"sum(increase(seamark_operator_api_calls_total[{seconds}s]))")
    return inf if found is None else float(found)


def by_verb(prometheus: Any) -> list[Document]:
    return list(prometheus.query("sum by (verb) (increase(seamark_operator_api_calls_total[10s]))"))


def test_fifty_at_once_settle_and_then_cost_next_to_nothing(scene: Any, prometheus: Any) -> None:
    """Their digest is given, so nothing has to be read; they ask for more memory than there is, so no pod starts."""
    documents = []
    for number in range(COUNT):
        scene.name = f"many-{number:02d}"
        document = scene.manifest(
            serving={"replicas": 1, "resources": {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}}
        )
        document["spec"]["model"] |= {"digest": f"{number:064x}"}
        documents.append(document)
    began = time.time()
    scene.cluster.apply(*documents)
    scene.until(lambda: len(scene.cluster.names("isvc", scene.namespace)) == COUNT)
    served = time.time() - began

    def told() -> bool:
        found = scene.cluster.items("md", scene.namespace)
        return all((one.get("status") or {}).get("conditions") for one in found)

    scene.until(told)
    settled = time.time() - began

    # Not none at all: alerts about the scenarios before may still come in.
    until(lambda: calls(prometheus, 10) < COUNT / 10, 180, lambda: f"the operator is still busy: {by_verb(prometheus)}")
    time.sleep(LOOK)
    per_minute = calls(prometheus, LOOK) * 60 / LOOK
    cpu = prometheus.value(f'rate(process_cpu_seconds_total{{job="operator"}}[{LOOK}s])')
    memory = prometheus.value('process_resident_memory_bytes{job="operator"}')

    def waiting() -> bool:
        """Everybody is told why nothing runs: no node has that much memory."""
        found = scene.cluster.items("md", scene.namespace)
        return all("nsufficient memory" in str(one["status"].get("message", "")) for one in found)

    scene.until(waiting)
    assert cpu is not None
    assert memory is not None
    print(
        f"{COUNT} ModelDeployments: InferenceServices after {served:.1f} s, all reported after {settled:.1f} s; then "
        f"{per_minute:.0f} API calls a minute, {cpu:.1%} of a core, {memory / 2**20:.0f} MiB"
    )
    assert per_minute < 4 * COUNT
    assert memory < 200 * 2**20
