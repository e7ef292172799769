"""From ModelRevisions to the history of decisions about them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seamark_local.cluster.summaries import Document, created
from seamark_local.history import Decided, History, Version

__all__ = ["history"]

#: Decisions that the operator keeps of a revision, and so the number from which on earlier ones may be gone.
_KEPT = 20


def history(deployment: str, revisions: Iterable[Document]) -> History:
    """All that the deployment's ModelRevisions tell. The sequence numbers are the deployment's, over all revisions."""
    known = sorted(revisions, key=created)
    decisions = sorted((one for revision in known for one in _decided(revision)), key=lambda one: one.sequence)
    full = [revision["metadata"]["name"] for revision in known if len(_history(revision)) >= _KEPT]
    note = f"only the newest {_KEPT} decisions are kept of {', '.join(full)}" if full else ""
    return History(deployment, tuple(decisions), tuple(map(_version, known)), note)


def _history(revision: Document) -> list[Document]:
    return list((revision.get("status") or {}).get("history") or [])


def _decided(revision: Document) -> Iterator[Decided]:
    for line in _history(revision):
        yield Decided(
            sequence=int(line.get("sequence", 0)),
            time=str(line.get("time", "")),
            what=str(line.get("what", "")),
            revision=revision["metadata"]["name"],
            reason=str(line.get("reason", "")),
            evidence=line.get("evidence") or {},
        )


def _version(revision: Document) -> Version:
    spec, status = revision.get("spec") or {}, revision.get("status") or {}
    return Version(
        name=revision["metadata"]["name"],
        version=str(spec.get("version", "")),
        origin=str(spec.get("origin", "")),
        uri=str(spec.get("uri", "")),
        digest=str(spec.get("digest", "")),
        created=created(revision),
        phase=str(status.get("phase", "Pending")),
    )
