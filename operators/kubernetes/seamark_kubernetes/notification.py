"""What Alertmanager's webhook sends (version 4): which deployments it hints at, and what cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from seamark_kubernetes.alertmanager import ALERT
from seamark_kubernetes.inbox import Key

__all__ = ["Hints", "read_hints"]

#: The only version of the webhook's format there is.
VERSION = "4"


class _Notification(msgspec.Struct, frozen=True, rename="camel"):
    """Alerts one by one, so that a bad one spoils no other. Unknown fields are passed over."""

    version: str
    alerts: list[msgspec.Raw]
    truncated_alerts: int = 0


class _Alert(msgspec.Struct, frozen=True):
    labels: dict[str, str]
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Hints:
    """hints: (deployment, fingerprint) of the usable alerts. quarantined: how many others, 1 if nothing could be read.

    problem: why the first of them cannot be used. truncated: alerts that Alertmanager left out.
    """

    hints: tuple[tuple[Key, str], ...] = ()
    quarantined: int = 0
    problem: str = ""
    truncated: int = 0


def read_hints(body: bytes, is_known: Callable[[Key], bool]) -> Hints:
    """The hints of a notification. Resolved alerts are hints, too: that drift is over is worth a look."""
    try:
        notification = msgspec.json.decode(body.decode(), type=_Notification)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Hints(quarantined=1, problem=str(error))
    if notification.version != VERSION:
        problem = f"version {notification.version[:20]!r}; allowed: {VERSION!r}"
        return Hints(quarantined=max(1, len(notification.alerts)), problem=problem)
    found = [_hint(alert, is_known) for alert in notification.alerts]
    hints, problems = [hint for hint in found if not isinstance(hint, str)], [p for p in found if isinstance(p, str)]
    truncated = max(0, notification.truncated_alerts)
    return Hints(tuple(hints), len(problems), problems[0] if problems else "", truncated)


def _hint(raw: msgspec.Raw, is_known: Callable[[Key], bool]) -> tuple[Key, str] | str:
    """The hint, or why the alert gives none."""
    try:
        alert = msgspec.json.decode(raw, type=_Alert)
    except (msgspec.MsgspecError, RecursionError) as error:
        return str(error)
    if alert.labels.get("alertname") != ALERT:
        return f"alert {alert.labels.get('alertname', '')[:60]!r}; allowed: {ALERT!r}"
    missing = [label for label in ("namespace", "deployment", "kind") if not alert.labels.get(label)]
    if missing:
        return f"without label {missing[0]!r}"
    key = (alert.labels["namespace"], alert.labels["deployment"])
    if not is_known(key):
        return f"no ModelDeployment {'/'.join(key)[:120]!r}"
    return key, alert.fingerprint
