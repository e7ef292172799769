"""What the operator was told to keep true, by deployment, in the store's facts: what to serve and how to route.

A decision says it once; the operator keeps it true until told otherwise, also after it was killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from seamark.actions import Route
from seamark_local.store import Store

__all__ = ["Served", "Wanted", "adopt", "deployments", "forget", "load", "save"]


@dataclass(frozen=True, slots=True)
class Served:
    """A revision to run. retiring: it ends when the gateway confirms that nothing goes there; error: why it cannot."""

    uri: str
    digest: str
    replicas: int
    retiring: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    serving: Mapping[str, Served] = field(default_factory=dict)
    route: Route | None = None


def deployments(store: Store) -> list[str]:
    """Every deployment that something is kept for, the deleted ones too until they are cleaned up."""
    return list(store.fact("deployments") or [])


def load(store: Store, name: str) -> Wanted:
    serving = msgspec.convert(store.fact(f"serve/{name}") or {}, dict[str, Served])
    return Wanted(serving, msgspec.convert(store.fact(f"route/{name}"), Route | None))


def adopt(store: Store, name: str) -> None:
    """Count the deployment among those that something is kept for."""
    _set(store, "deployments", sorted({*deployments(store), name}))


def save(store: Store, name: str, wanted: Wanted) -> None:
    """Remember it; writes only what differs."""
    _set(store, f"serve/{name}", wanted.serving or None)
    _set(store, f"route/{name}", wanted.route)


def forget(store: Store, name: str) -> None:
    """Nothing is wanted for the deployment any more."""
    save(store, name, Wanted())
    _set(store, "deployments", sorted({*deployments(store)} - {name}))


def _set(store: Store, key: str, value: object) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(value))
    if store.fact(key) != plain:
        store.set_fact(key, plain)
