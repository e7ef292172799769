"""Fifty ModelDeployments at once: the operator stays small and quiet. No pod of a model needs to run for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(400)

COUNT = 50
SYSTEM = "seamark-system"


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
    scene.until(lambda: len(scene.cluster.names("isvc", scene.namespace)) == COUNT, 120)
    served = time.time() - began

    def told() -> bool:
        found = scene.cluster.items("md", scene.namespace)
        return all((one.get("status") or {}).get("conditions") for one in found)

    scene.until(told, 120)
    settled = time.time() - began

    def waiting() -> bool:
        """Everybody is told why nothing runs: no node has that much memory."""
        found = scene.cluster.items("md", scene.namespace)
        return all("nsufficient memory" in str(one["status"].get("message", "")) for one in found)

    scene.until(waiting, 120)
    time.sleep(75)  # what was started has ended, and a whole minute is left to look at
    per_minute = prometheus.value("sum(increase(seamark_operator_api_calls_total[1m]))")
    cpu = prometheus.value('rate(process_cpu_seconds_total{job="operator"}[1m])')
    memory = prometheus.value('process_resident_memory_bytes{job="operator"}')
    print(
        f"{COUNT} ModelDeployments: InferenceServices after {served:.1f} s, all reported after {settled:.1f} s; then "
        f"{per_minute} API calls a minute, {memory and memory / 2**20} MiB, {cpu} of a core"
    )
    assert per_minute is not None
    assert memory is not None
    assert per_minute < 4 * COUNT
    assert memory < 200 * 2**20
