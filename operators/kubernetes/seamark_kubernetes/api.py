"""The Kubernetes API as the operator uses it: plain documents, few verbs, bounded time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "BACKEND_TRAFFIC_POLICY",
    "CONFIG_MAP",
    "EVENT",
    "GATEWAY",
    "HTTP_ROUTE",
    "INFERENCE_SERVICE",
    "JOB",
    "MODEL_DEPLOYMENT",
    "MODEL_REVISION",
    "POD",
    "STATE",
    "Api",
    "Document",
    "Kind",
    "Owner",
]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A namespaced resource. group is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


MODEL_DEPLOYMENT = Kind("seamark.dev", "v1alpha1", "modeldeployments", "ModelDeployment")
MODEL_REVISION = Kind("seamark.dev", "v1alpha1", "modelrevisions", "ModelRevision")
STATE = Kind("seamark.dev", "v1alpha1", "modeldeploymentstates", "ModelDeploymentState")
INFERENCE_SERVICE = Kind("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
BACKEND_TRAFFIC_POLICY = Kind("gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies", "BackendTrafficPolicy")
JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
EVENT = Kind("", "v1", "events", "Event")


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that an object belongs to."""

    namespace: str
    name: str
    uid: str

    def reference(self) -> Document:
        """The owner reference that deletes an object with its ModelDeployment."""
        return {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }


class Api(Protocol):
    """Errors: `NotFound` (404), `Conflict` (409), `InvalidSpec` (400, 422: the API server's message).

    All else is `Unavailable`: no answer within the time limit, 403, 429, 5xx.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> Document: ...

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> tuple[list[Document], str]:
        """The objects with these labels and the list's resourceVersion; namespace None means all."""
        ...

    def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], resource_version: str
    ) -> AsyncIterator[tuple[str, Document]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, document) from there on.

        Ends when the server ends it, or after silence: go on from the newest version seen. Raises `Unavailable` when
        that version is too old, or nothing answers: list again.
        """
        ...

    async def create(self, kind: Kind, namespace: str, document: Document) -> Document:
        """Raises `Conflict` if it is there already."""
        ...

    async def replace(self, kind: Kind, namespace: str, document: Document) -> Document:
        """PUT with the document's metadata.resourceVersion as precondition; `Conflict` if it is not the newest."""
        ...

    async def apply(self, kind: Kind, namespace: str, document: Document, *, status: bool = False) -> Document:
        """Server-side apply, forced, as `names.FIELD_MANAGER`; of the status subresource if `status`."""
        ...

    async def patch(self, kind: Kind, namespace: str, name: str, document: Document) -> Document:
        """JSON merge patch; with metadata.resourceVersion in it a precondition."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """In the background; what is not there is deleted."""
        ...
