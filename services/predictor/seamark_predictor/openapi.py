"""The OpenAPI 3.1 document of a server, made from the models it serves: every route, schema, status and an example.

Made when it is first asked for, since it runs each model twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import orjson

from seamark_predictor import openapi_features, openapi_tensors, v1, v2
from seamark_predictor.codec import Codec, Request
from seamark_predictor.counters import CONTENT_TYPE
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.generic import TensorPlane
from seamark_predictor.openapi_schema import Json, Wire, constant, listing, obj, v2_answer, v2_request
from seamark_predictor.plane import AnyPlane

__all__ = ["document"]

_JSON = "application/json"
_BINARY = "application/octet-stream"
_EXAMPLE_ID = "0af7651916cd43dd8448eb211c80319c"
_SERVER = "server"

_ABOUT = """The Open Inference Protocol over HTTP: v1 and v2, with v2's binary tensors.

Every refusal is JSON: `error` says what was got and what is allowed. A path that is not here is 404; another method \
than the one listed is 405, with the header Allow. What is no HTTP is answered with 400, 414 or 431 and no body.

Bodies may be compressed: Content-Encoding gzip or deflate. Long answers are compressed for clients that send \
Accept-Encoding: gzip. A body has at most {limit} bytes, compressed and not."""

_REFUSALS = {
    400: "The body breaks the protocol, or does not fit the model: an unknown name, a wrong shape, type or datatype.",
    404: "This server no longer has the model, or the version, of this address.",
    405: "Another method is allowed; the header Allow says which.",
    408: "The body did not arrive in time. The connection is closed.",
    413: "The body is too large, as it came or uncompressed, or there are too many rows to explain.",
    415: "Another content type or content encoding than those allowed. The connection is closed.",
    422: "The model cannot take such values: missing, not finite, too large, or refused by the contract.",
    500: "The model failed. The log has the cause under this id.",
    501: "Nothing explains this model, or a library for it is not installed.",
    503: "Too many requests wait, or the server is stopping.",
    504: "The request waited and ran for too long.",
}
_NAMES = {
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "TooLarge",
    415: "UnsupportedType",
    422: "Unprocessable",
    500: "ModelFailed",
    501: "NotImplemented",
    503: "Unavailable",
    504: "DeadlineExceeded",
}
_OF_BODIES = (400, 404, 408, 413, 415, 503)
_OF_PREDICTIONS = (*_OF_BODIES, 422, 500, 504)

_HEADERS: dict[str, Json] = {
    "PredictionId": {
        "description": "The id under which the prediction is logged: the request's x-request-id, or a new one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "RetryAfter": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "HeaderLength": {
        "description": "How many bytes of the body are JSON; binary tensors follow.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ContentEncoding": {
        "description": "gzip, of a long answer for a client that takes it.",
        "schema": constant("gzip"),
    },
}
_REQUEST_ID: Json = {
    "name": "x-request-id",
    "in": "header",
    "description": "1 to 128 printable ASCII characters, without spaces at the ends; others are replaced by a new id.",
    "schema": {"type": "string"},
}
_HEADER_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "How many bytes of the body are JSON, where binary tensors follow.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**12 - 1},
}
_BINARY_REQUEST = """JSON as above in the first bytes, as many as the header Inference-Header-Content-Length says. \
Instead of data, an input has the parameter `binary_data_size`, and its bytes follow the JSON in the order of the \
inputs: row by row, little-endian; BYTES are texts in UTF-8, each after its length in 4 bytes."""
_BINARY_ANSWER = """Where the request asks for it by `binary_data_output`, or by `binary_data` of an output: JSON, \
then the bytes of those outputs. The header Inference-Header-Content-Length says how many bytes are JSON."""


def document(planes: Sequence[AnyPlane], body_limit: int) -> Json:
    """What `GET /openapi.json` answers. body_limit: bytes."""
    paths, schemas = _server_paths(planes), _error_schemas()
    keys = _keys([plane.name for plane in planes])
    for plane, key in zip(planes, keys, strict=True):
        model = _Model(plane, key)
        paths |= model.paths()
        schemas |= model.schemas
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Seamark predictor: {', '.join(plane.name for plane in planes)}",
            "version": version("seamark-predictor"),
            "description": _ABOUT.format(limit=body_limit),
        },
        "tags": [{"name": _SERVER}, *({"name": plane.name} for plane in planes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": _HEADERS,
            "responses": {_NAMES[status]: _refusal(status) for status in _REFUSALS},
            "parameters": {"RequestId": _REQUEST_ID, "HeaderLength": _HEADER_LENGTH},
        },
    }


def _keys(names: Sequence[str]) -> list[str]:
    """What each model is called where only some characters may be used: all different."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]", "_", name) for name in names]
    return plain if len(plain) == 1 else [f"{name}-{i}" for i, name in enumerate(plain, 1)]


class _Model:
    """The part of one model."""

    def __init__(self, plane: AnyPlane, key: str) -> None:
        self._plane = plane
        self._key = key
        self._names = {
            "model_name": constant(plane.name),
            "model_version": constant(plane.revision),
            "id": {"type": "string"},
        }
        self._sample = plane.sample(1)
        self._wire = _wire(plane, self._sample)
        self.schemas = self._schemas()

    def _schemas(self) -> dict[str, Json]:
        wire, plane, key = self._wire, self._plane, self._key
        found = {
            f"{key}.V1Request": wire.request,
            f"{key}.V1Answer": obj({**wire.predictions, **self._names}),
            f"{key}.V2Request": v2_request(wire.inputs, plane.outputs),
            f"{key}.V2Answer": v2_answer(self._names, plane.outputs, wire.values),
        }
        if isinstance(plane, Dataplane):
            found[f"{key}.Explanation"] = obj({**openapi_features.explanation(plane), **self._names})
        return found

    def paths(self) -> dict[str, Json]:
        """Every path that names the model."""
        name, revision = quote(self._plane.name, safe=""), quote(self._plane.revision, safe="")
        ready = obj({"name": constant(self._plane.name), "ready": constant(True)})
        v1_path = f"/v1/models/{name}"
        paths = {
            v1_path: {"get": self._get("v1.ready", "Is the model ready?", ready, 503)},
            f"{v1_path}:predict": {"post": self._v1_predict()},
            f"{v1_path}:explain": {"post": self._v1_explain()},
        }
        for place, path in (("", f"/v2/models/{name}"), (".version", f"/v2/models/{name}/versions/{revision}")):
            paths |= {
                path: {"get": self._get(f"v2.metadata{place}", "Inputs and outputs", _METADATA)},
                f"{path}/ready": {"get": self._get(f"v2.ready{place}", "Is the model ready?", ready, 503)},
                f"{path}/infer": {"post": self._v2_infer(f"v2.infer{place}")},
            }
        return paths

    def _get(self, operation: str, summary: str, answer: Json, *refusals: int) -> Json:
        return _get(self._plane.name, f"{self._key}.{operation}", summary, answer, 404, *refusals)

    def _post(self, operation: str, summary: str, content: Json, responses: Json, *parameters: Json) -> Json:
        return {
            "operationId": f"{self._key}.{operation}",
            "tags": [self._plane.name],
            "summary": summary,
            "parameters": [_ref("parameters", "RequestId"), *parameters],
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }

    def _v1_predict(self) -> Json:
        answer = _with_example(self._ref("V1Answer"), self._answered(v1))
        responses = {"200": _answer({_JSON: answer}), **_refusals(_OF_PREDICTIONS)}
        return self._post("v1.predict", "Predict, rows in and out", self._v1_content(), responses)

    def _v1_explain(self) -> Json:
        refusals = _refusals((*_OF_PREDICTIONS, 501))
        if not isinstance(self._plane, Dataplane):
            return self._post("v1.explain", "Not for a model of tensors", self._v1_content(), refusals)
        responses = {"200": _answer({_JSON: {"schema": self._ref("Explanation")}}), **refusals}
        return self._post("v1.explain", "Predict, and say what each feature contributes", self._v1_content(), responses)

    def _v1_content(self) -> Json:
        return {_JSON: _with_example(self._ref("V1Request"), self._wire.example)}

    def _v2_infer(self, operation: str) -> Json:
        content = {
            _JSON: _with_example(self._ref("V2Request"), {"inputs": self._wire.tensors}),
            _BINARY: {"schema": {"description": _BINARY_REQUEST}},
        }
        answer = {
            _JSON: _with_example(self._ref("V2Answer"), self._answered(v2)),
            _BINARY: {"schema": {"description": _BINARY_ANSWER}},
        }
        responses = {"200": _answer(answer, binary=True), **_refusals(_OF_PREDICTIONS)}
        length = _ref("parameters", "HeaderLength")
        return self._post(operation, "Predict, tensors in and out", content, responses, length)

    def _answered(self, codec: Codec) -> Json | None:
        """To the example."""
        plane = self._plane
        try:
            content, _ = codec.encode(Request(self._sample), plane.predict(self._sample), plane, _EXAMPLE_ID)
        except Exception:
            # A model may raise anything, and one of free tensors need not take zeros.
            return None
        found: Json = orjson.loads(content)
        return found

    def _ref(self, schema: str) -> Json:
        return _ref("schemas", f"{self._key}.{schema}")


def _wire(plane: AnyPlane, sample: Any) -> Wire:
    if isinstance(plane, TensorPlane):
        return openapi_tensors.wire(plane, sample)
    assert isinstance(plane, Dataplane)
    return openapi_features.wire(plane, sample)


_TENSORS = listing(
    obj({"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": listing({"type": "integer"})})
)
_METADATA = obj(
    {
        "name": {"type": "string"},
        "versions": listing({"type": "string"}),
        "platform": {"type": "string"},
        "inputs": _TENSORS,
        "outputs": _TENSORS,
    }
)


def _server_paths(planes: Sequence[AnyPlane]) -> dict[str, Json]:
    live, ready = obj({"live": constant(True)}), obj({"ready": constant(True)})
    texts = listing({"type": "string"})
    about = obj({"name": {"type": "string"}, "version": {"type": "string"}, "extensions": texts})
    names = obj({"models": listing({"enum": [plane.name for plane in planes]})})
    found: dict[str, tuple[Any, ...]] = {
        "/": ("root", "Does the server live?", obj({"status": constant("alive")})),
        "/healthz": ("healthz", "Does the server live?", live),
        "/readyz": ("readyz", "Does the server take requests?", ready, 503),
        "/v2": ("v2.server", "Name, version and extensions", about),
        "/v2/health/live": ("v2.live", "Does the server live?", live),
        "/v2/health/ready": ("v2.ready", "Does the server take requests?", ready, 503),
        "/v1/models": ("v1.models", "Names of the models", names),
        "/openapi.json": ("openapi", "This document", {"type": "object"}),
    }
    paths: dict[str, Json] = {path: {"get": _get(_SERVER, *parts)} for path, parts in found.items()}
    paths["/metrics"] = {"get": _get_text("metrics", "Counters for Prometheus", CONTENT_TYPE)}
    paths["/docs"] = {"get": _get_text("docs", "This document as a page", "text/html; charset=utf-8")}
    return paths


def _get(tag: str, operation: str, summary: str, answer: Json, *refusals: int) -> Json:
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": {_JSON: {"schema": answer}}},
            **{str(status): _ref("responses", _NAMES[status]) for status in refusals},
        },
    }


def _get_text(operation: str, summary: str, content_type: str) -> Json:
    answer = {"description": "The text.", "content": {content_type: {"schema": {"type": "string"}}}}
    return {"operationId": operation, "tags": [_SERVER], "summary": summary, "responses": {"200": answer}}


def _answer(content: Json, *, binary: bool = False) -> Json:
    headers = {
        "x-prediction-id": _ref("headers", "PredictionId"),
        "Content-Encoding": _ref("headers", "ContentEncoding"),
    }
    if binary:
        headers["Inference-Header-Content-Length"] = _ref("headers", "HeaderLength")
    return {"description": "The model's answer.", "headers": headers, "content": content}


def _refusals(statuses: Sequence[int]) -> Json:
    return {str(status): _ref("responses", _NAMES[status]) for status in sorted(statuses)}


def _refusal(status: int) -> Json:
    schema = _ref("schemas", "InternalError" if status == 500 else "Error")
    found: Json = {"description": _REFUSALS[status], "content": {_JSON: {"schema": schema}}}
    if status == 503:
        found["headers"] = {"Retry-After": _ref("headers", "RetryAfter")}
    if status == 405:
        found["headers"] = {"Allow": {"schema": {"enum": ["GET", "POST"]}}}
    return found


def _error_schemas() -> dict[str, Json]:
    message: Json = {"type": "string", "description": "What cannot be done, what was got, and what is allowed."}
    return {
        "Error": obj({"error": message}),
        "InternalError": obj({"error": constant("internal error"), "request_id": {"type": "string"}}),
    }


def _with_example(schema: Json, example: Json | None) -> Json:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
