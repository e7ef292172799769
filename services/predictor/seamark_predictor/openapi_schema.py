"""JSON Schemas for the two protocols, whatever the model: frames of requests and answers, and what they are made of.

A request that is accepted fits its schema. Not every request that fits is accepted: a schema cannot say that a tensor
has as many values as its shape tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamark_predictor import v2
from seamark_predictor.model import Spec
from seamark_predictor.tensors import BYTES, DATATYPES

__all__ = [
    "Json",
    "Wire",
    "closed",
    "constant",
    "data",
    "either",
    "exactly",
    "listing",
    "nested",
    "number",
    "obj",
    "tensor",
    "v1_request",
    "v2_answer",
    "v2_request",
]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """What depends on the kind of model.

    request, example: v1's. predictions: the properties of v1's answer. inputs, tensors: v2's, schema and example.
    values: one value of each output, by name.
    """

    request: Json
    example: Json
    predictions: Mapping[str, Json]
    inputs: Json
    tensors: list[Json]
    values: Mapping[str, Json]


# --- protocols


def v1_request(rows: list[Json], columns: Json) -> Json:
    """rows: the kinds of lists of rows; columns: all values by name."""
    return {
        "type": "object",
        "properties": {
            "instances": either(rows) | {"description": "Rows."},
            "inputs": either([*rows, columns]) | {"description": "The same, or all values by name."},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }


def v2_request(inputs: Json, outputs: Sequence[Spec]) -> Json:
    """A body without binary data."""
    names = [spec.name for spec in outputs]
    wanted = obj({"name": {"enum": names}}, {"parameters": _parameters(binary_data=_FLAG)})
    return obj(
        {"inputs": inputs},
        {
            "id": {"type": ["string", "null"], "maxLength": v2.LONGEST_ID, "description": "Comes back in the answer."},
            "parameters": _parameters(binary_data_output=_FLAG),
            "outputs": {
                "type": ["array", "null"],
                "items": wanted,
                "maxItems": len(names),
                "description": "Those wanted, each once; all where none is named.",
            },
        },
    )


def v2_answer(names: Mapping[str, Json], outputs: Sequence[Spec], values: Mapping[str, Json]) -> Json:
    """names: the properties that tell of the model. values: one value of each output."""
    entries = [_output(spec, values[spec.name]) for spec in outputs]
    return obj({**names, "outputs": {"type": "array", "items": either(entries)}})


def _output(spec: Spec, value: Json) -> Json:
    size: Json = {"type": "integer", "minimum": 0}
    return obj(
        {
            "name": constant(spec.name),
            "datatype": constant(spec.datatype),
            "shape": listing(size) | {"description": f"{list(spec.shape)}, -1 being any size."},
        },
        {
            "data": listing(value) | {"description": "Flat, row by row."},
            "parameters": _parameters(binary_data_size=size),
        },
    )


def tensor(name: Json, shapes: list[Json], value: Json, deepest: int, *, texts: bool) -> Json:
    """An input with JSON data: flat, or nested up to `deepest` axes."""
    datatype = constant(BYTES) if texts else {"enum": list(DATATYPES)}
    required = {"name": name, "shape": either(shapes), "datatype": datatype, "data": data(value, deepest)}
    return obj(required, {"parameters": _parameters()})


def data(value: Json, deepest: int) -> Json:
    """Lists of values, nested up to `deepest` axes."""
    return either([nested(value, (-1,) * depth) for depth in range(1, deepest + 1)])


_FLAG: Json = {"type": ["boolean", "null"]}


def _parameters(**known: Json) -> Json:
    return {"type": ["object", "null"]} | ({"properties": known} if known else {})


# --- JSON Schema


def obj(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None) -> Json:
    """An object that may have more properties than these."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def closed(properties: Mapping[str, Json], required: Sequence[str], description: str) -> Json:
    """An object that has no other properties."""
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def listing(items: Json, size: int | None = None, *, least: int = 0) -> Json:
    """A list of values of one kind; of `size` values where that is given."""
    if size is not None:
        return {"type": "array", "items": items, "minItems": size, "maxItems": size}
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def exactly(items: Sequence[Json]) -> Json:
    """A list of one value for each of the schemas, in their order."""
    if not items:
        return {"type": "array", "maxItems": 0}
    if all(item == items[0] for item in items):
        return listing(items[0], len(items))
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def nested(value: Json, shape: Sequence[int]) -> Json:
    """Lists in lists; a negative size is any."""
    for size in reversed(shape):
        value = listing(value, None if size < 0 else size)
    return value


def either(schemas: Sequence[Json]) -> Json:
    """Any of them."""
    different = list({repr(schema): schema for schema in schemas}.values())
    return different[0] if len(different) == 1 else {"anyOf": different}


def constant(value: object) -> Json:
    """This value and no other."""
    return {"const": value}


def number(description: str = "") -> Json:
    """Any number."""
    return {"type": "number"} | ({"description": description} if description else {})
