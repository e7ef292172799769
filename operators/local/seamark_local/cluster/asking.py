"""A command as the operator reads it in the annotation, and what its status says about it afterwards. Pure."""

from __future__ import annotations

import re
from typing import Any

from seamark.errors import UserError
from seamark.seen import Verb

__all__ = ["is_obeyed", "refusal", "signature", "text"]

_LONGEST_NAME = 100
_LONGEST_REASON = 500


def signature(username: str) -> str:
    """The cluster's user name as a WHO: a colon, as in `system:serviceaccount:ns:name`, would end it."""
    return username.replace(":", "/")[:_LONGEST_NAME]


def text(verb: Verb, by: str, reason: str) -> str:
    """As `abort by ana: too slow`. Raises `UserError` for what the operator would refuse or read otherwise."""
    by, reason = by.strip(), reason.strip()
    if not by or len(by) > _LONGEST_NAME or ":" in by or not by.isprintable():
        raise UserError(f"Cannot {verb} as {by!r}: --by is a name of 1 to {_LONGEST_NAME} characters without a colon")
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        got = f"{len(reason)} characters" if reason.isprintable() else "several lines or control characters"
        raise UserError(f"Cannot {verb}: --reason is one line of at most {_LONGEST_REASON} characters, got {got}")
    return f"{verb} by {by}" + (f": {reason}" if reason else "")


def refusal(verb: Verb, status: dict[str, Any]) -> str:
    """Why the operator refused such a command; empty if its status tells of no refusal."""
    found = re.search(rf"\bCannot {verb} .+", str(status.get("message", "")))
    return found[0] if found else ""


def is_obeyed(verb: Verb, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Does the status show that the command took effect? An approval shows only in what is still waited for.

    before, now: the ModelDeployment's status when it was asked and after.
    """
    match verb:
        case "pause":
            return now.get("phase") == "Paused"
        case "resume":
            return now.get("phase") != "Paused"
        case "abort":
            return now.get("challenger") != before.get("challenger")
        case "promote":
            finishes = str(now.get("step", "")).startswith("all steps are done")
            return finishes or now.get("challenger") != before.get("challenger")
        case "approve":
            return False
