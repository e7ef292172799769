"""Open Inference Protocol v1: `instances` (or `inputs`) into rows, answers into `predictions` and `scores`."""

from __future__ import annotations

from typing import Any

import orjson

from seamark.errors import InvalidInput
from seamark_predictor import bulk
from seamark_predictor.body import decode
from seamark_predictor.codec import Request
from seamark_predictor.plane import AnyPlane

__all__ = ["encode", "parse"]


def parse(body: bytes, header_length: int | None, plane: AnyPlane) -> Request:  # noqa: ARG001  # v1 has no binary data
    """The request in `body`; raises `InvalidInput`.

    `instances` is a list of rows, each a list in schema order or an object by feature name. `inputs` may hold the same,
    or an object with one list for each feature.
    """
    if plane.is_numeric and len(body) > bulk.WORTH:
        rows = bulk.read_rows(body)
        if rows is not None:
            return Request(plane.from_instances("instances", rows))
    document = decode(body)
    if ("instances" in document) == ("inputs" in document):
        raise InvalidInput("Cannot read the body: it needs either instances or inputs")
    key = "instances" if "instances" in document else "inputs"
    batch = plane.from_instances(key, document[key])
    if document.bare:
        plane.refuse_bare(batch, document.bare)
    return Request(batch)


def encode(
    request: Request,  # noqa: ARG001  # v1 answers hold all outputs
    answer: Any,
    plane: AnyPlane,
    prediction_id: str,
) -> tuple[bytes, None]:
    """The model's own part, with the names of the model and the id."""
    document = plane.to_document(answer)
    document |= {"model_name": plane.name, "model_version": plane.revision, "id": prediction_id}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), None
