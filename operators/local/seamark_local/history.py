"""What was decided about a deployment's revisions, when and on which evidence, so that it can be checked. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

__all__ = ["Decided", "History", "Version", "lines"]

_INDENT = " " * 4


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision. sequence: its number among the deployment's; time: UTC, as `2026-01-31T10:00:00Z`.

    what: Promote, RollBack or StartRetraining; evidence: plain values, as the operator wrote them down.
    """

    sequence: int
    time: str
    what: str
    revision: str
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """What a revision is. origin: spec or retraining; digest: SHA-256 of the package's `seamark.json`."""

    name: str
    version: str
    origin: str
    uri: str
    digest: str
    created: str
    phase: str


@dataclass(frozen=True, slots=True)
class History:
    """decisions: by sequence; versions: oldest first. note: what people should know about what is missing."""

    deployment: str
    decisions: tuple[Decided, ...]
    versions: tuple[Version, ...]
    note: str = ""

    def about(self, revision: str | None) -> History:
        """Only what concerns this revision; all for None."""
        if revision is None:
            return self
        decisions = tuple(one for one in self.decisions if one.revision == revision)
        return replace(self, decisions=decisions, versions=tuple(one for one in self.versions if one.name == revision))

    def document(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def lines(history: History) -> Iterator[str]:
    """For people: each decision with its evidence, oldest first; then what the revisions are."""
    if not history.decisions:
        yield f"no decision about {history.deployment} is recorded"
    for decided in history.decisions:
        yield from _decision(decided)
    if history.versions:
        yield ""
    for version in history.versions:
        yield from _version(version)
    if history.note:
        yield history.note


def _decision(decided: Decided) -> Iterator[str]:
    yield f"{decided.time} #{decided.sequence} {decided.what} {decided.revision}: {decided.reason or 'no reason given'}"
    left = dict(decided.evidence)
    if verdict := left.pop("verdict", None):
        yield _line("verdict", f"{verdict} ({left.pop('reason', '?')}): {left.pop('message', '')}")
    for gate in _gates(left):
        yield _line("gate", f"{gate.get('metric', '?')} {gate.get('outcome', '?')}: {gate.get('message', '')}")
    for name, value in left.items():
        yield _line(name, _value(name, value))


def _gates(left: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Takes the gates out, if they are what they should be; else they are shown as any other evidence."""
    gates = left.get("gates")
    if not isinstance(gates, list) or not all(isinstance(gate, Mapping) for gate in gates):
        return ()
    del left["gates"]
    return gates


def _line(name: str, value: str) -> str:
    return f"{_INDENT}{name:<12} {value}"


def _value(name: str, value: object) -> str:
    # Whoever reads the steps in the manifest counts from one, as `seamark status` does.
    if name == "step" and isinstance(value, int):
        return str(value + 1)
    if name == "since" and isinstance(value, int | float):
        return _moment(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return "none" if value is None else str(value)


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # no such year
        return str(seconds)


def _version(version: Version) -> Iterator[str]:
    yield f"{version.name} {version.phase}"
    named = ("version", version.version), ("origin", version.origin), ("package", version.uri)
    for name, value in (*named, ("digest", version.digest), ("created", version.created)):
        if value:
            yield _line(name, value)
