"""Open Inference Protocol v2: requests into rows, answers into tensors, JSON or binary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark_predictor.body import decode, refuse_bare_numbers
from seamark_predictor.codec import Request
from seamark_predictor.dataplane import Answer, Dataplane
from seamark_predictor.rows import Column, Reader, Rows, names_text, show, texts_of
from seamark_predictor.tensors import (
    BYTES,
    DATATYPES,
    datatype_of,
    flatten,
    pack_texts,
    to_numbers,
    unpack_numbers,
    unpack_texts,
    wrong_shape,
)

__all__ = ["encode", "model_metadata", "parse"]

_ALLOWED = ", ".join([*DATATYPES, BYTES])


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    """content: the binary data, or None when `data` holds JSON."""

    name: str
    rows: int
    width: int
    datatype: str
    data: object
    content: memoryview | None


def parse(body: bytes, header_length: int | None, plane: Dataplane) -> Request:
    """The request in `body`, of which `header_length` bytes are JSON and the rest binary; raises `InvalidInput`."""
    content = memoryview(body)
    split = len(body) if header_length is None else header_length
    if split > len(body):
        raise InvalidInput(
            f"Cannot read the body: Inference-Header-Content-Length is {split}; the body has {len(body)} bytes"
        )
    document = decode(content[:split])
    rows = _rows(_tensors(document, content[split:]), plane.reader)
    refuse_bare_numbers(document, rows, plane.schema)
    parameters = _mapping(document, "parameters", "the body")
    binary = parameters.get("binary_data_output", False) is True
    return Request(rows, _id(document), _outputs(document, binary, plane), binary)


def _id(document: Mapping[str, Any]) -> str:
    value = document.get("id") or ""
    if not isinstance(value, str) or len(value) > 256:
        raise InvalidInput(f"Cannot read the body: id is {show(value)}; a text of at most 256 characters is allowed")
    return value


def _mapping(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"Cannot read {where}: {key} is {show(value)}; an object is needed")
    return value


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list) or not value:
        got = show(value) if key in document else "missing"
        raise InvalidInput(f"Cannot read the body: {key} is {got}; a list of tensors is needed")
    return value


def _tensors(document: Mapping[str, Any], content: memoryview) -> list[_Tensor]:
    tensors: list[_Tensor] = []
    at = 0
    for i, entry in enumerate(_list(document, "inputs")):
        if not isinstance(entry, dict):
            raise InvalidInput(f"Cannot read inputs[{i}]: it is {show(entry)}; an object is needed")
        size = _binary_size(entry, i, len(content) - at)
        part = None if size is None else content[at : at + size]
        at += size or 0
        tensors.append(_tensor(entry, i, part))
    if at != len(content):
        raise InvalidInput(f"Cannot read the body: {len(content)} binary bytes came; its inputs take {at}")
    return tensors


def _binary_size(entry: Mapping[str, Any], i: int, left: int) -> int | None:
    size = _mapping(entry, "parameters", f"inputs[{i}]").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        raise InvalidInput(f"Cannot read inputs[{i}]: binary_data_size is {show(size)}; 0 to {left} bytes are left")
    return size


def _tensor(entry: Mapping[str, Any], i: int, content: memoryview | None) -> _Tensor:
    name, datatype = entry.get("name"), entry.get("datatype")
    if not isinstance(name, str):
        raise InvalidInput(f"Cannot read inputs[{i}]: name is {show(name)}; a text is needed")
    if not isinstance(datatype, str) or (datatype not in DATATYPES and datatype != BYTES):
        raise InvalidInput(f"Cannot read input {show(name)}: datatype is {show(datatype)}; allowed: {_ALLOWED}")
    if content is None and "data" not in entry:
        raise InvalidInput(f"Cannot read input {show(name)}: it has neither data nor binary_data_size")
    rows, width = _shape(entry.get("shape"), name)
    return _Tensor(name, rows, width, datatype, entry.get("data"), content)


def _shape(shape: object, name: str) -> tuple[int, int]:
    if isinstance(shape, list) and 1 <= len(shape) <= 2 and all(type(n) is int and n > 0 for n in shape):
        return shape[0], (shape[1] if len(shape) == 2 else 1)
    raise wrong_shape(name, f"shape is {show(shape)}; [rows] or [rows, features], both at least 1, is needed")


def _rows(tensors: list[_Tensor], reader: Reader) -> Rows:
    """One tensor with all features, or one tensor of one column for each feature."""
    first = tensors[0]
    if len(tensors) == 1 and (first.width > 1 or first.name not in reader.is_number):
        return _matrix(first, reader)
    reader.names_fit([tensor.name for tensor in tensors], first.rows)
    columns: dict[str, Column] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise InvalidInput(f"Cannot read input {show(tensor.name)}: it is there twice")
        columns[tensor.name] = _column(tensor, first.rows, reader)
    return reader.assemble(columns, first.rows)


def _matrix(tensor: _Tensor, reader: Reader) -> Rows:
    width = len(reader.names)
    if tensor.width != width:
        raise wrong_shape(
            tensor.name, f"shape is [{tensor.rows}, {tensor.width}]; [rows, {width}] or one tensor for each feature"
        )
    kinds = set(reader.is_number.values())
    if len(kinds) == 2:
        raise wrong_shape(tensor.name, "the model takes numbers and texts; send one tensor for each feature")
    if kinds == {True}:
        return Rows(_numbers(tensor, reader.names).reshape(tensor.rows, width), [])
    texts = _texts(tensor, reader.names)
    return Rows(np.empty((tensor.rows, 0)), [texts[i::width] for i in range(width)])


def _column(tensor: _Tensor, rows: int, reader: Reader) -> Column:
    if tensor.rows != rows or tensor.width != 1:
        raise wrong_shape(
            tensor.name,
            f"shape is [{tensor.rows}, {tensor.width}]; one column of {rows} rows is needed, as the first has",
        )
    if reader.is_number[tensor.name]:
        return _numbers(tensor, (tensor.name,))
    return _texts(tensor, (tensor.name,))


def _numbers(tensor: _Tensor, features: tuple[str, ...]) -> NDArray[np.float64]:
    size = tensor.rows * tensor.width
    if tensor.datatype == BYTES:
        _refuse_datatype(tensor, features, f"a number needs one of {', '.join(DATATYPES)}")
    if tensor.content is not None:
        return unpack_numbers(tensor.content, tensor.datatype, size, tensor.name)
    return to_numbers(flatten(tensor.data, tensor.rows, tensor.width, tensor.name), tensor.datatype, features)


def _texts(tensor: _Tensor, features: tuple[str, ...]) -> list[str | None]:
    if tensor.datatype != BYTES:
        _refuse_datatype(tensor, features, "a category needs BYTES")
    if tensor.content is not None:
        return unpack_texts(tensor.content, tensor.rows * tensor.width, tensor.name)
    return texts_of(flatten(tensor.data, tensor.rows, tensor.width, tensor.name), features)


def _refuse_datatype(tensor: _Tensor, features: tuple[str, ...], allowed: str) -> None:
    raise InvalidInput(
        f"Cannot read input {show(tensor.name)}: datatype is {tensor.datatype}; {allowed}",
        violations=tuple((feature, "type", tensor.rows) for feature in features),
    )


def _outputs(document: Mapping[str, Any], binary: bool, plane: Dataplane) -> tuple[tuple[str, bool], ...]:
    if not document.get("outputs"):
        return ()
    allowed = [name for name, _, _ in _output_types(plane)]
    wanted: list[tuple[str, bool]] = []
    for i, entry in enumerate(_list(document, "outputs")):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or name not in allowed:
            raise InvalidInput(f"Cannot answer outputs[{i}]: it is {show(name)}; allowed: {names_text(allowed)}")
        own = _mapping(entry, "parameters", f"outputs[{i}]").get("binary_data", binary)
        wanted.append((str(name), own is True))
    return tuple(wanted)


def _output_types(plane: Dataplane) -> list[tuple[str, str, list[int]]]:
    """(name, datatype, shape) of each output."""
    outputs = [("predict", plane.label_datatype, [-1])]
    if plane.probabilities is not None:
        outputs.append(("predict_proba", datatype_of(plane.probabilities), [-1, len(plane.schema.classes)]))
    return outputs


def model_metadata(plane: Dataplane) -> dict[str, Any]:
    """Inputs are told one by one; one tensor [rows, features] with all of them does as well."""
    inputs = [
        {"name": name, "datatype": "FP64" if number else BYTES, "shape": [-1, 1]}
        for name, number in plane.reader.is_number.items()
    ]
    outputs = [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in _output_types(plane)]
    return {
        "name": plane.name,
        "versions": [plane.revision],
        "platform": plane.platform,
        "inputs": inputs,
        "outputs": outputs,
    }


def encode(request: Request, answer: Answer, plane: Dataplane, prediction_id: str) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON where binary data follow."""
    wanted = request.outputs or tuple((name, request.binary) for name, _, _ in _output_types(plane))
    binary: list[bytes] = []
    outputs = []
    for name, as_binary in wanted:
        values, shape, datatype = _values(name, answer, plane)
        output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if as_binary:
            binary.append(values.tobytes() if isinstance(values, np.ndarray) else pack_texts(values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values
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


def _values(name: str, answer: Answer, plane: Dataplane) -> tuple[NDArray[Any] | list[str], list[int], str]:
    """(row-major values, shape, datatype) of an output."""
    if name == "predict":
        labels = plane.labels(answer)
        return labels, [len(labels)], plane.label_datatype
    probabilities = answer.output.probabilities
    assert probabilities is not None
    values = np.ascontiguousarray(probabilities).reshape(-1)
    return values, list(probabilities.shape), datatype_of(values.dtype)
