"""A deployment's HTTPRoute: who answers its users, and in what shares. Pure: values in, documents out.

Gateway API has no way back from a revision that fails. Envoy Gateway's BackendTrafficPolicy has: with one cluster of
all backends, Envoy retries a failed request at the other revision, so that a bad challenger fails no user. On other
gateways a route without it is made.

Users who stay on one side have a rule of their own: see `sticky`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from seamark.seen import RouteSeen
from seamark.state import Route
from seamark_kubernetes import names, sticky
from seamark_kubernetes.api import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE, Document, Kind, Owner
from seamark_kubernetes.settings import Settings

__all__ = [
    "CONFIRM_PATH",
    "companion_kinds",
    "companions",
    "fingerprint",
    "host",
    "http_route",
    "probes",
    "route_seen",
    "sticky_policy",
]

#: The gateway itself redirects this path to one that ends in the route's fingerprint.
CONFIRM_PATH = "/seamark/route"
_PORT = 80
_REQUEST_TIMEOUT = "30s"
#: Predictions change nothing, so they may be repeated. 500 is what a model that cannot compute answers.
_RETRY = {
    "numRetries": 4,
    "retryOn": {
        "triggers": ["connect-failure", "reset", "refused-stream", "retriable-status-codes"],
        "httpStatusCodes": [500, 502, 503, 504],
    },
    "perRetry": {"backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}},
}


def host(settings: Settings, owner: Owner) -> str:
    """The name that users call the deployment by."""
    return settings.host.format(name=owner.name, namespace=owner.namespace, domain=settings.domain)


def http_route(settings: Settings, owner: Owner, route: Route, *, has_sticky_rule: bool = False) -> Document:
    """The HTTPRoute that sends users where `route` says; to stay on one side they need the sticky rule."""
    header = route.sticky if has_sticky_rule and sticky.is_asked(route) else None
    rules = _rules(route, has_sticky_rule, header)
    mark = hashlib.sha256(json.dumps([rules, header], sort_keys=True).encode()).hexdigest()[:12]
    namespace, name = settings.gateway
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": _metadata(owner) | ({"annotations": {names.STICKY: header}} if header else {}),
        "spec": {
            "hostnames": [host(settings, owner)],
            "parentRefs": [
                {"group": HTTP_ROUTE.group, "kind": "Gateway", "name": name, "namespace": namespace},
            ],
            "rules": [_confirming(mark), *rules],
        },
    }


def _metadata(owner: Owner) -> Document:
    return {
        "name": names.route(owner.name),
        "namespace": owner.namespace,
        "labels": names.labels(owner.name, "serving"),
        "ownerReferences": [owner.reference()],
    }


def _confirming(mark: str) -> Document:
    path = {"type": "ReplaceFullPath", "replaceFullPath": f"{CONFIRM_PATH}/{mark}"}
    return {
        "matches": [{"path": {"type": "Exact", "value": CONFIRM_PATH}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"path": path, "statusCode": 302}}],
    }


def _rules(route: Route, has_sticky_rule: bool, header: str | None) -> list[Document]:
    weights = sorted((name, weight) for name, weight in route.weights.items() if weight)
    anyone = next((name for name, _ in weights if name == route.fallback), weights[0][0])
    main: Document = {"matches": [{"path": _ALL}], "backendRefs": [_backend(*one) for one in weights]}
    if header:
        main = _nobody(anyone)
    elif route.mirror is not None:
        main["filters"] = [_mirror(*route.mirror)]
    # Gateways prefer the rule that matches more, whatever the order. But Envoy Gateway names clusters by the rule's
    # place: if a rule moved when testers leave, requests would for an instant go to a cluster that is no more.
    rules = [main | _TIMEOUTS, _testers(route) or _nobody(anyone)]
    return [*rules, _sticky(dict(weights), anyone, is_used=bool(header))] if has_sticky_rule else rules


_ALL = {"type": "PathPrefix", "value": "/"}
_TIMEOUTS = {"timeouts": {"request": _REQUEST_TIMEOUT}}
_NOBODY = {"type": "Exact", "name": "x-seamark-nobody", "value": "nobody"}


def _testers(route: Route) -> Document | None:
    """People with one of the headers meet the challenger."""
    if not route.match or route.match_to is None:
        return None
    matches = [
        {"path": _ALL, "headers": [{"type": "Exact", "name": header, "value": value}]} for header, value in route.match
    ]
    return {"matches": matches, "backendRefs": [_backend(route.match_to, 1)]} | _TIMEOUTS


def _nobody(revision: str) -> Document:
    """Holds a rule's place while it is not in use."""
    return {"matches": [{"path": _ALL, "headers": [_NOBODY]}], "backendRefs": [_backend(revision, 1)]}


def _sticky(weights: Mapping[str, int], champion: str, *, is_used: bool) -> Document:
    """The champion's share comes first and shrinks at its end: as the challenger grows, people only move to it."""
    sides = sorted(weights.items(), key=lambda one: one[0] != champion) if is_used else [(champion, 1), (champion, 1)]
    match: Document = {"path": _ALL} if is_used else {"path": _ALL, "headers": [_NOBODY]}
    return sticky.rule(match, [_backend(*side) for side in sides]) | _TIMEOUTS


def _backend(revision: str, weight: int) -> Document:
    return {"group": "", "kind": "Service", "name": names.service(revision), "port": _PORT, "weight": weight}


def _mirror(revision: str, percent: int) -> Document:
    backend = {"group": "", "kind": "Service", "name": names.service(revision), "port": _PORT}
    return {"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": percent}}


def companion_kinds(settings: Settings) -> tuple[Kind, ...]:
    """What `companions` may hold: those it does not hold are to be deleted."""
    return (BACKEND_TRAFFIC_POLICY,) if settings.envoy else ()


def companions(settings: Settings, owner: Owner) -> list[tuple[Kind, Document]]:
    """What this gateway needs beside the route, named as the route."""
    if not settings.envoy:
        return []
    policy: Document = {
        "targetRefs": [{"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.kind, "name": names.route(owner.name)}],
        "retry": _RETRY,
    }
    document = {
        "apiVersion": BACKEND_TRAFFIC_POLICY.api_version,
        "kind": BACKEND_TRAFFIC_POLICY.kind,
        "metadata": _metadata(owner),
        "spec": policy,
    }
    return [(BACKEND_TRAFFIC_POLICY, document)]


def sticky_policy(owner: Owner, route: Document, header: str) -> Document:
    """What the sticky rule of the HTTPRoute `route` needs: the gateway must know it before the rule is there."""
    return {
        "apiVersion": BACKEND_TRAFFIC_POLICY.api_version,
        "kind": BACKEND_TRAFFIC_POLICY.kind,
        "metadata": {
            "name": names.sticky_policy(owner.name),
            "namespace": owner.namespace,
            "labels": names.labels(owner.name, "serving"),
            "ownerReferences": [sticky.owned_by(route)],
        },
        "spec": sticky.policy(names.route(owner.name), header) | {"retry": _RETRY},
    }


# --- reading


def route_seen(document: Document) -> RouteSeen | None:
    """What an HTTPRoute asks for; None for one that no operator of ours wrote."""
    rule = next((rule for rule in _read_rules(document) if _is_main(rule)), None)
    if rule is None:
        return None
    weights: dict[str, int] = {}
    for backend in rule.get("backendRefs") or []:
        weights[_revision(backend)] = weights.get(_revision(backend), 0) + int(backend.get("weight", 1))
    return RouteSeen(_percents(weights), _mirror_seen(rule))


def _read_rules(document: Document) -> list[Document]:
    return list((document.get("spec") or {}).get("rules") or [])


def _is_main(rule: Document) -> bool:
    matches = rule.get("matches") or []
    return any((match.get("path") or {}).get("value") == "/" and not match.get("headers") for match in matches)


def _revision(backend: Document) -> str:
    return str(backend.get("name", "")).removesuffix(names.service(""))


def _percents(weights: dict[str, int]) -> dict[str, int]:
    """A single backend has everything, whatever its weight; others are percents already, as we write them."""
    if len(weights) == 1:
        return {name: 100 for name, weight in weights.items() if weight}
    return {name: weight for name, weight in weights.items() if weight}


def _mirror_seen(rule: Document) -> tuple[str, int] | None:
    for found in rule.get("filters") or []:
        mirror: dict[str, Any] | None = found.get("requestMirror")
        if mirror is not None:
            return _revision(mirror.get("backendRef") or {}), int(mirror.get("percent", 100))
    return None


def fingerprint(document: Document) -> str:
    """What the gateway shows at CONFIRM_PATH once it has this route; "" for a route that has no such rule."""
    for rule in _read_rules(document):
        for found in rule.get("filters") or []:
            path = ((found.get("requestRedirect") or {}).get("path") or {}).get("replaceFullPath", "")
            if path.startswith(f"{CONFIRM_PATH}/"):
                return str(path).removeprefix(f"{CONFIRM_PATH}/")
    return ""


#: Requests that ask for one side; with users who stay on one, as many users.
_PROBES = 3
_STICKY_PROBES = 24


def probes(document: Document) -> list[dict[str, str]]:
    """Headers of the requests to which every side of a route must have an answer. Chance finds the sides of users who
    stay: one of 10 percent is missed by 24 users once in 12 times.
    """
    header = ((document.get("metadata") or {}).get("annotations") or {}).get(names.STICKY)
    users = [{header: f"seamark-{i}"} for i in range(_STICKY_PROBES)] if header else [{} for _ in range(_PROBES)]
    matches = [match for rule in _read_rules(document) for match in rule.get("matches") or []]
    testers = [{one["name"]: one["value"] for one in match["headers"]} for match in matches if match.get("headers")]
    return users + [headers for headers in testers if _NOBODY["name"] not in headers][:_PROBES]
