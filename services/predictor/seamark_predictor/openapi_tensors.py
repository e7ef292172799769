"""JSON Schemas and examples of a model of free tensors: its own inputs and outputs, by name, datatype and shape."""

from __future__ import annotations

from collections.abc import Sequence

from seamark_predictor.arrays import listed
from seamark_predictor.generic import Arrays, TensorPlane
from seamark_predictor.model import Spec
from seamark_predictor.openapi_schema import (
    Json,
    Wire,
    closed,
    constant,
    either,
    exactly,
    listing,
    nested,
    tensor,
    v1_request,
)
from seamark_predictor.tensors import BYTES, LIMITS

__all__ = ["wire"]

_FLOATS = ("FP16", "FP32", "FP64")
_ANY_SIZE: Json = {"type": "integer", "minimum": 0}


def wire(plane: TensorPlane, sample: Arrays) -> Wire:
    """sample: the arrays of the examples."""
    columns = {name: listed(array) for name, array in sample.by_name.items()}
    predictions: Json = {
        "description": "The rows of the one output, or rows by name of several; all of each where they differ in rows."
    }
    return Wire(
        _instances(plane.inputs),
        {"inputs": columns},
        {"predictions": predictions},
        _inputs(plane.inputs),
        [_example(spec, sample) for spec in plane.inputs],
        {spec.name: _answered(spec.datatype) for spec in plane.outputs},
    )


def _example(spec: Spec, sample: Arrays) -> Json:
    array = sample.by_name[spec.name]
    shape = list(array.shape)
    return {"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": listed(array.reshape(-1))}


def _instances(inputs: Sequence[Spec]) -> Json:
    """A row is what the first axis counts."""
    whole = {spec.name: either([nested(_value(spec), shape) for shape in _shapes(spec)]) for spec in inputs}
    rows = {spec.name: either([nested(_value(spec), shape[1:]) for shape in _shapes(spec) if shape]) for spec in inputs}
    kinds = [listing(closed(rows, list(rows), "A row of each input."), least=1)]
    if len(inputs) == 1:
        kinds.append(listing(rows[inputs[0].name], least=1))
    return v1_request(kinds, closed(whole, list(whole), "All of each input."))


def _inputs(inputs: Sequence[Spec]) -> Json:
    entries = [_tensor(spec) for spec in inputs]
    return listing(either(entries), least=len(entries)) | {"maxItems": len(entries)}


def _tensor(spec: Spec) -> Json:
    """Of another numeric datatype, too: it is converted where no value is lost."""
    value: Json = {"type": "string" if spec.datatype == BYTES else ["number", "boolean"]}
    shapes = [exactly([_ANY_SIZE if n < 0 else constant(n) for n in shape]) for shape in _shapes(spec)]
    entry = tensor(constant(spec.name), shapes, value, len(spec.shape) + 1, texts=spec.datatype == BYTES)
    if not spec.shape:
        entry["properties"]["data"] = either([value, entry["properties"]["data"]])
    return entry


def _shapes(spec: Spec) -> list[tuple[int, ...]]:
    """A last axis of 1 may be there or not."""
    shapes = [spec.shape, (*spec.shape, 1)]
    return [*shapes, spec.shape[:-1]] if spec.shape[-1:] == (1,) else shapes


def _value(spec: Spec) -> Json:
    """Where a number is needed, true and false are 1 and 0."""
    if spec.datatype == BYTES:
        return {"type": "string"}
    if spec.datatype in _FLOATS:
        return {"type": ["number", "boolean"]}
    low, high = LIMITS[spec.datatype]
    return {"type": ["integer", "boolean"], "minimum": low, "maximum": high}


def _answered(datatype: str) -> Json:
    if datatype in _FLOATS:
        return {"type": ["number", "null"], "description": "null where it is NaN or infinite; binary data hold those."}
    return {"type": {BYTES: "string", "BOOL": "boolean"}.get(datatype, "integer")}
