"""Reads Seamark's objects of one namespace or of all, and says plainly what is not there."""

from __future__ import annotations

from dataclasses import dataclass

from seamark.errors import NotFound, UserError
from seamark_local.cluster.kubectl import Kubectl
from seamark_local.cluster.objects import DEPLOYMENT, DEPLOYMENTS, REVISIONS
from seamark_local.cluster.summaries import Document

__all__ = ["Reader"]


@dataclass(frozen=True, slots=True)
class Reader:
    """namespace: None for all. Errors are those of `Kubectl`."""

    kubectl: Kubectl
    namespace: str | None

    def everything(self) -> tuple[list[Document], list[Document]]:
        """(ModelDeployments, ModelRevisions). Raises `NotFound` if there is no such namespace."""
        found = self._list(f"{DEPLOYMENTS},{REVISIONS}")
        if not found:
            self._check_namespace()
        deployments = [one for one in found if one.get("kind") == "ModelDeployment"]
        return deployments, [one for one in found if one.get("kind") == "ModelRevision"]

    def named(self, name: str) -> tuple[list[Document], list[Document]]:
        """The ModelDeployments of this name, one per namespace, and ModelRevisions; `NotFound` if there is none."""
        if self.namespace is None:
            deployments, revisions = self.everything()
            found = [one for one in deployments if one["metadata"]["name"] == name]
            if not found:
                raise self._unknown(name, deployments)
            return found, revisions
        return [self.deployment(name)], self.revisions(name)

    def deployment(self, name: str) -> Document:
        """One ModelDeployment; `NotFound` names those that there are."""
        try:
            return self.kubectl.read("get", DEPLOYMENTS, name, *self._where())
        except NotFound:
            deployments = self._list(DEPLOYMENTS)
            if not deployments:
                self._check_namespace()
            raise self._unknown(name, deployments) from None

    def revisions(self, deployment: str) -> list[Document]:
        return self._list(REVISIONS, f"--selector={DEPLOYMENT}={deployment}")

    def _list(self, *arguments: str) -> list[Document]:
        return list(self.kubectl.read("get", *arguments, *self._where()).get("items") or [])

    def _where(self) -> tuple[str, ...]:
        return ("--all-namespaces",) if self.namespace is None else (f"--namespace={self.namespace}",)

    def _unknown(self, name: str, deployments: list[Document]) -> NotFound:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        known = ", ".join(sorted({one["metadata"]["name"] for one in deployments})) or "none"
        return NotFound(f"Cannot find {name}: no ModelDeployment has this name{where}; known: {known}")

    def _check_namespace(self) -> None:
        """kubectl lists nothing in a namespace that is not there."""
        if self.namespace is None:
            return
        try:
            self.kubectl.read("get", "namespace", self.namespace)
        except NotFound:
            raise NotFound(
                f"Cannot find namespace {self.namespace} in context {self.kubectl.context.name}; choose another with -n"
            ) from None
        except UserError:
            return  # who may not read namespaces may still read what is in one
