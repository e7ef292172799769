"""The OpenAPI document tells of every route, and of each model's own names, types and shapes; its examples work."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import numpy as np
import pytest

from seamark_predictor import docs_page, openapi
from seamark_predictor.generic import TensorPlane
from seamark_predictor.model import Spec
from seamark_predictor.opening import open_model

_LIMIT = 1 << 20


def _tensor_plane(path: Path, name: str = "tensors") -> TensorPlane:
    opened = open_model(path, name=name, trust_pickle=False, digest=None)
    return TensorPlane(opened.model, name=name, revision=f"{name}-1", digest=opened.digest)  # type: ignore[arg-type]  # a bare file's


@pytest.fixture(scope="module")
def planes(
    mixed_package: Path, regression_package: Path, nullable_package: Path, tensors_file: Path, kit: Any
) -> dict[str, Any]:
    return {
        "mixed": kit.open_plane(mixed_package),
        "regression": kit.open_plane(regression_package),
        "nullable": kit.open_plane(nullable_package),
        "tensors": _tensor_plane(tensors_file, "cancer"),
    }


@pytest.fixture(scope="module", params=["mixed", "regression", "nullable", "tensors"])
def plane(request: Any, planes: dict[str, Any]) -> Any:
    return planes[request.param]


@pytest.fixture(scope="module")
def app(plane: Any, kit: Any) -> Any:
    return kit.App(plane, _LIMIT)


@pytest.fixture(scope="module")
def document(plane: Any) -> Any:
    return openapi.document([plane], _LIMIT)


def _operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _content(document: Any, operation: Any, status: str = "200") -> Any:
    """The JSON of a response."""
    response = operation["responses"][status]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response["content"]["application/json"]


def _fits(document: Any, schema: Any, value: Any) -> bool:
    root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"]}
    return bool(jsonschema_rs.is_valid(root | schema, value))


def _request(document: Any, protocol: str) -> Any:
    return {"$ref": f"#/components/schemas/cancer.{protocol}Request"}


# --- the whole


def test_it_tells_of_every_route_and_of_no_other(app: Any, document: Any) -> None:
    told = {(unquote(path), method) for path, method, _ in _operations(document)}
    assert told == {(path, method) for path, (method, _) in app.rest._routes.items()}


def test_every_schema_is_one_and_every_reference_leads_somewhere(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for target in re.findall(r'"\$ref": "#/(.*?)"', json.dumps(document)):
        found = document
        for key in target.split("/"):
            found = found[key]
        assert found


def test_every_get_answers_as_it_says(app: Any, document: Any) -> None:
    for path, method, operation in _operations(document):
        if method == "GET" and "application/json" in operation["responses"]["200"]["content"]:
            answer = app.ask(unquote(path))
            assert (path, answer.status) == (path, 200)
            assert _fits(document, _content(document, operation)["schema"], answer.json())


def test_every_example_works_and_its_answer_is_the_one_told(app: Any, document: Any) -> None:
    for path, method, operation in _operations(document):
        if method == "GET" or path.endswith(":explain"):
            continue
        content = operation["requestBody"]["content"]["application/json"]
        assert _fits(document, content["schema"], content["example"])
        answer = app.ask(unquote(path), content["example"])
        told = _content(document, operation)
        assert (answer.status, answer.json() | {"id": ""}) == (200, told["example"] | {"id": ""})
        assert _fits(document, told["schema"], answer.json())


def test_an_explanation_fits_its_schema(mixed_package: Path, start: Callable[..., Any]) -> None:
    predictor = start(mixed_package).wait_ready()
    document = predictor.client.get("/openapi.json").json()
    operation = document["paths"]["/v1/models/cancer:explain"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = predictor.client.post("/v1/models/cancer:explain", json=example)
    assert (answer.status_code, answer.json()["method"]) == (200, "linear")
    assert _fits(document, _content(document, operation)["schema"], answer.json())


def test_refusals_fit_theirs(app: Any, document: Any) -> None:
    operation = document["paths"]["/v2/models/cancer/infer"]["post"]
    answer = app.v2({"inputs": []})
    assert _fits(document, _content(document, operation, str(answer.status))["schema"], answer.json())
    assert set(operation["responses"]) == {"200", "400", "404", "408", "413", "415", "422", "500", "503", "504"}
    assert f"at most {_LIMIT} bytes" in document["info"]["description"]


def test_several_models_have_their_own_parts(planes: dict[str, Any]) -> None:
    """Names may be alike but for characters that only some places allow."""
    for plane, name in zip(planes.values(), ["a b", "a_b", "a/{b}%", "日本"], strict=True):
        plane.name, plane.revision = name, f"{name}-1"
    try:
        document = openapi.document(list(planes.values()), _LIMIT)
    finally:
        for plane in planes.values():
            plane.name, plane.revision = "cancer", "cancer-1"
    names = [operation["operationId"] for *_, operation in _operations(document)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", key) for key in document["components"]["schemas"])
    assert not [path for path in document["paths"] if set(path) & set("{} ")]
    assert {"/v1/models/a%20b", "/v1/models/a_b", "/v1/models/a%2F%7Bb%7D%25:predict"} <= set(document["paths"])
    assert [tag["name"] for tag in document["tags"]] == ["server", "a b", "a_b", "a/{b}%", "日本"]


# --- one model's schemas


def _column(name: str, value: Any, **changes: Any) -> dict[str, Any]:
    datatype = "BYTES" if isinstance(value, str) else "FP64"
    return {"name": name, "shape": [1], "datatype": datatype, "data": [value]} | changes


_ROW = {"age": 40, "land": "br", "size": 2, "colour": "red"}
_COLUMNS = [_column(name, value) for name, value in _ROW.items()]

_MIXED_TAKES: list[tuple[str, Any]] = [
    ("V1", {"instances": [_ROW, _ROW]}),
    ("V1", {"instances": [[40, "br", 2, "red"]]}),
    ("V1", {"instances": [_ROW | {"age": True}], "more": 1}),
    ("V1", {"inputs": [_ROW]}),
    ("V1", {"inputs": {name: [value] for name, value in _ROW.items()}}),
    ("V2", {"inputs": _COLUMNS}),
    ("V2", {"inputs": _COLUMNS[::-1], "id": None, "outputs": None, "parameters": None}),
    ("V2", {"inputs": _COLUMNS, "outputs": [], "parameters": {"binary_data_output": None, "other": 1}, "id": "a"}),
    ("V2", {"inputs": _COLUMNS, "outputs": [{"name": "predict", "parameters": {"binary_data": False}}]}),
    ("V2", {"inputs": [_column("age", 40, shape=[1, 1], datatype="UINT8"), *_COLUMNS[1:]]}),
    ("V2", {"inputs": [_column("age", 40, shape=[1, 1], data=[[40]], parameters={}), *_COLUMNS[1:]]}),
    ("V2", {"inputs": [_column("age", 40, data=[[40]]), *_COLUMNS[1:]]}),
]
_MIXED_REFUSES: list[tuple[str, Any]] = [
    ("V1", {}),
    ("V1", {"instances": []}),
    ("V1", {"instances": [_ROW], "inputs": [_ROW]}),
    ("V1", {"instances": [_ROW, [40, "br", 2, "red"]]}),
    ("V1", {"instances": [_ROW | {"weight": 1}]}),
    ("V1", {"instances": [{"age": 40}]}),
    ("V1", {"instances": [_ROW | {"age": None}]}),
    ("V1", {"instances": [_ROW | {"land": 5}]}),
    ("V1", {"instances": [[40, "br", 2]]}),
    ("V1", {"instances": [["br", 40, 2, "red"]]}),
    ("V1", {"instances": {name: [value] for name, value in _ROW.items()}}),
    ("V2", {"inputs": []}),
    ("V2", {"inputs": _COLUMNS[:3]}),
    ("V2", {"inputs": [*_COLUMNS, _COLUMNS[0]]}),
    ("V2", {"inputs": [_column("age", 40, datatype="BYTES"), *_COLUMNS[1:]]}),
    ("V2", {"inputs": [_column("age", 40, shape=[1, 2]), *_COLUMNS[1:]]}),
    ("V2", {"inputs": [_column("age", 40, shape=[0]), *_COLUMNS[1:]]}),
    ("V2", {"inputs": [_column("weight", 40), *_COLUMNS[1:]]}),
    ("V2", {"inputs": _COLUMNS, "outputs": [{"name": "other"}]}),
    ("V2", {"inputs": _COLUMNS, "outputs": ["predict"]}),
    ("V2", {"inputs": _COLUMNS, "outputs": {}}),
    ("V2", {"inputs": _COLUMNS, "id": 5}),
    ("V2", {"inputs": _COLUMNS, "parameters": {"binary_data_output": "yes"}}),
]
_FREE = {
    "x": {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]},
    "k": {"name": "k", "shape": [2], "datatype": "INT64", "data": [1, 2]},
    "t": {"name": "t", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]},
}


def _free(of: str, **changes: Any) -> tuple[str, Any]:
    return "V2", {"inputs": list((_FREE | {of: _FREE[of] | changes}).values())}


_FREE_TAKES: list[tuple[str, Any]] = [
    _free("x"),
    _free("x", shape=[2, 3, 1]),
    _free("x", data=[[1, 2, 3], [4, 5, 6]]),
    _free("x", data=[[1, 2, 3], [4, 5, True]], datatype="FP64"),
    _free("x", shape=[0, 3], data=[]),
    _free("k", shape=[2, 1], data=[[1], [2]]),
    _free("k", datatype="UINT8"),
    _free("t", shape=[1], data=["a"]),
    _free("t", data=[["a"]]),
    ("V1", {"inputs": {"x": [[1, 2, 3]], "k": [1, 2.0], "t": ["a"]}}),
    ("V1", {"inputs": {"x": [[1, 2, 3]], "k": [[1], [2]], "t": [["a"]]}}),
    ("V1", {"instances": [{"x": [1, 2, 3], "k": 1, "t": "a"}, {"x": [1, 2, 3], "k": 2, "t": "b"}]}),
]
_FREE_REFUSES: list[tuple[str, Any]] = [
    _free("x", shape=[3]),
    _free("x", shape=[2, 4]),
    _free("x", name="y"),
    _free("x", data="a"),
    _free("x", data=[None] * 6),
    _free("x", datatype="BYTES"),
    _free("k", shape=[3], data=[1, 2, 3]),
    _free("t", datatype="FP32"),
    _free("t", data=[5]),
    ("V2", {"inputs": [_FREE["x"]]}),
    ("V1", {"inputs": {"x": [[1, 2, 3]]}}),
    ("V1", {"inputs": {"x": [[1, 2]], "k": [1, 2], "t": ["a"]}}),
    ("V1", {"inputs": {"x": [[1, 2, 3]], "k": [1, 2**63], "t": ["a"]}}),
    ("V1", {"inputs": {"x": [[1, 2, 3]], "k": [1, 2.5], "t": ["a"]}}),
    ("V1", {"instances": [[1, 2, 3]]}),
]


@pytest.mark.parametrize(
    ("name", "protocol", "body", "taken"),
    [
        *(("mixed", *case, True) for case in _MIXED_TAKES),
        *(("mixed", *case, False) for case in _MIXED_REFUSES),
        *(("tensors", *case, True) for case in _FREE_TAKES),
        *(("tensors", *case, False) for case in _FREE_REFUSES),
    ],
)
def test_what_fits_the_schema_is_what_is_accepted(
    planes: dict[str, Any], kit: Any, name: str, protocol: str, body: Any, taken: bool
) -> None:
    document = openapi.document([planes[name]], _LIMIT)
    app = kit.App(planes[name])
    answer = app.v1(body) if protocol == "V1" else app.v2(body)
    assert (_fits(document, _request(document, protocol), body), answer.status == 200) == (taken, taken), answer.body


def test_what_may_be_missing_is_not_needed(planes: dict[str, Any], kit: Any) -> None:
    document = openapi.document([planes["nullable"]], _LIMIT)
    row = dict(zip(kit.NAMES, kit.CANCER.data[0].tolist(), strict=True))
    del row["mean area"]
    for record in (row, row | {"mean area": None}):
        assert _fits(document, _request(document, "V1"), {"instances": [record]})
    matrix = {"name": "x", "shape": [1, 30], "datatype": "FP64", "data": [None] * 30}
    assert _fits(document, _request(document, "V2"), {"inputs": [matrix]})


def test_a_model_that_does_not_take_zeros_has_no_example_of_an_answer() -> None:
    class Picky:
        platform = "picky"
        inputs = (Spec("x", "FP32", ()),)
        outputs = (Spec("y", "FP32", ()),)
        batched = False

        def infer(self, inputs: Any, wanted: Any) -> Any:
            raise ZeroDivisionError

    document = openapi.document([TensorPlane(Picky(), name="picky", revision="1", digest="")], _LIMIT)
    operation = document["paths"]["/v2/models/picky/infer"]["post"]
    assert "example" not in _content(document, operation)
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert example == {"inputs": [{"name": "x", "shape": [], "datatype": "FP32", "data": [0.0]}]}


@pytest.mark.parametrize(
    ("datatype", "array"),
    [("BYTES", [["a"]]), ("BOOL", [[True]]), ("INT8", [[-128]]), ("UINT64", [[2**64 - 1]]), ("FP16", [[1.5]])],
)
def test_answers_of_every_kind_fit(kit: Any, datatype: str, array: Any) -> None:
    class Constant:
        platform = "constant"
        inputs = (Spec("x", "FP32", (-1, 1)),)
        outputs = (Spec("y", datatype, (-1, 1)), Spec("z", "FP32", (-1, 1)))
        batched = True

        def infer(self, inputs: Any, wanted: Any) -> Any:
            kind = {"BYTES": object, "BOOL": bool, "INT8": np.int8, "UINT64": np.uint64, "FP16": np.float16}[datatype]
            return {"y": np.array(array, kind), "z": np.array([[np.nan]], np.float32)}

    plane = TensorPlane(Constant(), name="cancer", revision="cancer-1", digest="")
    document = openapi.document([plane], _LIMIT)
    for path, body in (
        ("/v2/models/cancer/infer", {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}),
        ("/v1/models/cancer:predict", {"instances": [[1]]}),
    ):
        answer = kit.App(plane).ask(path, body)
        assert answer.status == 200
        assert _fits(document, _content(document, document["paths"][path]["post"])["schema"], answer.json())


# --- how it is served


def test_it_is_served_and_made_once(app: Any, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = app.ask("/openapi.json")
    monkeypatch.setattr(openapi, "document", lambda *_: pytest.fail("it is made again"))
    second = app.ask("/openapi.json")
    assert (first.status, first.headers["content-type"], first.json()) == (200, "application/json", document)
    assert second.body == first.body


def test_the_page_runs_its_own_script_and_nothing_from_elsewhere(app: Any) -> None:
    answer = app.ask("/docs")
    text = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (200, docs_page.CONTENT_TYPE)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    for kind in ("script", "style"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert not re.search(r"https?://|src=|\son\w+=|style=|innerHTML|insertAdjacent|document\.write|eval", text)
