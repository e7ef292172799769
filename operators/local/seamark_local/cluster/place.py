"""The deployments of a cluster, in one namespace or in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seamark.errors import NotFound
from seamark.seen import Verb
from seamark_local.cluster.commands import Commands
from seamark_local.cluster.kubectl import Kubectl, find_context
from seamark_local.cluster.reader import Reader
from seamark_local.cluster.records import history
from seamark_local.cluster.summaries import Document, owned, summaries
from seamark_local.history import History
from seamark_local.place import said

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Cluster"]


class Cluster:
    """A `seamark_local.place.Place`. namespace: the context's own if empty; everywhere: all namespaces.

    context and kubeconfig: empty for kubectl's own. Raises `UserError` if there is no such context.
    """

    #: A look is a process or two, and a question to the API server.
    interval = 2.0

    def __init__(self, context: str, kubeconfig: str, namespace: str = "", *, everywhere: bool = False) -> None:
        found = find_context(context, kubeconfig)
        self._context = found.name
        self._namespace = None if everywhere else namespace or found.namespace
        self._reader = Reader(Kubectl(found), self._namespace)

    # --- looking

    def overview(self, name: str | None) -> dict[str, Any]:
        return {"context": self._context, "namespace": self._namespace, "deployments": self._summaries(name)}

    def screen(self, name: str | None) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from seamark_local.status import table

        found = self._summaries(name)
        if self._namespace is None:
            head, nothing = f"context {self._context}, all namespaces", "no ModelDeployment in this cluster"
        else:
            head = f"context {self._context}, namespace {self._namespace}"
            nothing = "no ModelDeployment in this namespace; -A shows those of all"
        shown = table(found, namespaces=self._namespace is None) if found else Text(nothing)
        return Group(Text(head, "dim"), Text(), shown)

    def _summaries(self, name: str | None) -> list[Document]:
        return summaries(*(self._reader.named(name) if name else self._reader.everything()))

    # --- people's decisions

    def ask(self, name: str, verb: Verb, by: str, reason: str) -> str:
        message = Commands(self._reader).ask(name, verb, by, reason)
        where = f"namespace {self._namespace}, context {self._context}"
        return f"{name} ({where}): {said(verb, message)}"

    # --- the audit

    def history(self, name: str) -> History:
        """Of a deployment's revisions that there still are; they go with the deployment."""
        try:
            found = self._reader.deployment(name)
        except NotFound:
            deployment, _, mark = name.rpartition("-")
            revisions = self._reader.revisions(deployment) if mark else []
            if not any(one["metadata"]["name"] == name for one in revisions):
                raise
            return history(deployment, revisions).about(name)
        return history(name, owned(found, self._reader.revisions(name)))
