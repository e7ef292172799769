"""What the operator's command line says. One command line per installation; everything else is in the manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Images", "Settings"]


@dataclass(frozen=True, slots=True)
class Images:
    """Container images of what the operator starts. pull_policy as in a container."""

    predictor: str
    monitor: str
    trainer: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """namespace: the operator's own. watch: namespaces to work in; empty means all.

    gateway: (namespace, name) of the Gateway that routes hang on; envoy: it is Envoy Gateway, whose policies retry
    requests and keep users on one side. domain and host: deployments are reached at `host.format(name=, namespace=,
    domain=)`. confirm: address of the gateway to see routes arrive at; empty means the Gateway's own status.
    collector, analyzer, alertmanager: base addresses; without alertmanager the analyzer's scores decide alone.
    alert_token, key: files of the webhook's bearer token and of the key that log tokens are signed with.
    """

    images: Images
    namespace: str = "seamark-system"
    watch: tuple[str, ...] = ()
    gateway: tuple[str, str] = ("kserve", "kserve-ingress-gateway")
    domain: str = "example.com"
    host: str = "{name}-{namespace}.{domain}"
    confirm: str = ""
    envoy: bool = True
    collector: str = "http://seamark-collector:8081"
    analyzer: str = "http://seamark-analyzer:8083"
    alertmanager: str = ""
    alert_token: Path | None = None
    key: Path | None = None
    port: int = 8084
    node_selector: dict[str, str] = field(default_factory=dict)
