"""Wires: what is sent can be read, and an answer that is not scikit-learn's is told from one that is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.serving.catalogue import SERVERS, Server, choose
from benchmarks.serving.environments import PEERS
from benchmarks.serving.wires import WIRES, Answer

ROWS = np.array([[1.5, 2.0], [3.25, -4.0]])
SCORES = np.array([[0.25, 0.75], [0.9, 0.1]])


@pytest.mark.parametrize(("wire", "key"), [("v1", "instances"), ("instances", "instances"), ("inputs", "inputs")])
def test_rows_are_lists_in_the_json_of_v1(wire: str, key: str) -> None:
    assert json.loads(WIRES[wire].write(ROWS).body) == {key: ROWS.tolist()}


def test_rows_are_one_tensor_in_v2() -> None:
    tensor = {"name": "input", "shape": [2, 2], "datatype": "FP64", "data": [1.5, 2.0, 3.25, -4.0]}
    assert json.loads(WIRES["v2"].write(ROWS).body) == {"inputs": [tensor]}


def test_binary_rows_follow_a_header_of_the_length_told() -> None:
    request = WIRES["v2-binary"].write(ROWS)
    split = int(request.headers["Inference-Header-Content-Length"])
    header = json.loads(request.body[:split])
    assert header["inputs"][0]["parameters"]["binary_data_size"] == ROWS.nbytes
    assert np.frombuffer(request.body[split:]).tolist() == ROWS.ravel().tolist()


def test_binary_answers_are_read() -> None:
    read = WIRES["v2-binary"].read
    assert read is not None
    labels, scores = np.array([1, 0]), SCORES.astype(np.float32)
    outputs = [
        {"name": "predict", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": labels.nbytes}},
        {
            "name": "predict_proba",
            "shape": [2, 2],
            "datatype": "FP32",
            "parameters": {"binary_data_size": scores.nbytes},
        },
    ]
    header = json.dumps({"outputs": outputs}).encode()
    body = header + labels.tobytes() + scores.tobytes()
    assert read(body, {"inference-header-content-length": str(len(header))}).equals([1, 0], SCORES)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (Answer([1, 0]), True),
        (Answer([1, 1]), False),
        (Answer([1]), False),
        (Answer([1, 0], SCORES + 5e-5), True),
        (Answer([1, 0], SCORES + 5e-3), False),
        (Answer([1, 0], SCORES[:1]), False),
        (Answer([1, 0], SCORES * np.nan), False),
    ],
)
def test_only_scikit_learns_answer_is_right(answer: Answer, right: bool) -> None:
    assert answer.equals([1, 0], SCORES) is right


@pytest.mark.parametrize("server", SERVERS.values(), ids=list(SERVERS))
def test_every_server_has_its_wires_and_its_lock(server: Server) -> None:
    assert set(server.wires) <= WIRES.keys()
    if server.environment:
        folder = PEERS / server.environment
        assert all((folder / name).is_file() for name in ("app.py", "requirements.in", "requirements.txt"))


def test_servers_are_chosen_by_name_or_kind_and_cases_by_name() -> None:
    servers, cases = choose(["kserve", "ceiling"], ["forest:1x32"])
    assert {server.name for server in servers} == {
        "kserve",
        "ceiling-echo",
        "ceiling-parse",
        "ceiling-onnx",
        "ceiling-own",
    }
    assert [str(case) for case in cases] == ["forest:1x32"]


@pytest.mark.parametrize(("servers", "cases"), [(["keserve"], []), ([], ["forest"])])
def test_an_unknown_name_is_refused_with_the_known_ones(servers: list[str], cases: list[str]) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        choose(servers, cases)
