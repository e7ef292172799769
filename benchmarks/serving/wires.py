"""How rows and answers look on the wire: one `Wire` for each protocol that a server speaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WIRES", "Answer", "Request", "Wire"]

_JSON = {"Content-Type": "application/json"}
_HEADER_LENGTH = "Inference-Header-Content-Length"
#: How far a score may be from scikit-learn's: single precision, and sums in another order.
_TOLERANCE = 1e-4

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """classes: one for each row. scores: rows x classes, or None where the server answers none."""

    classes: list[int]
    scores: NDArray[np.float64] | None = None

    def equals(self, classes: list[int], scores: NDArray[np.float64]) -> bool:
        """Whether it is scikit-learn's: the same classes, and scores but for single precision."""
        if self.classes != classes:
            return False
        if self.scores is None:
            return True
        return self.scores.shape == scores.shape and bool(np.abs(self.scores - scores).max() < _TOLERANCE)


@dataclass(frozen=True, slots=True)
class Wire:
    """read: body and lower-case headers to an answer; None for servers that answer without reading."""

    path: str
    write: Callable[[NDArray[np.float64]], Request]
    read: Callable[[bytes, Headers], Answer] | None


def _instances(rows: NDArray[np.float64]) -> Request:
    return Request(json.dumps({"instances": rows.tolist()}).encode(), _JSON)


def _inputs(rows: NDArray[np.float64]) -> Request:
    return Request(json.dumps({"inputs": rows.tolist()}).encode(), _JSON)


def _tensor(rows: NDArray[np.float64]) -> dict[str, Any]:
    return {"name": "input", "shape": list(rows.shape), "datatype": "FP64"}


def _v2(rows: NDArray[np.float64]) -> Request:
    document = {"inputs": [{**_tensor(rows), "data": rows.ravel().tolist()}]}
    return Request(json.dumps(document).encode(), _JSON)


def _v2_binary(rows: NDArray[np.float64]) -> Request:
    content = np.ascontiguousarray(rows, dtype="<f8").tobytes()
    tensor = {**_tensor(rows), "parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}
    return Request(header + content, headers)


def _read_predictions(body: bytes, _: Headers) -> Answer:
    document = json.loads(body)
    scores = document.get("scores")
    return Answer(document["predictions"], None if scores is None else np.array(scores, dtype=np.float64))


def _read_v2(body: bytes, headers: Headers) -> Answer:
    """The first output is the classes, each as a number; the second, where there is one, the scores."""
    split = int(headers.get(_HEADER_LENGTH.lower(), len(body)))
    content, at = body[split:], 0
    tensors = []
    for output in json.loads(body[:split])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = np.array(output["data"])
        else:
            values = np.frombuffer(content[at : at + size], dtype=_DTYPES[output["datatype"]])
            at += size
        tensors.append(values.reshape(output["shape"]))
    scores = tensors[1].astype(np.float64) if len(tensors) > 1 else None
    return Answer(tensors[0].reshape(-1).tolist(), scores)


_DTYPES = {"INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}

WIRES = {
    "v1": Wire("/v1/models/bench:predict", _instances, _read_predictions),
    "v2": Wire("/v2/models/bench/infer", _v2, _read_v2),
    "v2-binary": Wire("/v2/models/bench/infer", _v2_binary, _read_v2),
    "instances": Wire("/predict", _instances, _read_predictions),
    "inputs": Wire("/invocations", _inputs, _read_predictions),
    "echo": Wire("/predict", _instances, None),
}
