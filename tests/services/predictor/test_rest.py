"""The REST shell, in process: both protocols, every refusal with its status and record, and never a 5xx."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark_predictor.intake import prediction_id
from seamark_predictor.model import Output
from seamark_predictor.tensors import DATATYPES, pack_texts

BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def app(cancer_plane: Any, kit: Any) -> Any:
    return kit.App(cancer_plane)


@pytest.fixture(scope="module")
def mixed(mixed_package: Path, kit: Any) -> Any:
    return kit.App(kit.open_plane(mixed_package))


@pytest.fixture(scope="module")
def row(kit: Any) -> list[float]:
    return list(kit.CANCER.data[0].tolist())


def matrix(rows: list[list[Any]], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": datatype, "data": rows}
    return {"inputs": [tensor], **more}


def output(answer: Any, name: str) -> Any:
    return next(entry for entry in answer.json()["outputs"] if entry["name"] == name)


# --- routes


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", {"live": True}),
        ("/readyz", {"ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/cancer/ready", {"name": "cancer", "ready": True}),
        ("/v2/models/cancer/versions/cancer-1/ready", {"name": "cancer", "ready": True}),
        ("/v1/models", {"models": ["cancer"]}),
        ("/v1/models/cancer", {"name": "cancer", "ready": True}),
    ],
)
def test_health_and_readiness(app: Any, path: str, expected: dict[str, Any]) -> None:
    answer = app.ask(path)
    assert (answer.status, answer.json()) == (200, expected)


def test_readiness_ends_when_the_server_drains(cancer_plane: Any, kit: Any) -> None:
    app = kit.App(cancer_plane)
    app.rest.ready = False
    assert [app.ask(path).status for path in ("/readyz", "/v2/health/ready", "/healthz")] == [503, 503, 200]


def test_metadata_names_inputs_and_outputs(app: Any, mixed: Any, kit: Any) -> None:
    document = app.ask("/v2/models/cancer").json()
    assert document["versions"] == ["cancer-1"]
    assert document["platform"] == "sklearn_skops"
    assert [entry["name"] for entry in document["inputs"]] == list(kit.NAMES)
    assert document["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
    ]
    document = mixed.ask("/v2/models/cancer").json()
    assert [entry["datatype"] for entry in document["inputs"]] == ["FP64", "BYTES", "FP64", "BYTES"]
    assert document["outputs"][0] == {"name": "predict", "datatype": "BYTES", "shape": [-1]}


def test_the_root_says_that_the_server_lives(cancer_plane: Any, kit: Any) -> None:
    """Where KServe's own servers say it, and so where people and probes look."""
    answer = kit.App(cancer_plane).ask("/")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/favicon.ico", 404),
        ("POST", "/", 405),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/cancer/versions/2/infer", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("GET", "/v2/models/cancer/infer", 405),
        ("POST", "/v2", 405),
        ("DELETE", "/v1/models/cancer", 405),
    ],
)
def test_what_is_not_there_is_said_and_is_no_prediction(
    cancer_plane: Any, kit: Any, method: str, path: str, status: int
) -> None:
    app = kit.App(cancer_plane)
    answer = app.ask(path, method=method)
    assert (answer.status, list(answer.json())) == (status, ["error"])
    assert ("allow" in answer.headers) == (status == 405)
    assert app.records == []


# --- answers


@pytest.mark.parametrize("path", ["/v2/models/cancer/infer", "/v2/models/cancer/versions/cancer-1/infer"])
def test_v2_answers_labels_and_probabilities(app: Any, kit: Any, logistic: Any, path: str) -> None:
    data = kit.CANCER.data[:20]
    answer = app.ask(path, matrix(data.tolist(), id="mine"))
    document = answer.json()
    assert answer.status == 200
    assert (document["model_name"], document["model_version"], document["id"]) == ("cancer", "cancer-1", "mine")
    assert output(answer, "predict")["data"] == logistic.predict(data).tolist()
    scores = output(answer, "predict_proba")
    assert scores["shape"] == [20, 2]
    np.testing.assert_allclose(np.reshape(scores["data"], (20, 2)), logistic.predict_proba(data))


def test_v2_takes_flat_data_and_one_tensor_for_each_feature(app: Any, kit: Any, row: list[float]) -> None:
    wanted = output(app.v2(matrix([row])), "predict_proba")["data"]
    flat = {"inputs": [{"name": "x", "shape": [1, 30], "datatype": "FP64", "data": row}]}
    columns = [
        {"name": name, "shape": [1, 1] if i % 2 else [1], "datatype": "FP64", "data": [[value]] if i % 2 else [value]}
        for i, (name, value) in enumerate(zip(kit.NAMES, row, strict=True))
    ]
    assert output(app.v2(flat), "predict_proba")["data"] == wanted
    assert output(app.v2({"inputs": columns[::-1]}), "predict_proba")["data"] == wanted


def test_v1_takes_lists_objects_and_columns(app: Any, kit: Any, row: list[float]) -> None:
    record = dict(zip(kit.NAMES, row, strict=True))
    bodies = [
        {"instances": [row]},
        {"inputs": [row]},
        {"instances": [record]},
        {"inputs": {name: [value] for name, value in record.items()}},
    ]
    answers = [app.v1(body) for body in bodies]
    assert [answer.status for answer in answers] == [200] * 4
    first = answers[0].json()
    assert (first["predictions"], first["model_name"], first["model_version"]) == ([0], "cancer", "cancer-1")
    assert all(answer.json()["scores"] == first["scores"] for answer in answers)


def test_texts_travel_in_both_protocols(mixed: Any) -> None:
    v1 = mixed.v1({"instances": [{"age": 20, "land": "日本", "size": 2, "colour": "red"}, [60, "br", 2, "red"]][:1]})
    columns = {"age": [20, 60], "land": ["日本", "br"], "size": [2, 2], "colour": ["red", "red"]}
    kinds = {"age": "INT32", "size": "UINT8"}
    inputs = [{"name": k, "shape": [2], "datatype": kinds.get(k, "BYTES"), "data": v} for k, v in columns.items()]
    v2 = mixed.v2({"inputs": inputs})
    assert v1.json()["predictions"] == ["low"]
    assert output(v2, "predict") == {"name": "predict", "shape": [2], "datatype": "BYTES", "data": ["low", "high"]}
    record = mixed.records[-1]
    assert record.categories == [["日本", "br"], ["red", "red"]]
    assert np.frombuffer(record.numbers).reshape(2, 2).tolist() == [[20, 2], [60, 2]]


def test_outputs_are_selected_in_the_order_asked(app: Any, row: list[float]) -> None:
    answer = app.v2(matrix([row], outputs=[{"name": "predict_proba"}, {"name": "predict"}]))
    assert [entry["name"] for entry in answer.json()["outputs"]] == ["predict_proba", "predict"]
    answer = app.v2(matrix([row], outputs=[{"name": "predict"}]))
    assert [entry["name"] for entry in answer.json()["outputs"]] == ["predict"]


def test_a_regression_gives_values(regression_package: Path, kit: Any) -> None:
    app = kit.App(kit.open_plane(regression_package))
    answer = app.v2(matrix([[15.0, 20.0]]))
    assert [entry["datatype"] for entry in answer.json()["outputs"]] == ["FP64"]
    assert app.v1({"instances": [[15.0, 20.0]]}).json()["predictions"] == answer.json()["outputs"][0]["data"]
    assert "scores" not in app.v1({"instances": [[15.0, 20.0]]}).json()


def test_null_is_a_missing_value_where_the_model_takes_it(nullable_package: Path, kit: Any, row: list[float]) -> None:
    app = kit.App(kit.open_plane(nullable_package))
    record = dict(zip(kit.NAMES, row, strict=True))
    del record["mean radius"]
    answers = [app.v2(matrix([[None, *row[1:]]])), app.v1({"instances": [record]})]
    assert [answer.status for answer in answers] == [200, 200]
    assert np.isnan(np.frombuffer(app.records[0].numbers)[0])


def test_whole_numbers_booleans_and_duplicate_keys(app: Any) -> None:
    answer = app.v2(matrix([[True, *range(29)]]))
    assert answer.status == 200
    assert np.frombuffer(app.records[-1].numbers).tolist() == [1.0, *range(29)]
    assert (
        app.ask(
            "/v1/models/cancer:predict", b'{"instances": 1, "instances": [%s]}' % json.dumps([1] * 30).encode()
        ).status
        == 200
    )


# --- binary tensors


def binary_request(tensors: list[tuple[str, list[int], str, bytes]], **more: Any) -> tuple[bytes, dict[str, str]]:
    inputs = [
        {"name": name, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(content)}}
        for name, shape, kind, content in tensors
    ]
    header = json.dumps({"inputs": inputs, **more}).encode()
    body = header + b"".join(content for *_, content in tensors)
    return body, {"Inference-Header-Content-Length": str(len(header)), "Content-Type": BINARY}


@pytest.mark.parametrize("datatype", list(DATATYPES))
def test_binary_numbers_are_read_as_their_datatype(app: Any, datatype: str) -> None:
    values = np.arange(30, dtype=np.int64) % (2 if datatype == "BOOL" else 30)
    content = values.astype(DATATYPES[datatype]).tobytes()
    body, headers = binary_request([("x", [1, 30], datatype, content)])
    answer = app.v2(body, headers)
    assert answer.status == 200
    assert np.frombuffer(app.records[-1].numbers).tolist() == values.tolist()
    assert output(answer, "predict_proba") == output(app.v2(matrix([values.tolist()])), "predict_proba")


def test_binary_answers_round_trip(app: Any, kit: Any, logistic: Any) -> None:
    data = kit.CANCER.data[:7]
    body, headers = binary_request([("x", [7, 30], "FP64", data.tobytes())], parameters={"binary_data_output": True})
    answer = app.v2(body, headers)
    split = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.body[:split])
    assert answer.headers["content-type"] == BINARY
    sizes = [entry["parameters"]["binary_data_size"] for entry in document["outputs"]]
    assert sizes == [7 * 8, 7 * 2 * 8]
    labels = np.frombuffer(answer.body[split : split + sizes[0]], "<i8")
    scores = np.frombuffer(answer.body[split + sizes[0] :], "<f8").reshape(7, 2)
    assert labels.tolist() == logistic.predict(data).tolist()
    np.testing.assert_allclose(scores, logistic.predict_proba(data))


def test_binary_is_chosen_output_by_output(app: Any, row: list[float]) -> None:
    wanted = [{"name": "predict", "parameters": {"binary_data": True}}, {"name": "predict_proba"}]
    answer = app.v2(matrix([row], outputs=wanted))
    split = int(answer.headers["inference-header-content-length"])
    entries = json.loads(answer.body[:split])["outputs"]
    assert ("data" in entries[0], "data" in entries[1], len(answer.body) - split) == (False, True, 8)


def test_binary_texts_carry_their_lengths(mixed: Any) -> None:
    tensors = [
        ("age", [2], "FP32", np.array([20, 60], "<f4").tobytes()),
        ("land", [2, 1], "BYTES", pack_texts(["日本", "br"])),
        ("size", [2], "INT8", b"\x02\x02"),
        ("colour", [2], "BYTES", pack_texts(["red", "blue"])),
    ]
    wanted = [{"name": "predict", "parameters": {"binary_data": True}}]
    answer = mixed.v2(*binary_request(tensors, outputs=wanted))
    split = int(answer.headers["inference-header-content-length"])
    assert answer.body[split:] == b"\x03\x00\x00\x00low\x04\x00\x00\x00high"
    assert mixed.records[-1].categories == [["日本", "br"], ["red", "blue"]]


@pytest.mark.parametrize(
    ("shape", "kind", "content"),
    [
        ([1], "BYTES", b""),
        ([1], "BYTES", b"\x01\x00"),
        ([1], "BYTES", b"\xff\xff\xff\xffa"),
        ([1], "BYTES", pack_texts(["a", "b"])),
        ([1], "BYTES", b"\x01\x00\x00\x00\xff"),
        ([10**9], "BYTES", pack_texts(["a"])),
    ],
)
def test_damaged_binary_texts_are_refused(mixed: Any, shape: list[int], kind: str, content: bytes) -> None:
    others = [(name, shape, "BYTES", content) for name in ("land", "colour")]
    numbers = [(name, shape, "FP64", b"\x00" * 8) for name in ("age", "size")]
    answer = mixed.v2(*binary_request([*others, *numbers]))
    assert answer.status == 400
    assert "'land'" in answer.json()["error"]


def test_binary_sizes_must_add_up(app: Any) -> None:
    body, headers = binary_request([("x", [1, 30], "FP64", b"\x00" * 240)])
    split = int(headers["Inference-Header-Content-Length"])
    cases = [
        (body + b"x", headers),
        (body[:-1], headers),
        (body, {**headers, "Inference-Header-Content-Length": "99999999"}),
        (body, {**headers, "Inference-Header-Content-Length": "-1"}),
        (body, {**headers, "Inference-Header-Content-Length": "abc"}),
        (body, {**headers, "Inference-Header-Content-Length": str(split - 1)}),
        (body.replace(b"240", b"239"), headers),
        (body.replace(b"240", b"1e3"), headers),
        (body.replace(b"30]", b"31]"), headers),
    ]
    assert [app.v2(*case).status for case in cases] == [400] * len(cases)


# --- refusals

GOOD = [1.0] * 30


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 30], "datatype": "FP64", "data": GOOD, **changes}]}


def instance(value: Any, place: int = 0) -> list[Any]:
    return [value if i == place else 1.0 for i in range(30)]


SHAPE = [("", "shape", 1)]
TYPE = [("mean radius", "type", 1)]
V2_REFUSED: list[tuple[str, Any, int, list[Any] | None, str]] = [
    ("empty body", b"", 400, [], "not JSON"),
    ("not JSON", b"{", 400, [], "not JSON"),
    ("not UTF-8", b'{"a": "\xff"}', 400, [], "not JSON"),
    ("a lone surrogate", b'{"a": "\\ud800"}', 400, [], "not JSON"),
    ("deep lists", b"[" * 100_000, 400, [], "not JSON"),
    ("deep objects", b'{"a":' * 100_000, 400, [], "not JSON"),
    ("deep lists in an object", b'{"inputs":' + b"[" * 1000 + b"]" * 1000 + b"}", 400, [], "an object is needed"),
    ("no object", [1], 400, [], "a JSON object is needed"),
    ("null", b"null", 400, [], "a JSON object is needed"),
    ("no inputs", {}, 400, [], "inputs is missing"),
    ("inputs no list", {"inputs": {}}, 400, [], "a list of tensors"),
    ("no tensor", {"inputs": []}, 400, [], "a list of tensors"),
    ("tensor no object", {"inputs": [1]}, 400, [], "inputs[0]"),
    ("name missing", {"inputs": [{}]}, 400, [], "name is None"),
    ("datatype missing", tensor(datatype=None), 400, [], "datatype is None"),
    ("datatype unknown", tensor(datatype="FP99"), 400, [], "allowed: BOOL"),
    ("datatype no text", tensor(datatype=[]), 400, [], "allowed: BOOL"),
    ("texts for numbers", tensor(datatype="BYTES"), 400, None, "datatype is BYTES"),
    ("no data", {"inputs": [{"name": "x", "shape": [1, 30], "datatype": "FP64"}]}, 400, [], "neither data"),
    ("data null", tensor(data=None), 400, SHAPE, "a list is needed"),
    ("data object", tensor(data={}), 400, SHAPE, "a list is needed"),
    ("data short", tensor(data=[1.0]), 400, SHAPE, "has 1 values; its shape says 30"),
    ("data uneven", tensor(data=[GOOD, [1.0]]), 400, SHAPE, "not a list of 30"),
    ("data too deep", tensor(data=[[GOOD]]), 400, SHAPE, "not a list of 30"),
    ("shape missing", tensor(shape=None), 400, SHAPE, "shape is None"),
    ("shape no rows", tensor(shape=[0, 30], data=[]), 400, SHAPE, "at least 1"),
    ("shape negative", tensor(shape=[-1, 30]), 400, SHAPE, "whole numbers"),
    ("shape of bools", tensor(shape=[True, 30]), 400, SHAPE, "whole numbers"),
    ("shape of texts", tensor(shape=["1", 30]), 400, SHAPE, "whole numbers"),
    ("shape of three", tensor(shape=[1, 30, 1]), 400, SHAPE, "at least 1"),
    ("shape huge", tensor(shape=[10**18, 30]), 400, SHAPE, "its shape says"),
    ("29 features", tensor(shape=[1, 29], data=GOOD[:29]), 400, SHAPE, "[rows, 30]"),
    ("31 features", tensor(shape=[1, 31], data=[*GOOD, 1.0]), 400, SHAPE, "[rows, 30]"),
    ("a text", tensor(data=instance("abc")), 400, TYPE, "row 0 is 'abc'; a number is needed"),
    ("a number as text", tensor(data=instance("1.5")), 400, TYPE, "a number is needed"),
    ("a long text", tensor(data=instance("x" * 100_000)), 400, TYPE, "a number is needed"),
    ("an object", tensor(data=instance({})), 400, TYPE, "a number is needed"),
    ("a list", tensor(data=instance([], 1)), 400, [("mean texture", "type", 1)], "'mean texture'"),
    ("a fraction in INT64", tensor(data=instance(1.5), datatype="INT64"), 400, TYPE, "INT64 takes whole numbers"),
    ("300 in INT8", tensor(data=instance(300), datatype="INT8"), 400, TYPE, "from -128 to 127"),
    ("2 in BOOL", tensor(data=instance(2), datatype="BOOL"), 400, TYPE, "from 0 to 1"),
    ("null", tensor(data=instance(None)), 422, [("mean radius", "missing", 1)], "'mean radius' is missing in 1 row"),
    ("1e39", tensor(data=instance(1e39)), 422, [("mean radius", "range", 1)], "range"),
    (
        "1e39 in FP32",
        tensor(data=instance(1e39), datatype="FP32"),
        422,
        [("mean radius", "nonfinite", 1)],
        "or infinite",
    ),
    ("NaN", tensor(data=instance(float("nan"))), 422, [("mean radius", "nonfinite", 1)], "'mean radius'"),
    ("Infinity", tensor(data=instance(float("-inf"))), 422, [("mean radius", "nonfinite", 1)], "'mean radius'"),
    ("unknown feature", {"inputs": [*tensor()["inputs"], *tensor()["inputs"]]}, 400, SHAPE, "no such feature"),
    (
        "one feature only",
        tensor(name="mean radius", shape=[1], data=[1.0]),
        400,
        None,
        "missing feature 'mean texture'",
    ),
    ("outputs unknown", tensor() | {"outputs": [{"name": "y"}]}, 400, [], "allowed: 'predict', 'predict_proba'"),
    ("outputs no list", tensor() | {"outputs": 1}, 400, [], "a list of tensors"),
    ("output unhashable", tensor() | {"outputs": [{"name": []}]}, 400, [], "allowed: 'predict'"),
    ("parameters no object", tensor() | {"parameters": 1}, 400, [], "an object is needed"),
    ("id no text", tensor() | {"id": 1}, 400, [], "id is 1"),
]


@pytest.mark.parametrize(
    ("body", "status", "violations", "text"), [c[1:] for c in V2_REFUSED], ids=[c[0] for c in V2_REFUSED]
)
def test_v2_refuses_by_name_and_tells_the_monitor(
    app: Any, body: Any, status: int, violations: list[Any] | None, text: str
) -> None:
    answer = app.v2(body, {"x-request-id": "r1"})
    assert (answer.status, list(answer.json())) == (status, ["error"])
    assert text in answer.json()["error"]
    assert answer.headers["x-prediction-id"] == "r1"
    record = app.records[-1]
    assert (record.status, record.prediction_id) == (status, "r1")
    assert (record.numbers, record.categories, record.outputs) == (b"", [], b"")
    assert violations is None or record.violations == violations


V1_REFUSED: list[tuple[str, Any, int, list[Any] | None, str]] = [
    ("neither", {}, 400, [], "either instances or inputs"),
    ("both", {"instances": [GOOD], "inputs": [GOOD]}, 400, [], "either instances or inputs"),
    ("no rows", {"instances": []}, 400, SHAPE, "at least one row"),
    ("no list", {"instances": "abc"}, 400, SHAPE, "at least one row"),
    ("instances by column", {"instances": {"mean radius": [1]}}, 400, SHAPE, "at least one row"),
    ("rows no lists", {"instances": [1, 2]}, 400, SHAPE, "row 0: it is 1"),
    ("a short row", {"instances": [GOOD, [1.0]]}, 400, SHAPE, "row 1: it is a list of 1 values"),
    ("lists and objects", {"instances": [GOOD, {}]}, 400, SHAPE, "row 1"),
    ("objects and lists", {"instances": [dict.fromkeys(["a"], 1), GOOD]}, 400, SHAPE, "no such feature"),
    ("empty object", {"instances": [{}]}, 400, None, "missing feature 'mean radius'"),
    ("a text", {"instances": [instance("x"), instance("y"), GOOD]}, 400, [("mean radius", "type", 2)], "row 0 is 'x'"),
    ("null", {"instances": [instance(None), GOOD]}, 422, [("mean radius", "missing", 1)], "is missing in 1 row"),
    ("NaN twice", {"instances": [instance(float("nan"))] * 2}, 422, [("mean radius", "nonfinite", 2)], "mean radius"),
    ("1e999", b'{"instances": [[1e999%s]]}' % (b",1" * 29), 422, [("mean radius", "nonfinite", 1)], "mean radius"),
    ("5,000 digits", b'{"instances": [[%s%s]]}' % (b"1" * 5000, b",1" * 29), 422, None, "mean radius"),
    ("NaN elsewhere", b'{"a": NaN, "instances": [%s]}' % json.dumps(GOOD).encode(), 400, [], "not JSON"),
    ("columns no lists", {"inputs": {"mean radius": 1}}, 400, SHAPE, "at least one value"),
    ("columns empty", {"inputs": {}}, 400, SHAPE, "at least one row"),
    ("one column", {"inputs": {"mean radius": [1]}}, 400, None, "missing feature"),
    ("unknown column", {"inputs": {"日本": [1]}}, 400, SHAPE, "'日本'"),
]


@pytest.mark.parametrize(
    ("body", "status", "violations", "text"), [c[1:] for c in V1_REFUSED], ids=[c[0] for c in V1_REFUSED]
)
def test_v1_refuses_by_name_and_tells_the_monitor(
    app: Any, body: Any, status: int, violations: list[Any] | None, text: str
) -> None:
    answer = app.v1(body)
    assert (answer.status, list(answer.json())) == (status, ["error"])
    assert text in answer.json()["error"]
    record = app.records[-1]
    assert (record.status, record.numbers) == (status, b"")
    assert violations is None or record.violations == violations


def test_columns_of_uneven_length_are_refused(app: Any, kit: Any) -> None:
    columns = {name: [1.0, 2.0] for name in kit.NAMES} | {"mean area": [1.0]}
    answer = app.v1({"inputs": columns})
    assert (answer.status, "'mean area'" in answer.json()["error"]) == (400, True)


def test_a_text_feature_takes_only_texts(mixed: Any) -> None:
    answer = mixed.v1({"instances": [[20, 5, 2.0, "red"]]})
    assert (answer.status, mixed.records[-1].violations) == (400, [("land", "type", 1)])
    answer = mixed.v2(matrix([["20", "br", "2", "red"]], "BYTES"))
    assert (answer.status, "one tensor for each feature" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data"}, 415),
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Content-Type": "application/x-pickle"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 200),
    ],
)
def test_content_types_are_allowed_by_list(app: Any, headers: dict[str, str], status: int) -> None:
    assert app.v2(tensor(), headers).status == status
    assert app.records[-1].status == status


def test_what_breaks_the_bounds_of_a_body_is_answered_and_told(app: Any, kit: Any) -> None:
    fault = InvalidInput("Cannot read the body: it is too long", status=413)
    answer = asyncio.run(kit.send(app.rest, "/v2/models/cancer/infer", b"", fault=fault))
    assert (answer.status, answer.json()) == (413, {"error": str(fault)})
    assert (app.records[-1].status, app.records[-1].rows) == (413, 0)
    busy = InvalidInput("Cannot read the body: the server holds as much as it can", status=503)
    answer = asyncio.run(kit.send(app.rest, "/v1/models/cancer:explain", b"", fault=busy))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_large_body_is_worked_on_in_a_thread(app: Any, kit: Any) -> None:
    data = np.tile(kit.CANCER.data, (20, 1))
    app = kit.App(app.rest._models[0].plane, body_limit=1 << 24)
    body, headers = binary_request([("x", list(data.shape), "FP64", data.tobytes())])
    answer = app.v2(body, headers)
    assert (answer.status, app.records[-1].rows) == (200, len(data))


def test_a_million_rows_are_served(regression_package: Path, kit: Any) -> None:
    app = kit.App(kit.open_plane(regression_package), body_limit=1 << 24)
    body, headers = binary_request(
        [("x", [1_000_000, 2], "FP32", np.ones((1_000_000, 2), "<f4").tobytes())],
        parameters={"binary_data_output": True},
    )
    assert app.v2(body, headers).status == 200
    assert app.records[-1].rows == 1_000_000


def test_a_million_names_are_refused(app: Any, kit: Any) -> None:
    app = kit.App(app.rest._models[0].plane, body_limit=1 << 25)
    answer = app.v1({"instances": [dict.fromkeys(map(str, range(1_000_000)), 1)]})
    assert (answer.status, len(answer.body) < 1000) == (400, True)


def test_a_failing_model_says_internal_error_and_the_id_only(cancer_packages: dict[str, Path], kit: Any) -> None:
    plane = kit.open_plane(cancer_packages["skops"])

    class Broken:
        platform = "broken"

        def predict(self, rows: Any) -> Output:
            raise RuntimeError("secret")

    plane._model = Broken()
    app = kit.App(plane)
    answer = app.v2(matrix(kit.CANCER.data[:2].tolist()), {"x-request-id": "r7"})
    assert (answer.status, answer.json()) == (500, {"error": "internal error", "request_id": "r7"})
    assert (app.records[-1].status, app.records[-1].rows) == (500, 2)


# --- ids


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a", True),
        ("0af7651916cd43dd-8448eb211c80319c", True),
        ("with space", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        (" ", False),
        ("tab\t", False),
        ("é", False),
        ("a\n", False),
        (None, False),
    ],
)
def test_a_usable_request_id_is_the_prediction_id(given: str | None, kept: bool) -> None:
    found = prediction_id({} if given is None else {"x-request-id": given})
    assert (found == given) == kept
    assert kept or (len(found) == 32 and found.isalnum())


def test_the_answer_carries_the_prediction_id(app: Any, row: list[float]) -> None:
    answer = app.v2(matrix([row]))
    assert answer.json()["id"] == answer.headers["x-prediction-id"] == app.records[-1].prediction_id
    answer = app.v1({"instances": [row]}, {"x-request-id": "mine"})
    assert (answer.json()["id"], answer.headers["x-prediction-id"]) == ("mine", "mine")


def test_a_served_prediction_is_recorded_whole(app: Any, kit: Any, logistic: Any) -> None:
    data = kit.CANCER.data[:3]
    app.v2(matrix(data.tolist()))
    record = app.records[-1]
    assert (record.status, record.rows, record.violations, record.categories) == (200, 3, [], [])
    assert np.frombuffer(record.numbers).reshape(3, 30).tolist() == data.tolist()
    expected = np.column_stack([logistic.predict(data), logistic.predict_proba(data)[:, 1]])
    np.testing.assert_allclose(np.frombuffer(record.outputs).reshape(3, 2), expected)
    assert 0 < record.latency < 5
    assert record.time > 1.7e9


# --- anything at all

_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([1e308, -1e38, 10**30])
)
_json = st.recursive(
    _values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["inputs", "instances", "outputs", "name", "shape", "datatype", "data", "id", "parameters", "age", "x"]
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
_tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["age", "land", "size", "colour", "x"]),
        "shape": st.one_of(st.just([1]), st.just([2, 1]), st.just([1, 4]), _json),
        "datatype": st.sampled_from([*DATATYPES, "BYTES"]),
        "data": st.one_of(st.lists(_values, min_size=1, max_size=4), _json),
    }
)
_almost = st.one_of(
    st.fixed_dictionaries({"inputs": st.lists(_tensors, max_size=5)}, optional={"outputs": _json, "parameters": _json}),
    st.fixed_dictionaries({"instances": st.lists(st.lists(_values, min_size=4, max_size=4), max_size=3)}),
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.one_of(_json, _almost))
def test_no_json_body_gives_a_server_error(mixed: Any, body: Any) -> None:
    for answer in (mixed.v1(json.dumps(body).encode()), mixed.v2(json.dumps(body).encode())):
        assert answer.status in (200, 400, 422)
        json.loads(answer.body, parse_constant=lambda text: pytest.fail(f"{text} in an answer"))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.floats(), min_size=30, max_size=30))
def test_no_row_of_numbers_gives_a_server_error(app: Any, values: list[float]) -> None:
    body, headers = binary_request([("x", [1, 30], "FP64", np.array(values).tobytes())])
    assert app.v2(body, headers).status in (200, 422)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200), split=st.integers(0, 220))
def test_no_bytes_give_a_server_error(app: Any, content: bytes, split: int) -> None:
    headers = {"inference-header-content-length": str(split), "content-type": BINARY}
    assert app.v2(content, headers).status == 400
