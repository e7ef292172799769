"""Users who stay on one side: a rule of the HTTPRoute with a cluster for each side, and the rule's own policy. Pure.

A filter on a backend makes Envoy Gateway give each backend a cluster; the policy makes Envoy choose the cluster by a
hash of the user's header. A share is then a range of hashes, whatever pods there are.

A route may reach Envoy before its new clusters, and then Envoy answers 500. Worse, Envoy may wait forever for the
endpoints of a cluster that changed its policy, and meanwhile takes no new cluster of anybody (seen with Envoy Gateway
1.9.1). So a sticky rule's clusters never change, and are there before they are used:

1. The gateway knows the policy before the rule is there, and so makes its clusters right the first time.
2. The rule is there, with both clusters, before it is used. While nobody uses it, both sides are the champion.
3. Rule and policy stay. The policy belongs to the HTTPRoute, so that it is deleted after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from seamark.state import Route
from seamark_kubernetes.api import HTTP_ROUTE, Document

__all__ = ["RULE", "has_rule", "is_asked", "is_known", "owned_by", "policy", "rule", "waiting"]

#: The rule's name, by which the policy finds it.
RULE = "sticky"
#: Answers to users who stay on one side bear it: the Service that was chosen.
_ARM = "x-seamark-arm"


def is_asked(route: Route) -> bool:
    """Are there two sides for users to stay on?"""
    return route.sticky is not None and sum(1 for weight in route.weights.values() if weight) > 1


def waiting(route: Route) -> Route:
    """The route while its sticky rule cannot be used yet: nobody meets the challenger, and nobody has to go back."""
    champion = route.fallback or max(route.weights, key=lambda name: route.weights[name])
    return replace(route, weights={champion: 100}, sticky=None)


def rule(match: Document, backends: Sequence[Document]) -> Document:
    """The rule for `match`, with its backends in the order in which they share the hashes."""
    return {"name": RULE, "matches": [match], "backendRefs": [_apart(backend) for backend in backends]}


def _apart(backend: Document) -> Document:
    header = {"name": _ARM, "value": backend["name"]}
    return backend | {"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [header]}}]}


def policy(route: str, header: str) -> Document:
    """What a BackendTrafficPolicy says of the sticky rule of the HTTPRoute named `route`."""
    target = {"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.kind, "name": route, "sectionName": RULE}
    hashing = {"type": "Headers", "headers": [{"name": header}]}
    return {"targetRefs": [target], "loadBalancer": {"type": "ConsistentHash", "consistentHash": hashing}}


def owned_by(route: Document) -> Document:
    """The owner reference that deletes the policy after the HTTPRoute."""
    metadata = route["metadata"]
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_known(document: Document) -> bool:
    """Has the gateway's controller looked at this very policy? That it finds no such rule yet is no matter."""
    generation = (document.get("metadata") or {}).get("generation")
    ancestors = (document.get("status") or {}).get("ancestors") or []
    observed = [one.get("observedGeneration") for ancestor in ancestors for one in ancestor.get("conditions") or []]
    return bool(observed) and all(one == generation for one in observed)


def has_rule(route: Document) -> bool:
    """Does this HTTPRoute have the sticky rule, used or not?"""
    return any(one.get("name") == RULE for one in (route.get("spec") or {}).get("rules") or [])
