"""Request and response bodies of the Open Inference Protocol, v1 and v2, as the blocks that a `Prediction` holds.

Any runtime may have written them, so this reads what common runtimes agree on and says why where it cannot:

- v1 request  {"instances": [[1, 2], ...]} in schema order, or [{"age": 1, ...}, ...]
- v2 request  {"inputs": [...]}: one tensor [rows, features] in schema order, or one tensor per feature, by name
- v1 response {"predictions": [...]}: classes or values, or one list of class probabilities for each row
- v2 response {"outputs": [...]}: tensors; which is which is told by name and shape
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from seamark.errors import InvalidInput
from seamark.package import NUMBER, Schema

__all__ = ["Inputs", "Outputs", "read_request", "read_response"]

_TRUE_FALSE = {True: "true", False: "false"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """As in `seamark.records.Prediction`. violations: (feature, rule, rows) found while parsing."""

    rows: int
    numbers: bytes
    categories: list[list[str | None]]
    violations: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Outputs:
    """rows x len(schema.outputs) little-endian float64; what nobody sent is NaN and named in `unsent`."""

    rows: int
    outputs: bytes
    unsent: tuple[str, ...] = ()


def read_request(body: bytes, schema: Schema) -> Inputs:
    """The rows of a request, or `InvalidInput`."""
    document = _object(body)
    if isinstance(document.get("instances"), list):
        return _inputs(_v1_columns(document["instances"], schema), schema)
    if isinstance(document.get("inputs"), list):
        return _inputs(_v2_columns(document["inputs"], schema), schema)
    raise InvalidInput("Cannot read request: it has no list `instances` (v1) and no list `inputs` (v2)")


def read_response(body: bytes, schema: Schema) -> Outputs:
    """The answer's rows, or `InvalidInput`."""
    document = _object(body)
    if isinstance(document.get("predictions"), list):
        return _outputs(_v1_answer(document["predictions"], schema), schema)
    if isinstance(document.get("outputs"), list):
        return _outputs(_v2_answer(document["outputs"], schema), schema)
    raise InvalidInput("Cannot read response: it has no list `predictions` (v1) and no list `outputs` (v2)")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"Cannot read body as JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput("Cannot read body: it is not a JSON object")
    return document


# Requests: columns of raw values by feature name, None for a feature that is not there.

Columns = dict[str, Sequence[Any]]


def _v1_columns(instances: Sequence[Any], schema: Schema) -> Columns:
    if not instances:
        raise InvalidInput("Cannot read request: `instances` is empty")
    if isinstance(instances[0], Mapping):
        if not all(isinstance(row, Mapping) for row in instances):
            raise InvalidInput("Cannot read request: some of `instances` are objects, some are not")
        return {feature.name: [row.get(feature.name) for row in instances] for feature in schema.features}
    return _by_position([row if isinstance(row, list) else [row] for row in instances], schema)


def _by_position(rows: Sequence[Sequence[Any]], schema: Schema) -> Columns:
    width = len(schema.features)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(f"Cannot read row {i}: it has {len(row)} values; the schema has {width} features")
    return {feature.name: values for feature, values in zip(schema.features, zip(*rows, strict=True), strict=True)}


def _v2_columns(tensors: Sequence[Any], schema: Schema) -> Columns:
    parsed = [_tensor(tensor, "inputs") for tensor in tensors]
    wanted = {feature.name for feature in schema.features}
    if len(parsed) == 1 and parsed[0][0] not in wanted:
        return _by_position(_rows_of(parsed[0]), schema)
    if len(parsed) == 1 and len(wanted) > 1 and len(parsed[0][1]) == 2 and parsed[0][1][1] == len(wanted):
        return _by_position(_rows_of(parsed[0]), schema)
    columns = {name: _flat(data) for name, _, data in parsed if name in wanted}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise InvalidInput(f"Cannot read request: its inputs have {sorted(lengths)} rows; one number is allowed")
    rows = lengths.pop()
    return {name: columns.get(name, [None] * rows) for name in (feature.name for feature in schema.features)}


Tensor = tuple[str, list[int], list[Any]]


def _tensor(tensor: Any, where: str) -> Tensor:
    """(name, shape, data), or `InvalidInput`."""
    if isinstance(tensor, Mapping):
        name, shape, data = tensor.get("name"), tensor.get("shape"), tensor.get("data")
        if isinstance(name, str) and isinstance(data, list) and isinstance(shape, list) and _is_shape(shape):
            return name, shape, data
    raise InvalidInput(f"Cannot read {where}: a tensor needs name, shape and data (JSON, not binary)")


def _is_shape(shape: Sequence[Any]) -> bool:
    sizes_are_counts = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
    return 1 <= len(shape) <= 8 and sizes_are_counts


def _flat(data: Sequence[Any]) -> list[Any]:
    """Tensor data row by row, nested or flat as the protocol allows; deeper than 8 is left as it is."""
    flat = list(data)
    for _ in range(8):
        if not any(isinstance(value, list) for value in flat):
            break
        flat = [part for value in flat for part in (value if isinstance(value, list) else [value])]
    return flat


def _rows_of(tensor: Tensor) -> list[list[Any]]:
    name, shape, data = tensor
    flat = _flat(data)
    rows = shape[0] if len(shape) > 1 else 1
    if rows < 1 or not flat or len(flat) % rows or math.prod(shape) != len(flat):
        raise InvalidInput(f"Cannot read tensor {name!r}: shape {shape} does not fit {len(flat)} values")
    width = len(flat) // rows
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _inputs(columns: Columns, schema: Schema) -> Inputs:
    rows = len(columns[schema.features[0].name])
    if rows == 0:
        raise InvalidInput("Cannot read request: it has no rows")
    numbers = np.full((rows, len(schema.numbers)), np.nan)
    categories: list[list[str | None]] = []
    violations: list[tuple[str, str, int]] = []
    position = 0
    for feature in schema.features:
        wrong = 0
        if feature.type == NUMBER:
            numbers[:, position], wrong = _to_numbers(columns[feature.name])
            position += 1
        else:
            texts, wrong = _to_texts(columns[feature.name])
            categories.append(texts)
        if wrong:
            violations.append((feature.name, "type", wrong))
    return Inputs(rows, numbers.astype("<f8").tobytes(), categories, violations)


def _to_numbers(values: Sequence[Any]) -> tuple[list[float], int]:
    """Numbers, NaN for missing, and how many were neither."""
    numbers = [_number(value) for value in values]
    wrong = sum(value is not None and number is None for value, number in zip(values, numbers, strict=True))
    return [math.nan if number is None else number for number in numbers], wrong


def _number(value: Any) -> float | None:
    """Text is no number here, even where it looks like one: the contract says so."""
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _to_texts(values: Sequence[Any]) -> tuple[list[str | None], int]:
    """Texts, None for missing, and how many were neither text nor a plain value."""
    texts = [_text(value) for value in values]
    wrong = sum(value is not None and text is None for value, text in zip(values, texts, strict=True))
    return texts, wrong


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return _TRUE_FALSE[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


# Responses: (labels or None, probabilities or None, scores or None), each with one entry per row.


@dataclass(frozen=True, slots=True)
class _Answer:
    labels: Sequence[Any] | None = None
    probabilities: Sequence[Sequence[Any]] | None = None
    scores: Sequence[Any] | None = None


def _v1_answer(predictions: Sequence[Any], schema: Schema) -> _Answer:
    if predictions and all(_is_probabilities(row, schema) for row in predictions):
        return _Answer(probabilities=predictions)
    return _Answer(labels=[_only(row) for row in predictions])


def _v2_answer(tensors: Sequence[Any], schema: Schema) -> _Answer:
    labels = probabilities = scores = None
    for name, shape, data in (_tensor(tensor, "outputs") for tensor in tensors):
        if schema.classes and len(shape) == 2 and shape[1] == len(schema.classes) and shape[1] > 1:
            probabilities = probabilities or _rows_of((name, shape, data))
        elif any(word in name.lower() for word in ("score", "prob")):
            scores = scores or _flat(data)
        else:
            labels = labels or _flat(data)
    return _Answer(labels, probabilities, scores)


def _is_probabilities(row: Any, schema: Schema) -> bool:
    return isinstance(row, list) and len(row) == len(schema.classes) > 1


def _only(row: Any) -> Any:
    return row[0] if isinstance(row, list) and len(row) == 1 else row


def _outputs(answer: _Answer, schema: Schema) -> Outputs:
    probabilities = _probabilities(answer, schema)
    predictions = _predictions(answer, probabilities, schema)
    columns = [predictions]
    if schema.task != "regression":
        columns.append(_scores(answer, probabilities, len(predictions), schema))
    if any(len(column) != len(predictions) for column in columns) or not len(predictions):
        raise InvalidInput("Cannot read response: its outputs differ in rows, or have none")
    has_scores = len(columns) == 1 or probabilities is not None or answer.scores is not None
    unsent = () if has_scores else schema.outputs[1:]
    return Outputs(len(predictions), np.column_stack(columns).astype("<f8").tobytes(), unsent)


def _probabilities(answer: _Answer, schema: Schema) -> NDArray[np.float64] | None:
    if answer.probabilities is None:
        return None
    values = [_to_numbers(row)[0] for row in answer.probabilities]
    if any(len(row) != len(schema.classes) for row in values):
        raise InvalidInput(f"Cannot read response: a row has not {len(schema.classes)} probabilities")
    return np.array(values)


def _predictions(answer: _Answer, probabilities: NDArray[np.float64] | None, schema: Schema) -> NDArray[np.float64]:
    if answer.labels is not None:
        return np.array([_label(value, schema) for value in answer.labels])
    if probabilities is None:
        raise InvalidInput("Cannot read response: it holds no predictions")
    known = ~np.isnan(probabilities).any(axis=1)
    return np.where(known, np.argmax(probabilities, axis=1), np.nan)


def _label(value: Any, schema: Schema) -> float:
    found = schema.label_value(value) if isinstance(value, str | int | float) else None
    return math.nan if found is None else found


def _scores(
    answer: _Answer, probabilities: NDArray[np.float64] | None, rows: int, schema: Schema
) -> NDArray[np.float64]:
    """Binary: of `classes[1]`; multiclass: of the likeliest class, which is the predicted one."""
    if probabilities is not None:
        return probabilities[:, 1] if schema.task == "binary" else probabilities.max(axis=1)
    if answer.scores is not None:
        return np.array(_to_numbers(answer.scores)[0])
    return np.full(rows, np.nan)
