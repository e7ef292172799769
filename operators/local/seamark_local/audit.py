"""The audit's JSON: a decision and all it was made from, exact enough to be made again and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from seamark.actions import Decision
from seamark.seen import Seen
from seamark.spec import ModelDeployment, parse
from seamark.state import State

__all__ = ["decision_document", "encode", "inputs"]

Row = tuple[bytes, bytes, bytes, bytes]


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as plain values; each action carries its type's name."""
    actions = [{"type": type(action).__name__, **_plain(action)} for action in decision.actions]
    return {
        "state": _plain(decision.state),
        "actions": actions,
        "verdict": _plain(decision.verdict),
        "wake_after": decision.wake_after,
    }


def _plain(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def encode(document: Mapping[str, Any], before: State, seen: Seen, decision: Decision) -> Row:
    """(spec, before, seen, decision) as the store keeps them."""
    encoder = msgspec.json.encode
    return encoder(document), encoder(before), encoder(seen), encoder(decision_document(decision))


def inputs(spec: bytes, before: bytes, seen: bytes) -> tuple[ModelDeployment, State, Seen]:
    """What the decision was made from, back from JSON."""
    return (
        parse(msgspec.json.decode(spec)),
        msgspec.json.decode(before, type=State),
        msgspec.json.decode(seen, type=Seen),
    )
