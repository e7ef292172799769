"""The deployments of this machine: what the operator wrote into the store, and commands by way of the store."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from seamark.errors import NotFound, UserError
from seamark.seen import Verb
from seamark.state import State
from seamark_local.history import Decided, History, Version
from seamark_local.home import Home, find_home
from seamark_local.lock import holder
from seamark_local.place import EFFECTS, said
from seamark_local.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Machine"]

#: Seconds to wait for the operator to obey or refuse a command; it looks several times a second.
ANSWER_PATIENCE = 5.0


class Machine:
    """A `seamark_local.place.Place`. Raises `NotFound` where there is no home."""

    interval = 1.0

    def __init__(self, path: Path) -> None:
        self.home: Home = find_home(path)
        self.store = Store(self.home.database)

    def known(self, name: str) -> str:
        """The name, if a ModelDeployment has it; `NotFound` if none has."""
        names = [manifest.name for manifest in self.store.manifests()]
        if name not in names:
            known = ", ".join(names) or "none"
            raise NotFound(f"Cannot find {name}: no ModelDeployment has this name; known: {known}")
        return name

    # --- looking

    def overview(self, name: str | None) -> dict[str, Any]:
        return {
            "running": holder(self.home.lock) is not None,
            "gateway": self.store.fact("gateway"),
            "deployments": self._summaries(name),
            "processes": msgspec.to_builtins(self.store.statuses()),
        }

    def screen(self, name: str | None) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from seamark_local.status import table, troubles

        found = [one for one in troubles(self.store.statuses()) if name is None or _concerns(one.name, name)]
        problems = [Text(f"{trouble.name}: {trouble.message}", "yellow") for trouble in found]
        head = Text(*self._head())
        return Group(head, Text(), table(self._summaries(name)), *problems)

    def _head(self) -> tuple[str, str]:
        """A line and its style."""
        if holder(self.home.lock) is None:
            return "Seamark is not running; this is what was true when it stopped", "yellow"
        gateway = self.store.fact("gateway") or {}
        return f"gateway http://{gateway.get('host', '?')}:{gateway.get('port', '?')}", "dim"

    def _summaries(self, name: str | None) -> list[dict[str, Any]]:
        """What the operator reported last; of a deployment it has not seen yet, that it is waiting."""
        names = [self.known(name)] if name else [manifest.name for manifest in self.store.manifests()]
        waiting = {"ready": False, "phase": "Pending", "message": "not looked at yet", "revisions": []}
        return [self.store.summary(known) or {"name": known, **waiting} for known in names]

    # --- people's decisions

    def ask(self, name: str, verb: Verb, by: str, reason: str) -> str:
        number = self.store.command(self.known(name), verb, by=by or _user(), reason=reason)
        if holder(self.home.lock) is None:
            return f"{name}: {EFFECTS[verb]} once seamark up runs again; see seamark events {name}"
        state = self._when_obeyed(name, number)
        if state is None:
            return f"{name}: {EFFECTS[verb]}; the operator has not answered yet, see seamark status"
        # A later command may have been answered by now; then this one's answer is gone.
        if state.answer and state.last_command == number:
            raise UserError(state.answer)
        return f"{name}: {said(verb, state.message)}"

    def _when_obeyed(self, name: str, number: int) -> State | None:
        """The state after the operator obeyed or refused the command; None when it takes too long."""
        deadline = time.monotonic() + ANSWER_PATIENCE
        while time.monotonic() < deadline:
            state = self.store.state(name)
            if state and state.last_command >= number:
                return state
            time.sleep(0.05)
        return None

    # --- the audit

    def history(self, name: str) -> History:
        """Of a deleted deployment, too, for as long as the audit is kept."""
        deployment, revision = self._subject(name)
        state = self.store.state(deployment) or State()
        decided = tuple(_decided(self.store.audit(deployment)))
        versions = tuple(
            Version(one.name, one.version, one.origin, one.uri, one.digest, _timestamp(one.created), one.phase)
            for one in sorted(state.revisions, key=lambda one: one.created)
        )
        return History(deployment, decided, versions).about(revision)

    def _subject(self, name: str) -> tuple[str, str | None]:
        """(deployment, revision or None) that the name stands for."""
        if self.store.audit(name):
            return name, None
        stem, _, mark = name.rpartition("-")
        if mark and any(one.revision == name for one in _decided(self.store.audit(stem))):
            return stem, name
        return self.known(name), None


def _concerns(process: str, deployment: str) -> bool:
    """Is it the deployment's own, or one that all share?"""
    kind, _, owner = process.partition("-")
    return kind not in ("predictor", "monitor", "trainer") or owner.startswith(f"{deployment}-")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the number may have no name
        return str(os.getuid())


def _decided(rows: Iterable[tuple[float, bytes, bytes, bytes, bytes]]) -> Iterator[Decided]:
    """The audit's records, numbered from 1."""
    records = (
        (moment, action)
        for moment, _, _, _, decision in rows
        for action in msgspec.json.decode(decision)["actions"]
        if action["type"] == "Record"
    )
    for number, (moment, found) in enumerate(records, 1):
        yield Decided(number, _timestamp(moment), found["what"], found["revision"], found["reason"], found["evidence"])


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
