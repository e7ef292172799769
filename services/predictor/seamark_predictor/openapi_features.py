"""JSON Schemas and examples of a model with features: rows by name or in order, columns, tensors."""

from __future__ import annotations

from seamark.package import CATEGORY, Feature
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.openapi_schema import (
    Json,
    Wire,
    closed,
    constant,
    either,
    exactly,
    listing,
    number,
    obj,
    tensor,
    v1_request,
)
from seamark_predictor.rows import Rows
from seamark_predictor.tensors import BYTES

__all__ = ["explanation", "wire"]

_ROWS: Json = {"type": "integer", "minimum": 1}


def wire(plane: Dataplane, sample: Rows) -> Wire:
    """sample: one row for the examples."""
    record = _record(plane, sample)
    predictions = {"predictions": listing(_label(plane))}
    values = {spec.name: number() for spec in plane.outputs} | {"predict": _label(plane)}
    if "predict_proba" in values:
        of_classes = number(f"The probability of each class: {', '.join(map(repr, plane.schema.classes))}.")
        predictions["scores"] = listing(listing(of_classes, len(plane.schema.classes)))
    return Wire(
        _instances(plane), {"instances": [record]}, predictions, _inputs(plane), _tensors(plane, record), values
    )


def explanation(plane: Dataplane) -> dict[str, Json]:
    """The properties of an explained answer, next to those that tell of the model."""
    by_feature = obj({feature.name: number() for feature in plane.schema.features})
    row = {
        "output": number("base_value and all contributions together."),
        "base_value": number(),
        "contributions": by_feature | {"description": "The largest first, whatever its sign."},
    }
    optional: Json = {"standard_errors": by_feature | {"description": "Where contributions are estimated."}}
    if plane.schema.classes:
        optional["class"] = {"enum": list(plane.schema.classes), "description": "The class that is explained."}
    return {
        "predictions": listing(_label(plane)),
        "method": {"enum": ["linear", "tree", "permutation"]},
        "unit": {"type": "string", "description": "Of outputs, base values and contributions."},
        "background": {"type": "string", "description": "What contributions are relative to."},
        "additivity_error": number("The largest difference between an answer and the sum for it."),
        "explanations": listing(obj(row, optional)),
    }


def _record(plane: Dataplane, rows: Rows) -> Json:
    numbers = dict(zip(plane.schema.numbers, rows.numbers[0].tolist(), strict=True))
    texts = {name: column[0] for name, column in zip(plane.schema.categories, rows.categories, strict=True)}
    values = numbers | texts
    return {name: values[name] for name in plane.reader.names}


def _tensors(plane: Dataplane, record: Json) -> list[Json]:
    if _is_uniform(plane):
        datatype = "FP64" if plane.schema.numbers else BYTES
        values = list(record.values())
        return [{"name": "features", "shape": [1, len(values)], "datatype": datatype, "data": values}]
    kinds = {spec.name: spec.datatype for spec in plane.inputs}
    return [{"name": name, "shape": [1], "datatype": kinds[name], "data": [value]} for name, value in record.items()]


def _is_uniform(plane: Dataplane) -> bool:
    """All features fit into one tensor."""
    return not plane.schema.numbers or not plane.schema.categories


def _value(feature: Feature) -> Json:
    """Where a number is needed, true and false are 1 and 0."""
    kinds = ["string"] if feature.type == CATEGORY else ["number", "boolean"]
    return {"type": [*kinds, "null"] if feature.nullable else kinds}


def _instances(plane: Dataplane) -> Json:
    values = {feature.name: _value(feature) for feature in plane.schema.features}
    needed = _needed(plane)
    record = closed(values, needed, "A row by feature name.")
    row = exactly(list(values.values())) | {"description": f"A row in this order: {', '.join(values)}."}
    columns = {name: listing(value, least=1) for name, value in values.items()}
    rows = [listing(record, least=1), listing(row, least=1)]
    return v1_request(rows, closed(columns, needed, "Columns by feature name, all of the same length."))


def _inputs(plane: Dataplane) -> Json:
    single = [
        tensor(constant(one.name), [_shape(), _shape(1)], _value(one), 2, texts=one.type == CATEGORY)
        for one in plane.schema.features
    ]
    columns = listing(either(single), least=max(1, len(_needed(plane)))) | {
        "maxItems": len(single),
        "description": "A tensor for each feature, in any order.",
    }
    return either([_matrix(plane), columns]) if _is_uniform(plane) else columns


def _matrix(plane: Dataplane) -> Json:
    features = plane.schema.features
    shapes = [_shape(len(features))] + ([_shape()] if len(features) == 1 else [])
    kinds = {kind: None for one in features for kind in _value(one)["type"]}
    entry = tensor({"type": "string"}, shapes, {"type": list(kinds)}, 2, texts=not plane.schema.numbers)
    names = ", ".join(one.name for one in features)
    return exactly([entry]) | {"description": f"One tensor of all features, in this order: {names}."}


def _shape(width: int | None = None) -> Json:
    return exactly([_ROWS] if width is None else [_ROWS, constant(width)])


def _needed(plane: Dataplane) -> list[str]:
    return [feature.name for feature in plane.schema.features if not feature.nullable]


def _label(plane: Dataplane) -> Json:
    if not plane.schema.classes:
        return number()
    as_text = plane.label_datatype == BYTES
    return {"enum": [str(label) if as_text else label for label in plane.schema.classes]}
