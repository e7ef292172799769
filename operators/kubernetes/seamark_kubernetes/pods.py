"""What all pods that the operator asks for have in common: who they run as, and what they may do.

Everything here fits the Pod Security Standard `restricted`.
"""

from __future__ import annotations

from seamark_kubernetes.api import Document
from seamark_kubernetes.settings import Settings

__all__ = ["GROUP", "confined", "empty_dir", "placement", "restricted", "token"]

#: Group of Seamark's images; files that they share belong to it.
GROUP = 65532


def restricted() -> Document:
    """A pod's securityContext. fsGroup makes volumes writable where the storage honours it."""
    return {
        "runAsNonRoot": True,
        "fsGroup": GROUP,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def confined(*, read_only: bool = True) -> Document:
    """A container's securityContext. read_only: of its root file system."""
    context: Document = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return context | ({"readOnlyRootFilesystem": True} if read_only else {})


def empty_dir(name: str, limit: str = "") -> Document:
    """A volume that lives as long as its pod. limit: as `64Mi`; the pod is evicted beyond it."""
    return {"name": name, "emptyDir": {"sizeLimit": limit} if limit else {}}


def placement(settings: Settings) -> Document:
    """Where pods run and how they get their images."""
    found: Document = {}
    if settings.node_selector:
        found["nodeSelector"] = dict(settings.node_selector)
    if settings.images.pull_secrets:
        found["imagePullSecrets"] = [{"name": name} for name in settings.images.pull_secrets]
    return found


def token(text: str) -> list[Document]:
    """The environment entry of a log token; none where the log is open."""
    return [{"name": "SEAMARK_TOKEN", "value": text}] if text else []
