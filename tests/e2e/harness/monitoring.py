"""A Prometheus and an Alertmanager of the scenarios' own, as small as they can be and otherwise as people have them."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from harness.cluster import Document

__all__ = ["Prometheus", "documents"]

NAMESPACE = "seamark-e2e-monitoring"
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def documents(rules: list[Path], system: str, token: str, images: tuple[str, str]) -> list[Document]:
    """Everything, in NAMESPACE. rules: files of rule groups; system: Seamark's namespace; images: Prometheus' first."""
    files = {path.name: path.read_text() for path in rules}
    prometheus = {"prometheus.yml": yaml.safe_dump(_prometheus(system)), **files}
    alertmanager = {
        "alertmanager.yml": yaml.safe_dump(_alertmanager(f"http://seamark-operator.{system}:8084/v1/alerts")),
        "token": token,
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        _config("prometheus", prometheus),
        _config("alertmanager", alertmanager),
        # Debian's build reads templates of its own from a folder; no notification here uses them.
        _config("templates", {"default.tmpl": "", "email.tmpl": ""}),
        _service("prometheus", 9090),
        _service("alertmanager", 9093),
        _deployment(
            "prometheus",
            images[0],
            ["--config.file=/etc/config/prometheus.yml", "--storage.tsdb.path=/data", "--web.enable-lifecycle"],
            9090,
        ),
        _deployment(
            "alertmanager",
            images[1],
            ["--config.file=/etc/config/alertmanager.yml", "--storage.path=/data", "--cluster.listen-address="],
            9093,
        ),
    ]


def _prometheus(system: str) -> Document:
    """Debian's build has no Kubernetes discovery, so it asks the analyzer for what all monitors said."""

    def job(name: str, port: int, path: str) -> Document:
        target = f"seamark-{name}.{system}:{port}"
        configs = [{"targets": [target]}]
        return {"job_name": name, "metrics_path": path, "honor_labels": True, "static_configs": configs}

    return {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": ["/etc/config/*rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
        "scrape_configs": [job("analyzer", 8083, "/federate"), job("operator", 8084, "/metrics")],
    }


def _alertmanager(webhook: str) -> Document:
    authorization = {"type": "Bearer", "credentials_file": "/etc/config/token"}
    hook = {"url": webhook, "max_alerts": 0, "send_resolved": True, "http_config": {"authorization": authorization}}
    grouping = {"group_by": ["namespace", "deployment", "kind"], "group_wait": "1s", "group_interval": "5s"}
    drift = {"receiver": "seamark", "matchers": ['alertname="SeamarkDrift"']}
    return {
        "route": {"receiver": "people", "repeat_interval": "1h", **grouping, "routes": [drift]},
        "receivers": [{"name": "people"}, {"name": "seamark", "webhook_configs": [hook]}],
    }


def _meta(name: str) -> Document:
    return {"name": name, "namespace": NAMESPACE}


def _config(name: str, files: dict[str, str]) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name), "data": files}


def _service(name: str, port: int) -> Document:
    spec = {"selector": {"app": name}, "ports": [{"port": port, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(name), "spec": spec}


def _deployment(name: str, image: str, arguments: list[str], port: int) -> Document:
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "securityContext": _SECURITY,
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": port}, "periodSeconds": 1, "timeoutSeconds": 5},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "config", "configMap": {"name": name}}, {"name": "data", "emptyDir": {}}]
    if name == "alertmanager":
        volumes.append({"name": "templates", "configMap": {"name": "templates"}})
        container["volumeMounts"].append({"name": "templates", "mountPath": "/usr/share/prometheus/alertmanager"})
    pod: dict[str, Any] = {"containers": [container], "volumes": volumes}
    pod["automountServiceAccountToken"] = False
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(name), "spec": spec}


class Prometheus:
    """Asks questions of a Prometheus at (host, port)."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def query(self, text: str) -> list[Document]:
        """The instant vector's samples: {"metric": labels, "value": [time, text]}."""
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        connection.request("GET", f"/api/v1/query?query={quote(text)}")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def value(self, text: str) -> float | None:
        found = self.query(text)
        return float(found[0]["value"][1]) if found else None
