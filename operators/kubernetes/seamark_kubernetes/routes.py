"""A deployment's HTTPRoute: who answers its users, and in what shares. Pure: values in, documents out.

Gateway API has no way back from a revision that fails. Envoy Gateway's BackendTrafficPolicy has: with one cluster of
all backends, Envoy retries a failed request at the other revision, so that a bad challenger fails no user. On other
gateways a route without it is made.

Users do not stick to a side yet. Envoy Gateway can do that with a cluster for each backend, but version 1.9.1 then
leaves new clusters out until something else changes, and answers 500 meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from seamark.seen import RouteSeen
from seamark.state import Route
from seamark_kubernetes import names
from seamark_kubernetes.api import HTTP_ROUTE, Document, Kind, Owner
from seamark_kubernetes.settings import Settings

__all__ = [
    "BACKEND_TRAFFIC_POLICY",
    "CONFIRM_PATH",
    "companion_kinds",
    "companions",
    "fingerprint",
    "host",
    "http_route",
    "route_seen",
]

BACKEND_TRAFFIC_POLICY = Kind("gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies", "BackendTrafficPolicy")

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


def http_route(settings: Settings, owner: Owner, route: Route) -> Document:
    """The HTTPRoute that sends users where `route` says."""
    rules = _rules(route)
    mark = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]
    namespace, name = settings.gateway
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": _metadata(owner),
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


def _rules(route: Route) -> list[Document]:
    weights = sorted((name, weight) for name, weight in route.weights.items() if weight)
    main: Document = {
        "matches": [{"path": _ALL}],
        "backendRefs": [_backend(name, weight) for name, weight in weights],
        "timeouts": {"request": _REQUEST_TIMEOUT},
    }
    if route.mirror is not None:
        main["filters"] = [_mirror(*route.mirror)]
    # Gateways prefer the rule that matches more, whatever the order. But Envoy Gateway names clusters by the rule's
    # place: if the main rule moved when testers leave, requests would for an instant go to a cluster that is no more.
    return [main, _testers(route) or _nobody(weights[0][0])]


_ALL = {"type": "PathPrefix", "value": "/"}


def _testers(route: Route) -> Document | None:
    """People with one of the headers meet the challenger."""
    if not route.match or route.match_to is None:
        return None
    matches = [
        {"path": _ALL, "headers": [{"type": "Exact", "name": header, "value": value}]} for header, value in route.match
    ]
    backends = [_backend(route.match_to, 1)]
    return {"matches": matches, "backendRefs": backends, "timeouts": {"request": _REQUEST_TIMEOUT}}


def _nobody(revision: str) -> Document:
    """Holds the testers' place while there are none."""
    header = {"type": "Exact", "name": "x-seamark-nobody", "value": "nobody"}
    backends = [_backend(revision, 1)]
    return {"matches": [{"path": _ALL, "headers": [header]}], "backendRefs": backends}


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
