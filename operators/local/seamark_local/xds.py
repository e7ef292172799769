"""What Envoy is told, as documents: routes, clusters and the bootstrap, from values. No file and no socket is touched.

A request is answered by the revision that the weights pick. When that revision's process cannot answer, the request is
tried again: at another replica of the revision, then at the backup revision, then, with growing pauses, wherever a
process comes back first. Predictions change nothing in the server, so trying again is harmless. What a model answered
itself (4xx, 500) is never tried again.

Dead replicas are found by the requests themselves: two failed connections set a replica aside for a second or two.
That needs no probes besides the supervisor's own; the operator takes replicas that are not ready out of the cluster.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seamark.actions import Route

__all__ = [
    "MAX_BODY",
    "ROUTE_TIMEOUT",
    "Model",
    "Services",
    "bootstrap",
    "clusters",
    "confirmed_route",
    "referenced",
    "routes",
]

Document = dict[str, Any]

#: Seconds a request may take, tries included. A try may take half, so that a hung replica leaves time for another.
ROUTE_TIMEOUT = 15.0
TRY_TIMEOUT = 7.0
#: Bytes. A request is held whole until it is answered, so that it can be tried again and copied.
MAX_BODY = 16 * 2**20
#: With pauses of 25 ms doubling up to 0.5 s (each drawn at random below that), about five seconds: a restart fits in.
RETRIES = 24
MAX_CONNECTIONS = 10_000
#: Copies under way at once to a revision under test: a slow one must not fill the gateway's memory.
MAX_COPIES = 256
NAMES_SHOWN = 20
ROUTE_CONFIG = "seamark"
UNAVAILABLE_FLAGS = ["LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NC", "URX", "DPE", "UPE"]
TYPE = "type.googleapis.com/"


@dataclass(frozen=True, slots=True)
class Model:
    """A deployment as the gateway needs it: the wanted route (None: nothing to serve yet) and ports by revision."""

    name: str
    route: Route | None = None
    ports: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Services:
    """Ports of the platform's own services behind the gateway; 0 while unknown."""

    analyzer: int = 0
    collector: int = 0


def _versioned(kind: str, resources: list[Document]) -> Document:
    """A DiscoveryResponse whose version is the hash of what it says, so that equal contents have equal versions."""
    tagged = [{"@type": TYPE + kind, **resource} for resource in resources]
    digest = hashlib.sha256(json.dumps(tagged, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": tagged}


# --- clusters


def _cluster_name(model: str, revision: str, part: str = "users") -> str:
    return f"model/{model}/{revision}/{part}"


def _endpoint(revision: str, port: int) -> Document:
    return {
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
        "metadata": {"filter_metadata": {"seamark": {"revision": revision}}},
    }


def _cluster(name: str, priorities: Sequence[Sequence[tuple[str, int]]], most: int = MAX_CONNECTIONS) -> Document:
    """A cluster of (revision, port) endpoints by priority; empty priorities are left out."""
    filled = [priority for priority in priorities if priority]
    limits = {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **limits}]},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "2s",
            "max_ejection_percent": 100,
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                # Shorter than any server's own, so that a copy (which is not tried again) meets no closed connection.
                "common_http_protocol_options": {"idle_timeout": "2s"},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            # One replica left out of several must not send a share of the revision's traffic to the backup.
            "policy": {"overprovisioning_factor": 100_000},
            "endpoints": [
                {"priority": i, "lb_endpoints": [_endpoint(revision, port) for revision, port in priority]}
                for i, priority in enumerate(filled)
            ],
        },
    }


def _backups(route: Route, revision: str) -> list[str]:
    if route.fallback and route.fallback != revision:
        return [route.fallback]
    return sorted(other for other, weight in route.weights.items() if weight > 0 and other != revision)


def _model_clusters(model: Model, also: Iterable[str]) -> list[Document]:
    """The clusters a model's wanted route needs, and those of `also`, revisions that the active route still names."""
    route = model.route
    if route is None:
        return []

    def targets(revisions: Iterable[str]) -> list[tuple[str, int]]:
        return [(revision, port) for revision in revisions for port in model.ports.get(revision, ())]

    names = {*(name for name, weight in route.weights.items() if weight > 0), *also}
    if route.match_to:
        names.add(route.match_to)
    result = [
        _cluster(_cluster_name(model.name, name), (targets([name]), targets(_backups(route, name))))
        for name in sorted(names)
    ]
    if route.mirror:
        name = route.mirror[0]
        result.append(_cluster(_cluster_name(model.name, name, "copies"), (targets([name]),), MAX_COPIES))
    return result


def clusters(models: Sequence[Model], services: Services, active: Iterable[str] = ()) -> Document:
    """The clusters for the wanted routes, and for those cluster names (`active`) that Envoy's present routes use."""
    also: dict[str, set[str]] = {}
    for name in active:
        _, model, revision, part = name.split("/") if name.startswith("model/") else ("", "", "", "")
        if part == "users":
            also.setdefault(model, set()).add(revision)
    result = [_cluster(f"service/{name}", ([(name, port)] if port else [],)) for name, port in _ports(services)]
    for model_seen in models:
        result.extend(_model_clusters(model_seen, also.get(model_seen.name, ())))
    return _versioned("envoy.config.cluster.v3.Cluster", result)


def _ports(services: Services) -> tuple[tuple[str, int], ...]:
    return (("analyzer", services.analyzer), ("collector", services.collector))


# --- routes


def _retry_policy(*also: str) -> Document:
    """Tries again what no server answered, and what `also` names."""
    return {
        "retry_on": ",".join(("connect-failure", "refused-stream", "reset", *also)),
        "num_retries": RETRIES,
        "per_try_timeout": f"{TRY_TIMEOUT}s",
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.5s"},
        "host_selection_retry_max_attempts": 3,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                # Two tries at the revision's own replicas, then the backup.
                "update_frequency": 2,
            },
        },
    }


def _model_action(model: str, route: Route, weights: Mapping[str, int], copied: bool) -> Document:
    # The fallback comes last: as its weight shrinks, a user pinned to the other arm stays there.
    order = sorted((name for name, weight in weights.items() if weight > 0), key=lambda n: (n == route.fallback, n))
    action: Document = {
        "weighted_clusters": {
            "clusters": [{"name": _cluster_name(model, name), "weight": weights[name]} for name in order]
        },
        "timeout": f"{ROUTE_TIMEOUT}s",
        "retry_policy": _retry_policy("gateway-error"),
    }
    if route.sticky:
        action["weighted_clusters"]["use_hash_policy"] = True
        action["hash_policy"] = [{"header": {"header_name": route.sticky}}]
    if route.mirror and copied and route.mirror[1] > 0:
        name, percent = route.mirror
        share = {"numerator": percent, "denominator": "HUNDRED"}
        action["request_mirror_policies"] = [
            {"cluster": _cluster_name(model, name, "copies"), "runtime_fraction": {"default_value": share}}
        ]
    return action


def _model_path(name: str) -> Document:
    return {"safe_regex": {"regex": rf"/v[12]/models/{re.escape(name)}(?:[:/].*)?"}}


def _model_routes(model: Model) -> list[Document]:
    if model.route is None:
        text = f"model {model.name} has no revision that is ready yet"
        return [{"match": _model_path(model.name), "direct_response": _direct(503, text)}]
    result: list[Document] = []
    if model.route.match_to:
        chosen = _model_action(model.name, model.route, {model.route.match_to: 100}, copied=False)
        for header, value in model.route.match:
            matcher = {"name": header, "string_match": {"exact": value}}
            result.append({"match": {**_model_path(model.name), "headers": [matcher]}, "route": chosen})
    action = _model_action(model.name, model.route, model.route.weights, copied=True)
    # The name marks the route whose weights are the deployment's: see `confirmed_route`.
    result.append({"name": _main_route(model.name), "match": _model_path(model.name), "route": action})
    return result


def _main_route(model: str) -> str:
    return f"model/{model}"


def _direct(status: int, text: str) -> Document:
    return {"status": status, "body": {"inline_string": text}}


def _service_route(match: Document, service: str, rewrite: str | None = None) -> Document:
    cluster = f"service/{service}"
    # A service's own 503 (the collector's disk is full, say) is its answer: asking 24 times more would only add load.
    action: Document = {"cluster": cluster, "timeout": f"{ROUTE_TIMEOUT}s", "retry_policy": _retry_policy()}
    return {"match": match, "route": action if rewrite is None else {**action, "prefix_rewrite": rewrite}}


def _unknown(models: Sequence[Model]) -> str:
    names = [model.name for model in models[:NAMES_SHOWN]]
    more = f" and {len(models) - NAMES_SHOWN} more" if len(models) > NAMES_SHOWN else ""
    return f"Cannot find this path; models served here: {', '.join(names) or 'none'}{more}"


def routes(models: Sequence[Model]) -> Document:
    """One virtual host for everything: see the paths below, in order of precedence."""
    table: list[Document] = [
        {"match": {"path": "/healthz"}, "direct_response": _direct(200, "ok\n")},
        _service_route({"path": "/metrics"}, "analyzer", "/federate"),
        _service_route({"path": "/v1/models"}, "analyzer"),
        _service_route({"path": "/v1/feedback"}, "collector"),
    ]
    for model in models:
        table.append(_service_route({"path": f"/v1/models/{model.name}/evidence"}, "analyzer"))
        table.extend(_model_routes(model))
    table.append({"match": {"prefix": "/"}, "direct_response": _direct(404, _unknown(models))})
    # The endpoint itself says which revision it is, so this is right after a retry at the backup, too.
    revision = {"key": "x-seamark-revision", "value": "%UPSTREAM_METADATA(seamark:revision)%"}
    for route in table:
        if route.get("route", {}).get("weighted_clusters"):
            route["response_headers_to_add"] = [{"header": revision, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    config = {
        "name": ROUTE_CONFIG,
        "virtual_hosts": [{"name": "seamark", "domains": ["*"], "routes": table}],
    }
    return _versioned("envoy.config.route.v3.RouteConfiguration", [config])


def _route_table(config: Document) -> list[Document]:
    return [route for host in config.get("virtual_hosts", []) for route in host.get("routes", [])]


def referenced(config: Document) -> set[str]:
    """Every cluster name that a RouteConfiguration sends anything to."""
    names: set[str] = set()
    for route in _route_table(config):
        action = route.get("route", {})
        names.update(cluster["name"] for cluster in action.get("weighted_clusters", {}).get("clusters", []))
        names.update(policy["cluster"] for policy in action.get("request_mirror_policies", []))
        names.update([action["cluster"]] if "cluster" in action else [])
    return names


def confirmed_route(config: Document, model: str) -> tuple[dict[str, int], tuple[str, int] | None] | None:
    """(weights, mirror) of a deployment in a RouteConfiguration as Envoy itself shows it, or None."""
    for route in _route_table(config):
        if route.get("name") == _main_route(model):
            action = route["route"]
            found = action["weighted_clusters"]["clusters"]
            weights = {cluster["name"].split("/")[2]: int(cluster.get("weight", 0)) for cluster in found}
            return weights, _confirmed_mirror(action)
    return None


def _confirmed_mirror(action: Document) -> tuple[str, int] | None:
    policies = action.get("request_mirror_policies", [])
    if not policies:
        return None
    share = policies[0]["runtime_fraction"]["default_value"]
    return policies[0]["cluster"].split("/")[2], int(share.get("numerator", 0))


# --- bootstrap


def _watched(path: str, folder: str) -> Document:
    # Watching the folder is what makes a rename noticed, and a rename is what keeps Envoy from reading half a file.
    source = {"path": path, "watched_directory": {"path": folder}}
    return {"path_config_source": source, "resource_api_version": "V3"}


def _local_replies() -> Document:
    """Answers made by the gateway itself are JSON; the cause of an upstream failure stays in Envoy's own log."""
    unavailable = "the model does not answer now; try again"
    too_large = f"Cannot read the request: its body is larger than {MAX_BODY} bytes; send fewer rows at a time"
    return {
        "mappers": [
            {
                "filter": {"response_flag_filter": {"flags": UNAVAILABLE_FLAGS}},
                "body_format_override": {"json_format": {"error": unavailable, "request_id": "%REQ(X-REQUEST-ID)%"}},
            },
            _reply("EQ", 413, too_large),
            _reply("EQ", 400, "Cannot read the request: %RESPONSE_CODE_DETAILS%"),
            _reply("GE", 400, "%LOCAL_REPLY_BODY%"),
        ]
    }


def _reply(operator: str, status: int, error: str) -> Document:
    value = {"default_value": status, "runtime_key": f"seamark.replies.{status}"}
    return {
        "filter": {"status_code_filter": {"comparison": {"op": operator, "value": value}}},
        "body_format_override": {"json_format": {"error": error}},
    }


def _connection_manager(folder: str) -> Document:
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": ROUTE_CONFIG, "config_source": _watched(f"{folder}/rds.json", folder)},
        # A client's x-request-id is kept as it is (it becomes the prediction id); without one Envoy makes a UUID.
        "use_remote_address": True,
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": TYPE + "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
        # Old clients, load testers and health checkers among them, speak it still.
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "seamark"},
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_name": "seamark",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "30s",
        "request_timeout": "30s",
        "drain_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "120s"},
        "http2_protocol_options": {"max_concurrent_streams": 100},
        "local_reply_config": _local_replies(),
        "http_filters": [
            {
                "name": "buffer",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": MAX_BODY,
                },
            },
            {
                "name": "router",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }


def _address(host: str, port: int) -> Document:
    return {"socket_address": {"address": host, "port_value": port}}


def bootstrap(folder: str, gateway: tuple[str, int], admin_port: int) -> Document:
    """Envoy's start-up file: a listener at `gateway` (host, port), admin on loopback, xDS files in `folder`."""
    connections = {
        "@type": TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": MAX_CONNECTIONS,
    }
    network_filter = {"name": "http", "typed_config": _connection_manager(folder)}
    listener = {
        "name": "gateway",
        "address": _address(*gateway),
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "filter_chains": [{"filters": [network_filter]}],
    }
    return {
        "node": {"id": "seamark", "cluster": "seamark"},
        "admin": {"address": _address("127.0.0.1", admin_port)},
        "overload_manager": {
            "resource_monitors": [
                {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections}
            ]
        },
        "dynamic_resources": {"cds_config": _watched(f"{folder}/cds.json", folder)},
        "static_resources": {"listeners": [listener]},
    }
