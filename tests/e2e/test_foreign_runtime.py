"""A model server that is not ours is watched through KServe's logger, and rolled out like any other."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from harness.cluster import Document

pytestmark = pytest.mark.timeout(400)

#: A KServe-style server of one file: v1 only, no ids, no metrics.
SERVER = """
import argparse, json, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import onnxruntime

parser = argparse.ArgumentParser()
parser.add_argument("--model_name")
parser.add_argument("--model_dir", default="/mnt/models")
options, _ = parser.parse_known_args()
session = onnxruntime.InferenceSession(options.model_dir + "/model.onnx")
classes = json.load(open(options.model_dir + "/seamark.json"))["classes"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(200, {"name": options.model_name, "ready": True})

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        if self.path != f"/v1/models/{options.model_name}:predict":
            return self.answer(404, {"error": self.path})
        [scores] = session.run(None, {session.get_inputs()[0].name: __import__("numpy").float32(rows)})
        self.answer(200, {"predictions": [classes[i] for i in scores.argmax(axis=1)]})

ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def runtime(namespace: str, image: str) -> list[Document]:
    container = {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/app/server.py"],
        "args": ["--model_name={{.Name}}"],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    meta = {"name": "theirs", "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"server.py": SERVER}},
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": meta,
            "spec": {
                "supportedModelFormats": [{"name": "seamark", "version": "1"}],
                "protocolVersions": ["v1"],
                "containers": [container],
                "volumes": [{"name": "app", "configMap": {"name": "theirs"}}],
            },
        },
    ]


def test_it_is_watched_through_the_logger(scene: Any, prometheus: Any) -> None:
    tag = scene.cluster.get("clusterservingruntime", "seamark-predictor", "")["spec"]["containers"][0]["image"]
    scene.cluster.apply(*runtime(scene.namespace, tag))
    manifest = scene.manifest(serving={"runtime": "theirs"})
    manifest["spec"]["rollout"] |= {"steps": [{"weight": 20}, {"hold": {"for": "5s"}}]}
    first = scene.serve(manifest)
    mine = f'namespace="{scene.namespace}",deployment="{scene.name}",revision="{first}"'
    rows = [scene.world.live[i].tolist() for i in range(50)]
    answers = ask(scene, rows)
    assert set(answers) <= set(scene.world.live_labels)
    scene.until(lambda: prometheus.value(f"sum(seamark_predictions_total{{{mine}}})") == len(rows))
    binned = prometheus.value(f'sum(seamark_feature_bin_total{{{mine},feature="mean radius"}})')
    assert binned == len(rows)
    scene.put(manifest, "equal")
    second = scene.challenger()
    deadline = time.time() + 120
    while scene.status()["champion"] != second and time.time() < deadline:
        ask(scene, rows[:20])
    assert scene.status()["champion"] == second


def ask(scene: Any, rows: list[list[float]]) -> list[str]:
    import http.client

    connection = http.client.HTTPConnection(*scene.platform.gateway, timeout=30)
    answers: list[str] = []
    for row in rows:
        headers = {"Host": scene.host, "Content-Type": "application/json"}
        connection.request("POST", f"/v1/models/{scene.name}:predict", json.dumps({"instances": [row]}), headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == 200, body
        answers += body["predictions"]
    connection.close()
    return answers
