"""Asks the operator of a cluster by annotation, and waits for what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from seamark.errors import Conflict, NotFound, Unavailable, UserError
from seamark.seen import Verb
from seamark_local.cluster import asking
from seamark_local.cluster.kubectl import LIMIT, Kubectl
from seamark_local.cluster.objects import COMMAND, DEPLOYMENTS, RECONCILE
from seamark_local.cluster.reader import Reader
from seamark_local.cluster.summaries import Document

__all__ = ["Commands"]

#: Seconds to wait for the operator to obey or refuse, and for its status to change once it has taken the command.
PATIENCE = 15.0
SETTLED = 2.0
_INTERVAL = 0.3
#: The operator may write the object between our look and our change of it.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands to ModelDeployments of the reader's namespace."""

    reader: Reader

    def ask(self, name: str, verb: Verb, by: str, reason: str) -> str:
        """What the operator has to say once it obeyed. by: empty for the cluster's user.

        Raises `UserError` if it refuses, and `Unavailable` if it does not answer in time: then the command stays set.
        """
        text = asking.text(verb, by or self._user(), reason)
        before = self._set(name, verb, text)
        status = self._answered(before, verb, text)
        if refused := asking.refusal(verb, status):
            raise UserError(refused)
        return str(status.get("message", ""))

    def _user(self) -> str:
        try:
            found = self._kubectl.read("auth", "whoami")
        except (UserError, Unavailable) as error:
            raise UserError(f"Cannot tell who you are, so say it with --by: {error}") from error
        return asking.signature(str(found.get("status", {}).get("userInfo", {}).get("username", "")))

    @property
    def _kubectl(self) -> Kubectl:
        return self.reader.kubectl

    # --- setting it

    def _set(self, name: str, verb: Verb, text: str) -> Document:
        """The ModelDeployment as it was when it got the annotation. An earlier command is not overwritten."""
        for _ in range(_TRIES):
            found = self.reader.deployment(name)
            _check(found, verb)
            try:
                self._annotate(found, text)
            except Conflict:
                continue  # look again: it may be somebody else's command
            return found
        raise Unavailable(f"Cannot {verb} {name}: it changed each of the {_TRIES} times that this was tried; try again")

    def _annotate(self, found: Document, text: str) -> None:
        metadata = found["metadata"]
        change = {"resourceVersion": metadata["resourceVersion"], "annotations": {COMMAND: text}}
        where = f"--namespace={metadata['namespace']}"
        patch = json.dumps({"metadata": change})
        self._kubectl.read("patch", DEPLOYMENTS, metadata["name"], where, "--type=merge", f"--patch={patch}")

    # --- waiting

    def _answered(self, before: Document, verb: Verb, text: str) -> Document:
        """The status that shows what came of it. The operator takes the annotation away first and reports then."""
        deadline = time.monotonic() + PATIENCE
        read: float | None = None
        while (now := time.monotonic()) < deadline:
            found = self._look(before, deadline - now)
            if found is not None and not _is_set(found, text):
                read = now if read is None else read
                status = found.get("status") or {}
                if _is_told(verb, before.get("status") or {}, status, settled=now - read >= SETTLED):
                    return status
            time.sleep(_INTERVAL)
        raise Unavailable(_unanswered(before, verb, is_read=read is not None))

    def _look(self, before: Document, limit: float) -> Document | None:
        """None while the cluster cannot be asked: it may be back in time."""
        metadata = before["metadata"]
        where = f"--namespace={metadata['namespace']}"
        try:
            return self._kubectl.read("get", DEPLOYMENTS, metadata["name"], where, limit=min(limit, LIMIT))
        except Unavailable:
            return None
        except NotFound:
            raise NotFound(f"Cannot tell what came of it: {metadata['name']} was deleted") from None


def _unanswered(before: Document, verb: Verb, *, is_read: bool) -> str:
    name, namespace = before["metadata"]["name"], before["metadata"]["namespace"]
    unknown = f"Cannot tell what came of {verb} {name}: the operator"
    if is_read:
        return f"{unknown} has read it, but reported nothing within {PATIENCE:.0f} s; see seamark status {name}"
    return (
        f"{unknown} has not read it within {PATIENCE:.0f} s; it stays set for the operator, unless you take it back:"
        f" kubectl annotate -n {namespace} {DEPLOYMENTS} {name} {COMMAND}-"
    )


def _annotations(found: Document) -> dict[str, str]:
    return found["metadata"].get("annotations") or {}


def _is_set(found: Document, text: str) -> bool:
    return _annotations(found).get(COMMAND) == text


def _check(found: Document, verb: Verb) -> None:
    """Raises `UserError` where the command would overwrite another one, or wait for ever."""
    name, annotations = found["metadata"]["name"], _annotations(found)
    if annotations.get(RECONCILE) == "disabled":
        raise UserError(f"Cannot {verb} {name}: annotation {RECONCILE} tells the operator to leave it alone")
    if earlier := annotations.get(COMMAND):
        raise UserError(f"Cannot {verb} {name}: the operator has not read an earlier command yet: {earlier}")


def _is_told(verb: Verb, before: Document, now: Document, *, settled: bool) -> bool:
    """Does the status show what came of the command?

    before, now: when it was asked and after it was read. settled: nothing new has come for a while. Then a refusal that
    stood there before was repeated, and an approval, which may show nowhere, was taken.
    """
    refused = asking.refusal(verb, now)
    is_new = bool(refused) and refused != asking.refusal(verb, before)
    return is_new or asking.is_obeyed(verb, before, now) or (settled and (bool(refused) or verb == "approve"))
