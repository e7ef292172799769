"""Open Inference Protocol v1: `instances` (or `inputs`) into rows, answers into `predictions` and `scores`."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from seamark.errors import InvalidInput
from seamark_predictor.body import decode, refuse_bare_numbers
from seamark_predictor.codec import Request
from seamark_predictor.dataplane import Answer, Dataplane
from seamark_predictor.rows import Reader, Rows, show

__all__ = ["encode", "parse"]


def parse(body: bytes, header_length: int | None, plane: Dataplane) -> Request:  # noqa: ARG001  # v1 has no binary data
    """The request in `body`; raises `InvalidInput`.

    `instances` is a list of rows, each a list in schema order or an object by feature name. `inputs` may hold the same,
    or an object with one list for each feature.
    """
    document = decode(body)
    if ("instances" in document) == ("inputs" in document):
        raise InvalidInput("Cannot read the body: it needs either instances or inputs")
    key = "instances" if "instances" in document else "inputs"
    rows = _rows(key, document[key], plane.reader)
    refuse_bare_numbers(document, rows, plane.schema)
    return Request(rows)


def _rows(key: str, values: Any, reader: Reader) -> Rows:
    if key == "inputs" and isinstance(values, dict) and values:
        return reader.from_columns(values, _length(values))
    if not isinstance(values, list) or not values:
        raise InvalidInput(
            f"Cannot read {key}: it is {show(values)}; a list of at least one row is needed",
            violations=(("", "shape", 1),),
        )
    return reader.from_records(values) if isinstance(values[0], dict) else reader.from_lists(values)


def _length(columns: dict[str, Any]) -> int:
    """How many values every column has."""
    for name, values in columns.items():
        if not isinstance(values, list) or not values:
            raise InvalidInput(
                f"Cannot read feature {show(name)}: it is {show(values)}; a list of at least one value is needed",
                violations=(("", "shape", 1),),
            )
    return len(next(iter(columns.values())))


def encode(
    request: Request,  # noqa: ARG001  # v1 answers hold all outputs
    answer: Answer,
    plane: Dataplane,
    prediction_id: str,
) -> tuple[bytes, None]:
    """`scores` has one list for each row, with the probability of each class, where the model gives them."""
    document: dict[str, Any] = {
        "predictions": plane.labels(answer),
        "model_name": plane.name,
        "model_version": plane.revision,
        "id": prediction_id,
    }
    if answer.output.probabilities is not None:
        document["scores"] = np.ascontiguousarray(answer.output.probabilities)
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), None
