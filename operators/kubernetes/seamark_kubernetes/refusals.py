"""What the API server would not take, so that the decision sees it and goes on.

Kept in memory only: after a restart the decision asks again, and is refused again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from seamark.seen import JobSeen, RevisionSeen

__all__ = ["Refusals"]

#: (namespace, name) of a ModelDeployment.
_Key = tuple[str, str]


@dataclass(slots=True)
class _Refused:
    """By the revision's or the Job's name."""

    revisions: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, JobSeen] = field(default_factory=dict)


class Refusals:
    """Of all deployments. Each has at most its known revisions and one Job here."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Refused] = {}

    def refuse_revision(self, key: _Key, revision: str, cause: str) -> None:
        self._known.setdefault(key, _Refused()).revisions[revision] = cause

    def refuse_job(self, key: _Key, job: str, cause: str, now: float) -> None:
        """now: Unix seconds. A deployment has one Job at a time: an earlier one is forgotten."""
        self._known.setdefault(key, _Refused()).jobs = {job: JobSeen("failed", now, now, message=cause)}

    def accept(self, key: _Key, name: str) -> None:
        """The revision or the Job was taken, or is not wanted any more."""
        if (known := self._known.get(key)) is not None:
            known.revisions.pop(name, None)
            known.jobs.pop(name, None)

    def keep(self, key: _Key, revisions: Collection[str]) -> None:
        """Forgets all other revisions."""
        if (known := self._known.get(key)) is not None:
            known.revisions = {name: cause for name, cause in known.revisions.items() if name in revisions}

    def forget(self, key: _Key) -> None:
        """The deployment is gone."""
        self._known.pop(key, None)

    def revisions(self, key: _Key, seen: Mapping[str, RevisionSeen]) -> dict[str, RevisionSeen]:
        """`seen`, with refused revisions as failing. One that is not served at all has no replicas: so it is asked
        for again, and a refusal that is over is noticed."""
        merged = dict(seen)
        for name, cause in self._refused(key).revisions.items():
            before = merged.get(name, RevisionSeen(0, 0))
            merged[name] = replace(before, failing=before.failing or cause)
        return merged

    def jobs(self, key: _Key, seen: Mapping[str, JobSeen]) -> dict[str, JobSeen]:
        """`seen`, with a refused Job as failed."""
        return {**self._refused(key).jobs, **seen}

    def _refused(self, key: _Key) -> _Refused:
        return self._known.get(key) or _Refused()
