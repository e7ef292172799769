"""Open Inference Protocol v2 over REST: bodies into tensors, tensors into answers, JSON or binary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from seamark.errors import InvalidInput
from seamark_predictor import bulk
from seamark_predictor.body import decode
from seamark_predictor.codec import Request
from seamark_predictor.model import Spec
from seamark_predictor.plane import AnyPlane
from seamark_predictor.rows import names_text, show
from seamark_predictor.tensors import BYTES, DATATYPES, Tensor, pack_texts, wrong_shape

__all__ = ["LONGEST_ID", "encode", "model_metadata", "parse"]

_ALLOWED = ", ".join([*DATATYPES, BYTES])
#: Characters of a request's id.
LONGEST_ID = 256
#: Axes of a tensor; ONNX models in the wild have at most five.
_MOST_AXES = 8


def parse(body: bytes, header_length: int | None, plane: AnyPlane) -> Request:
    """The request in `body`, of which `header_length` bytes are JSON and the rest binary; raises `InvalidInput`."""
    header, content = _split(body, header_length)
    document = bulk.read_tensors(header) if plane.is_numeric and len(header) > bulk.WORTH else None
    if document is None:
        document = decode(header)
    batch = plane.from_tensors(_tensors(document, content))
    if document.bare:
        plane.refuse_bare(batch, document.bare)
    binary = _flag(document, "binary_data_output", "the body", default=False)
    return Request(batch, _id(document), _outputs(document, binary, plane), binary)


def _split(body: bytes, header_length: int | None) -> tuple[bytes | memoryview, bytes | memoryview]:
    """The JSON and the binary data behind it."""
    if header_length is None:
        return body, b""
    if header_length > len(body):
        raise InvalidInput(
            f"Cannot read the body: Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes"
        )
    content = memoryview(body)
    return content[:header_length], content[header_length:]


def _id(document: Mapping[str, Any]) -> str:
    value = document.get("id")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_ID:
        raise InvalidInput(
            f"Cannot read the body: id is {show(value)}; a text of at most {LONGEST_ID} characters is allowed"
        )
    return value


def _mapping(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"Cannot read {where}: {key} is {show(value)}; an object is needed")
    return value


def _flag(document: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    """One of its parameters."""
    if "parameters" not in document:
        return default
    value = _mapping(document, "parameters", where).get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(f"Cannot read {where}: the parameter {key} is {show(value)}; true or false is needed")
    return value


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list) or not value:
        got = show(value) if key in document else "missing"
        raise InvalidInput(f"Cannot read the body: {key} is {got}; a list of tensors is needed")
    return value


def _tensors(document: Mapping[str, Any], content: bytes | memoryview) -> list[Tensor]:
    tensors: list[Tensor] = []
    at = 0
    for i, entry in enumerate(_list(document, "inputs")):
        if not isinstance(entry, dict):
            raise InvalidInput(f"Cannot read inputs[{i}]: it is {show(entry)}; an object is needed")
        size = _binary_size(entry, i, len(content) - at)
        part = None if size is None else memoryview(content)[at : at + size]
        at += size or 0
        tensors.append(_tensor(entry, i, part))
    if at != len(content):
        raise InvalidInput(f"Cannot read the body: {len(content)} binary bytes came; its inputs take {at}")
    return tensors


def _binary_size(entry: Mapping[str, Any], i: int, left: int) -> int | None:
    if "parameters" not in entry:
        return None
    size = _mapping(entry, "parameters", f"inputs[{i}]").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        raise InvalidInput(f"Cannot read inputs[{i}]: binary_data_size is {show(size)}; 0 to {left} bytes are left")
    return size


def _tensor(entry: Mapping[str, Any], i: int, content: memoryview | None) -> Tensor:
    name, datatype = entry.get("name"), entry.get("datatype")
    if not isinstance(name, str):
        raise InvalidInput(f"Cannot read inputs[{i}]: name is {show(name)}; a text is needed")
    if not isinstance(datatype, str) or (datatype not in DATATYPES and datatype != BYTES):
        raise InvalidInput(f"Cannot read input {show(name)}: datatype is {show(datatype)}; allowed: {_ALLOWED}")
    if content is None and "data" not in entry:
        raise InvalidInput(f"Cannot read input {show(name)}: it has neither data nor binary_data_size")
    return Tensor(name, datatype, _shape(entry.get("shape"), name), entry.get("data"), content)


def _shape(shape: object, name: str) -> tuple[int, ...]:
    if isinstance(shape, list) and len(shape) <= _MOST_AXES and all(type(n) is int and n >= 0 for n in shape):
        return tuple(shape)
    raise wrong_shape(
        name, f"shape is {show(shape)}; a list of at most {_MOST_AXES} whole numbers, each at least 0, is needed"
    )


def _outputs(document: Mapping[str, Any], binary: bool, plane: AnyPlane) -> list[tuple[str, bool]]:
    if document.get("outputs") in (None, []):
        return []
    allowed = [spec.name for spec in plane.outputs]
    wanted: dict[str, bool] = {}
    for i, entry in enumerate(_list(document, "outputs")):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or name not in allowed:
            raise InvalidInput(f"Cannot answer outputs[{i}]: it is {show(name)}; allowed: {names_text(allowed)}")
        if name in wanted:
            # However often one is named, it would be answered: little in, much out.
            raise InvalidInput(f"Cannot answer outputs[{i}]: {show(name)} is there twice")
        wanted[name] = _flag(entry, "binary_data", f"outputs[{i}]", default=binary)
    return list(wanted.items())


def model_metadata(plane: AnyPlane) -> dict[str, Any]:
    """A model with features takes one tensor [rows, features] with all of them as well as what is told here."""
    return {
        "name": plane.name,
        "versions": [plane.revision],
        "platform": plane.platform,
        "inputs": [_described(spec) for spec in plane.inputs],
        "outputs": [_described(spec) for spec in plane.outputs],
    }


def _described(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def encode(request: Request, answer: Any, plane: AnyPlane, prediction_id: str) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON where binary data follow."""
    wanted = request.outputs or [(spec.name, request.binary) for spec in plane.outputs]
    binary: list[bytes] = []
    outputs = []
    tensors = plane.to_tensors(answer, [name for name, _ in wanted])
    for tensor, (name, as_binary) in zip(tensors, wanted, strict=True):
        values = tensor.values
        output: dict[str, Any] = {"name": name, "shape": tensor.shape, "datatype": tensor.datatype}
        if as_binary:
            binary.append(values.tobytes() if isinstance(values, np.ndarray) else pack_texts(values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = _jsonable(values)
        outputs.append(output)
    document = {
        "model_name": plane.name,
        "model_version": plane.revision,
        "id": request.id or prediction_id,
        "outputs": outputs,
    }
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return header, None
    return b"".join((header, *binary)), len(header)


def _jsonable(values: Any) -> Any:
    """orjson writes no half precision."""
    return values.astype(np.float32) if isinstance(values, np.ndarray) and values.dtype == np.float16 else values
