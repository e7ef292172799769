"""The predictor's command line: several models, several workers, models from elsewhere, gRPC beside REST."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from seamark_predictor.__main__ import _without
from seamark_predictor.oip import open_inference_pb2 as pb


@pytest.fixture
def row(kit: Any) -> dict[str, Any]:
    return {"instances": [kit.CANCER.data[0].tolist()]}


def test_several_models_are_served_by_their_names(
    cancer_packages: dict[str, Path], start: Any, row: dict[str, Any]
) -> None:
    server = start({"first": cancer_packages["onnx"], "second": cancer_packages["skops"]}).wait_ready()
    assert server.client.get("/v1/models").json() == {"models": ["first", "second"]}
    answers = [server.client.post(f"/v1/models/{name}:predict", json=row).json() for name in ("first", "second")]
    assert [answer["model_name"] for answer in answers] == ["first", "second"]
    assert answers[0]["predictions"] == answers[1]["predictions"]
    assert server.stop() == 0


def test_workers_share_a_port_and_leave_together(
    cancer_packages: dict[str, Path], start: Any, row: dict[str, Any]
) -> None:
    server = start(cancer_packages["onnx"], "--workers", "2").wait_ready()
    for _ in range(20):
        assert server.client.post("/v1/models/cancer:predict", json=row).status_code == 200
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    values = {sample.name: sample.value for family in families for sample in family.samples if sample.value}
    assert values["seamark_predictor_worker_starts_total"] == 2
    assert values["seamark_predictor_rows_total"] == 20
    assert server.stop() == 0


def test_what_no_worker_can_load_is_said_once(start: Any, tmp_path: Path) -> None:
    server = start(tmp_path / "nothing", "--workers", "2")
    assert server.finish() == 2
    assert server.log.count("it does not exist") == 1


def test_grpc_is_served_beside_rest(cancer_packages: dict[str, Path], start: Any, kit: Any) -> None:
    port = kit.free_port()
    server = start(cancer_packages["onnx"], "--grpc-port", str(port)).wait_ready()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ready = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelReady",
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        assert ready(pb.ModelReadyRequest(name="cancer"), timeout=10).ready
    assert server.stop() == 0


def test_a_taken_grpc_port_is_said_in_one_line(cancer_packages: dict[str, Path], start: Any) -> None:
    first = start(cancer_packages["onnx"]).wait_ready()
    second = start(cancer_packages["onnx"], "--grpc-port", str(first.port))
    assert second.finish() == 2
    assert f":{first.port}" in second.log


def test_a_model_is_fetched_from_a_web_server(
    tensors_file: Path, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tensors_file.parent))
    ) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        server = start({"net": f"http://127.0.0.1:{web.server_port}/{tensors_file.name}"}).wait_ready()
        assert server.client.get("/v2/models/net").json()["platform"] == "onnx_onnxv1"
        assert list(tmp_path.iterdir())
        assert server.stop() == 0
        web.shutdown()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say either --name and --package, or --model"),
        (["--name", "a"], "belong together"),
        (["--name", "a", "--package", "b", "--model", "c=d"], "say either"),
        (["--model", "a"], "it is not NAME=MODEL"),
        (["--model", "a=x", "--model", "a=y"], "the name 'a' is given twice"),
        (["--model", "a=x", "--model", "b=y", "--monitor", "s"], "--monitor with 2 models"),
        (["--name", "a", "--package", "b", "--workers", "0"], "neither auto nor a number"),
        (["--name", "a", "--package", "ftp://x/y"], "its scheme is 'ftp'"),
    ],
)
def test_arguments_that_do_not_fit_are_said(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "seamark_predictor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--name", "a", "--port", "1"], ["--port", "1"]),
        (["--name=a", "--port=1"], ["--port=1"]),
        (["--model", "a=b", "--model=c=d", "--trust-pickle"], ["--trust-pickle"]),
        (["--names", "a"], ["--names", "a"]),
    ],
)
def test_workers_get_all_arguments_but_where_models_come_from(given: list[str], kept: list[str]) -> None:
    assert _without(given, ("--model", "--name", "--package")) == kept
