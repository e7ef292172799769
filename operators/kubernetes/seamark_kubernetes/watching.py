"""What the analyzer is to watch, read from the cache: also deployments that the operator was told to leave alone."""

from __future__ import annotations

import contextlib

from seamark import spec as manifests
from seamark.errors import InvalidSpec
from seamark.spec import ModelDeployment
from seamark_kubernetes import memory, observe
from seamark_kubernetes.api import INFERENCE_SERVICE, POD, STATE, Document, Owner
from seamark_kubernetes.gather import Cache, Key
from seamark_kubernetes.watched import Watched

__all__ = ["Watching"]


class Watching:
    """Remembers the last manifest of each deployment that could be read: monitoring goes on while one cannot."""

    def __init__(self, cluster: Cache) -> None:
        self._cluster = cluster
        self._specs: dict[Key, ModelDeployment] = {}

    def items(self) -> list[Watched]:
        """All deployments with a memory."""
        deployments = self._cluster.deployments
        self._specs = {key: spec for key, spec in self._specs.items() if key in deployments}
        found = (self._item(key, document) for key, document in list(deployments.items()))
        return [item for item in found if item is not None]

    def _item(self, key: Key, document: Document) -> Watched | None:
        owner = Owner(*key, document["metadata"]["uid"])
        spec = self._spec(key, document)
        try:
            known = memory.load(self._cluster.find(STATE, key, owner.name), owner)
        except InvalidSpec:
            return None  # its status says so
        if spec is None or known.resource_version is None:
            return None
        pods = self._cluster.objects(POD, key)
        revisions = [service["metadata"]["name"] for service in self._cluster.objects(INFERENCE_SERVICE, key)]
        targets = {revision: list(observe.monitor_addresses(pods, revision)) for revision in revisions}
        return Watched(*key, spec, known.state, targets)

    def _spec(self, key: Key, document: Document) -> ModelDeployment | None:
        with contextlib.suppress(InvalidSpec):
            self._specs[key] = manifests.parse(document)
        return self._specs.get(key)
