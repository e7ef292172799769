"""Open Inference Protocol v2 over gRPC: messages into tensors, tensors into messages, typed or raw.

An answer is raw where the request was, as clients of other servers expect; where it asks for it with the parameter
`binary_data_output`; and where an output is FP16, for which the protocol has no typed field. It is raw as a whole or
not at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from seamark.errors import InvalidInput
from seamark_predictor.codec import Request
from seamark_predictor.oip.open_inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from seamark_predictor.plane import AnyPlane, Values
from seamark_predictor.rows import names_text, show
from seamark_predictor.tensors import BYTES, DATATYPES, Tensor, pack_texts, wrong_shape
from seamark_predictor.v2 import LONGEST_ID

__all__ = ["decode", "encode", "parse"]

_ALLOWED = ", ".join([*DATATYPES, BYTES])
#: Axes of a tensor, as over REST.
_MOST_AXES = 8
#: datatype -> the field that holds its values.
_FIELDS = (
    {"BOOL": "bool_contents", "INT64": "int64_contents", "UINT64": "uint64_contents"}
    | dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents")
    | dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents")
    | {"FP32": "fp32_contents", "FP64": "fp64_contents", BYTES: "bytes_contents"}
)


def decode(content: bytes) -> ModelInferRequest:
    """The message in `content`; raises `InvalidInput`."""
    try:
        message: ModelInferRequest = ModelInferRequest.FromString(content)
    except DecodeError as error:
        raise InvalidInput("Cannot read the message: it is not a ModelInferRequest") from error
    return message


def parse(message: ModelInferRequest, plane: AnyPlane) -> Request:
    """The request in `message`; raises `InvalidInput`."""
    if len(message.id) > LONGEST_ID:
        raise InvalidInput(
            f"Cannot read the message: id is {show(message.id)}; at most {LONGEST_ID} characters are allowed"
        )
    batch = plane.from_tensors(_tensors(message))
    raw = bool(message.raw_input_contents) or _wants_raw(message)
    return Request(batch, message.id, _outputs(message, raw, plane), raw)


def _wants_raw(message: ModelInferRequest) -> bool:
    # Looking up a key that is not there would add it.
    key = "binary_data_output"
    return key in message.parameters and message.parameters[key].bool_param


def _tensors(message: ModelInferRequest) -> list[Tensor]:
    inputs, raw = message.inputs, message.raw_input_contents
    if not inputs:
        raise InvalidInput("Cannot read the message: inputs is empty; at least one tensor is needed")
    if not raw:
        return [_typed(entry) for entry in inputs]
    if len(raw) != len(inputs):
        raise InvalidInput(
            f"Cannot read the message: it has {len(raw)} raw_input_contents; there are {len(inputs)} inputs"
        )
    return [_raw(entry, content) for entry, content in zip(inputs, raw, strict=True)]


def _raw(entry: ModelInferRequest.InferInputTensor, content: bytes) -> Tensor:
    shape = _shape(entry)
    if entry.contents.ListFields():
        raise InvalidInput(f"Cannot read input {show(entry.name)}: it has both contents and raw_input_contents")
    return Tensor(entry.name, entry.datatype, shape, None, memoryview(content))


def _typed(entry: ModelInferRequest.InferInputTensor) -> Tensor:
    shape = _shape(entry)
    field = _FIELDS.get(entry.datatype)
    if field is None:
        raise InvalidInput(f"Cannot read input {show(entry.name)}: {entry.datatype} travels in raw_input_contents only")
    others = [found.name for found, _ in entry.contents.ListFields() if found.name != field]
    if others:
        raise InvalidInput(
            f"Cannot read input {show(entry.name)}: it holds {others[0]}; {entry.datatype} takes {field}"
        )
    values = list(getattr(entry.contents, field))
    return Tensor(
        entry.name, entry.datatype, shape, _decoded(values, entry.name) if field == _FIELDS[BYTES] else values
    )


def _shape(entry: ModelInferRequest.InferInputTensor) -> tuple[int, ...]:
    """Of a tensor whose datatype is known."""
    if entry.datatype not in DATATYPES and entry.datatype != BYTES:
        raise InvalidInput(
            f"Cannot read input {show(entry.name)}: datatype is {show(entry.datatype)}; allowed: {_ALLOWED}"
        )
    shape = tuple(entry.shape)
    if len(shape) <= _MOST_AXES and all(n >= 0 for n in shape):
        return shape
    allowed = f"at most {_MOST_AXES} whole numbers, each at least 0, are allowed"
    raise wrong_shape(entry.name, f"shape is {show(list(shape))}; {allowed}")


def _decoded(values: list[bytes], name: str) -> list[str]:
    texts: list[str] = []
    try:
        texts.extend(value.decode() for value in values)
    except UnicodeDecodeError as error:
        raise wrong_shape(name, f"text {len(texts)} is not UTF-8") from error
    return texts


def _outputs(message: ModelInferRequest, raw: bool, plane: AnyPlane) -> list[tuple[str, bool]]:
    allowed = [spec.name for spec in plane.outputs]
    wanted = [entry.name for entry in message.outputs]
    for i, name in enumerate(wanted):
        if name not in allowed:
            raise InvalidInput(f"Cannot answer outputs[{i}]: it is {show(name)}; allowed: {names_text(allowed)}")
    if len(set(wanted)) < len(wanted):
        # However often one is named, it would be answered: little in, much out.
        raise InvalidInput("Cannot answer outputs: one is there twice")
    return [(name, raw) for name in wanted]


def encode(request: Request, answer: Any, plane: AnyPlane, prediction_id: str) -> bytes:
    """A `ModelInferResponse`."""
    wanted = [name for name, _ in request.outputs] or [spec.name for spec in plane.outputs]
    tensors = plane.to_tensors(answer, wanted)
    raw = request.binary or any(tensor.datatype not in _FIELDS for tensor in tensors)
    message = ModelInferResponse(model_name=plane.name, model_version=plane.revision, id=request.id or prediction_id)
    for tensor in tensors:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_output_contents.append(_packed(tensor))
        else:
            _fill(output.contents, tensor)
    content: bytes = message.SerializeToString()
    return content


def _packed(tensor: Values) -> bytes:
    values = tensor.values
    return values.tobytes() if isinstance(values, np.ndarray) else pack_texts(values)


def _fill(contents: InferTensorContents, tensor: Values) -> None:
    values = tensor.values
    listed = values.tolist() if isinstance(values, np.ndarray) else [text.encode() for text in values]
    getattr(contents, _FIELDS[tensor.datatype]).extend(listed)
