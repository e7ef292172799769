"""Objects of one kind, found by the deployment that they belong to."""

from __future__ import annotations

from collections.abc import Iterable

from seamark_kubernetes.api import Document
from seamark_kubernetes.names import DEPLOYMENT

__all__ = ["Key", "Shelf", "Slot", "is_in", "slot", "version"]

#: (namespace, deployment).
Key = tuple[str, str]
#: (namespace, object's name).
Slot = tuple[str, str]


class Shelf:
    """What changes it returns the deployments that an object was added to, changed in or taken from."""

    def __init__(self) -> None:
        self._keys: dict[Slot, Key] = {}
        self._objects: dict[Key, dict[str, Document]] = {}

    def objects(self, key: Key) -> list[Document]:
        """By name."""
        return [found for _, found in sorted(self._objects.get(key, {}).items())]

    def find(self, key: Key, name: str) -> Document | None:
        return self._objects.get(key, {}).get(name)

    def put(self, document: Document) -> set[Key]:
        """Add or change. What has lost its label belongs to nobody any more."""
        where, key = slot(document), _key(document)
        known = self._keys.get(where)
        if known == key and known is not None and version(self._objects[known][where[1]]) == version(document):
            return set()
        changed = self.remove(where)
        if key is not None:
            self._keys[where] = key
            self._objects.setdefault(key, {})[where[1]] = document
            changed.add(key)
        return changed

    def remove(self, where: Slot) -> set[Key]:
        key = self._keys.pop(where, None)
        if key is None:
            return set()
        del self._objects[key][where[1]]
        if not self._objects[key]:
            del self._objects[key]
        return {key}

    def replace(self, documents: Iterable[Document], scope: str | None) -> set[Key]:
        """Make these all there is in a namespace, or in all."""
        present = {slot(document): document for document in documents}
        changed: set[Key] = set()
        for where in [where for where in self._keys if is_in(where, scope) and where not in present]:
            changed |= self.remove(where)
        for document in present.values():
            changed |= self.put(document)
        return changed


def slot(document: Document) -> Slot:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version(document: Document) -> str:
    """Its resourceVersion; empty if it has none."""
    return str(document.get("metadata", {}).get("resourceVersion", ""))


def is_in(where: Slot | Key, scope: str | None) -> bool:
    return scope is None or where[0] == scope


def _key(document: Document) -> Key | None:
    deployment = (document["metadata"].get("labels") or {}).get(DEPLOYMENT)
    return (slot(document)[0], deployment) if deployment else None
