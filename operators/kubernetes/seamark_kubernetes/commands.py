"""What people ask for by annotating a ModelDeployment, exactly once.

`handled` in the committed memory says which text was seen to; only then is the annotation removed, and only when it is
seen gone is `handled` forgotten. So a crash at any point neither loses a command nor obeys it twice.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import cast

from seamark.seen import Command, Verb
from seamark_kubernetes import names
from seamark_kubernetes.api import MODEL_DEPLOYMENT, Api, Document
from seamark_kubernetes.memory import Memory

__all__ = ["ALLOWED", "Asked", "read", "remove"]

ALLOWED = "promote, abort, pause, resume or approve, then optionally ` by WHO` and `: WHY`, as `abort by ana: too slow`"

_TEXT = re.compile(
    r"(?P<verb>promote|abort|pause|resume|approve)"
    r"(?: by (?P<by>[^:]{1,100}))?"
    r"(?:: (?P<reason>.{1,500}))?"
)
_KEPT = 200
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """handled: what the memory is to say. command or refusal: what is new, at most one of the two.

    is_set: the annotation is there and is to be removed.
    """

    handled: str = ""
    command: Command | None = None
    refusal: str = ""
    is_set: bool = False


def read(document: Document, memory: Memory) -> Asked:
    """What the ModelDeployment's annotation asks for, given what was handled already."""
    text = (document["metadata"].get("annotations") or {}).get(names.COMMAND)
    if text is None:
        return Asked()
    mark = _mark(text)
    if mark == memory.handled:
        return Asked(mark, is_set=True)
    command = _parse(text, memory.state.last_command + 1)
    return Asked(mark, command, "" if command else _refusal(text), is_set=True)


def _mark(text: str) -> str:
    """The text, or its hash where it is long; never empty."""
    return text if 0 < len(text) <= _KEPT else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _parse(text: str, number: int) -> Command | None:
    found = _TEXT.fullmatch(text.strip())
    if found is None or not text.strip().isprintable():
        return None
    by, reason = (found["by"] or "").strip(), (found["reason"] or "").strip()
    return Command(number, cast(Verb, found["verb"]), by, reason)


def _refusal(text: str) -> str:
    shown = ascii(text) if len(text) <= _SHOWN else ascii(text[:_SHOWN]) + "..."
    return f"Cannot obey annotation {names.COMMAND}: got {shown}; allowed: {ALLOWED}"


async def remove(api: Api, document: Document) -> Document:
    """Take the annotation away unless the object has changed meanwhile (`Conflict`): it may be another command."""
    metadata = document["metadata"]
    change = {"resourceVersion": metadata["resourceVersion"], "annotations": {names.COMMAND: None}}
    return await api.patch(MODEL_DEPLOYMENT, metadata["namespace"], metadata["name"], {"metadata": change})
