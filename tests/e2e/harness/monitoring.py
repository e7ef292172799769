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


def documents(rules: list[Path], webhook: str, token: str, images: tuple[str, str]) -> list[Document]:
    """Everything, in NAMESPACE. rules: files of rule groups; images: Prometheus', Alertmanager's."""
    files = {path.name: path.read_text() for path in rules}
    prometheus = {"prometheus.yml": yaml.safe_dump(_prometheus()), **files}
    alertmanager = {"alertmanager.yml": yaml.safe_dump(_alertmanager(webhook)), "token": token}
    return [
        *_account(),
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


def _prometheus() -> Document:
    """Scrapes what says `prometheus.io/scrape`; labels of the exporters stand, as the analyzer names others' models."""
    relabel: list[Document] = [
        {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
        {
            "source_labels": ["__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"],
            "separator": ":",
            "target_label": "__address__",
        },
        # A pod has a target for each of its container ports; all become the same, so all but one are dropped.
        {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "keep", "regex": "Running"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
    return {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": ["/etc/config/*.rules.yaml", "/etc/config/rules-*.yaml", "/etc/config/*-rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
        "scrape_configs": [
            {
                "job_name": "pods",
                "honor_labels": True,
                "kubernetes_sd_configs": [{"role": "pod"}],
                "relabel_configs": relabel,
            }
        ],
    }


def _alertmanager(webhook: str) -> Document:
    authorization = {"type": "Bearer", "credentials_file": "/etc/config/token"}
    hook = {"url": webhook, "max_alerts": 0, "send_resolved": True, "http_config": {"authorization": authorization}}
    grouping = {"group_by": ["namespace", "deployment", "kind"], "group_wait": "1s", "group_interval": "5s"}
    return {
        "route": {"receiver": "seamark", "repeat_interval": "1h", **grouping},
        "receivers": [{"name": "seamark", "webhook_configs": [hook]}],
    }


def _meta(name: str) -> Document:
    return {"name": name, "namespace": NAMESPACE}


def _account() -> list[Document]:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE}
    subjects = [{"kind": "ServiceAccount", **_meta("prometheus")}]
    api = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta("prometheus")},
        {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": NAMESPACE}, "rules": rules},
        {
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAMESPACE},
            "roleRef": role,
            "subjects": subjects,
        },
    ]


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
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": port}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "config", "configMap": {"name": name}}, {"name": "data", "emptyDir": {}}]
    if name == "alertmanager":
        volumes.append({"name": "templates", "configMap": {"name": "templates"}})
        container["volumeMounts"].append({"name": "templates", "mountPath": "/usr/share/prometheus/alertmanager"})
    pod: dict[str, Any] = {"containers": [container], "volumes": volumes}
    pod["serviceAccountName"] = "prometheus" if name == "prometheus" else "default"
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
