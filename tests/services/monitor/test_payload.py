"""Bodies that KServe's logger hands over, as runtimes write them: v1 and v2, requests and responses."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark.package import CATEGORY, Feature, Schema
from seamark_monitor.payload import Inputs, read_request, read_response

SCHEMA = Schema("binary", (Feature("age"), Feature("colour", CATEGORY), Feature("income")), ("no", "yes"))
NUMBERS = Schema("multiclass", (Feature("a"), Feature("b")), (10, 20, 30))
VALUE = Schema("regression", (Feature("a"),))
NAN = math.nan


def tensor(name: str, shape: list[int], data: list[Any], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def block(inputs: Inputs, width: int) -> list[list[float]]:
    return np.frombuffer(inputs.numbers, "<f8").reshape(-1, width).tolist()


def same(found: list[list[float]], expected: list[list[float]]) -> bool:
    return np.array_equal(np.array(found), np.array(expected), equal_nan=True)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"instances": [[30, "red", 9.5], [40, None, None]]}, id="v1 lists"),
        pytest.param(
            {"instances": [{"age": 30, "colour": "red", "income": 9.5, "extra": 1}, {"age": 40}]}, id="v1 objects"
        ),
        pytest.param(
            {
                "inputs": [
                    tensor("income", [2, 1], [9.5, None]),
                    tensor("age", [2], [30, 40]),
                    tensor("colour", [2], ["red", None], "BYTES"),
                ]
            },
            id="v2 one tensor per feature, in any order",
        ),
        pytest.param({"inputs": [tensor("x", [2, 3], [30, "red", 9.5, 40, None, None])]}, id="v2 one flat tensor"),
        pytest.param(
            {"inputs": [tensor("x", [2, 3], [[30, "red", 9.5], [40, None, None]])]}, id="v2 one nested tensor"
        ),
        pytest.param(
            {"inputs": [tensor("age", [2, 3], [30, "red", 9.5, 40, None, None])]},
            id="v2 one tensor that is called like a feature",
        ),
    ],
)
def test_a_request_becomes_blocks_in_schema_order(document: dict[str, Any]) -> None:
    inputs = read_request(json.dumps(document).encode(), SCHEMA)
    assert (inputs.rows, inputs.categories) == (2, [["red", None]])
    assert same(block(inputs, 2), [[30, 9.5], [40, NAN]])
    assert inputs.violations == []


def test_wrong_types_are_missing_and_counted_by_feature() -> None:
    body = json.dumps({"instances": [["old", {"a": 1}, True], [[], 7, 10**400]]}).encode()
    inputs = read_request(body, SCHEMA)
    assert same(block(inputs, 2), [[NAN, 1.0], [NAN, NAN]])
    assert inputs.categories == [[None, "7"]]
    assert inputs.violations == [("age", "type", 2), ("colour", "type", 1), ("income", "type", 1)]


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (3, "3"), (3.0, "3"), (2.5, "2.5"), (True, "true"), (False, "false")]
)
def test_plain_values_are_categories_by_their_text(value: object, text: str) -> None:
    assert read_request(json.dumps({"instances": [[1, value, 2]]}).encode(), SCHEMA).categories == [[text]]


@pytest.mark.parametrize(
    ("schema", "document", "expected"),
    [
        pytest.param(SCHEMA, {"predictions": ["no", "yes"]}, [[0, NAN], [1, NAN]], id="v1 classes"),
        pytest.param(SCHEMA, {"predictions": [["yes"], ["maybe"]]}, [[1, NAN], [NAN, NAN]], id="v1 an unknown class"),
        pytest.param(SCHEMA, {"predictions": [[0.2, 0.8], [0.9, 0.1]]}, [[1, 0.8], [0, 0.1]], id="v1 probabilities"),
        pytest.param(NUMBERS, {"predictions": [20, "30.0"]}, [[1, NAN], [2, NAN]], id="v1 numbers as classes"),
        pytest.param(VALUE, {"predictions": [1.5, [2.5]]}, [[1.5], [2.5]], id="v1 regression"),
        pytest.param(
            NUMBERS,
            {"outputs": [tensor("predict", [2], [30, 10]), tensor("p", [2, 3], [0.1, 0.2, 0.7, 0.5, 0.3, 0.2])]},
            [[2, 0.7], [0, 0.5]],
            id="v2 classes and probabilities",
        ),
        pytest.param(
            SCHEMA,
            {"outputs": [tensor("score", [2], [0.8, 0.3]), tensor("prediction", [2, 1], [["yes"], ["no"]])]},
            [[1, 0.8], [0, 0.3]],
            id="v2 score and classes",
        ),
        pytest.param(
            SCHEMA, {"outputs": [tensor("y", [1, 2], [None, 0.3])]}, [[NAN, NAN]], id="v2 a probability that is null"
        ),
    ],
)
def test_a_response_becomes_the_logged_outputs(
    schema: Schema, document: dict[str, Any], expected: list[list[float]]
) -> None:
    outputs = read_response(json.dumps(document).encode(), schema)
    found = np.frombuffer(outputs.outputs, "<f8").reshape(outputs.rows, -1).tolist()
    if expected == [[NAN, NAN]]:
        assert math.isnan(found[0][0])
        return
    assert same(found, expected)
    assert outputs.unsent == (("score",) if all(math.isnan(row[-1]) for row in found) and len(found[0]) > 1 else ())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "as JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe", "as JSON"),
        (b"[" * 100_000, "as JSON"),
        (b"{}", "no list `instances`"),
        (b'{"instances": 3}', "no list `instances`"),
        (b'{"instances": []}', "empty"),
        (b'{"instances": [[1, 2]]}', "row 0: it has 2 values; the schema has 3 features"),
        (b'{"instances": [{"age": 1}, [1, 2, 3]]}', "some are not"),
        (b'{"inputs": []}', "rows"),
        (b'{"inputs": [7]}', "name, shape and data"),
        (b'{"inputs": [{"name": "x", "shape": [2, 3], "data": [1]}]}', "shape [2, 3] does not fit 1 values"),
        (b'{"inputs": [{"name": "x", "shape": [-1], "data": [1]}]}', "name, shape and data"),
        (b'{"inputs": [{"name": "x", "shape": [true], "data": [1]}]}', "name, shape and data"),
        (b'{"inputs": [{"name": "x", "shape": [0, 3], "data": []}]}', "does not fit"),
        (
            b'{"inputs": [{"name": "age", "shape": [1], "data":[1]}, {"name": "income", "shape": [2], "data": [1,2]}]}',
            "have [1, 2] rows",
        ),
    ],
)
def test_a_request_that_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read_request(body, SCHEMA)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "no list `predictions`"),
        (b'{"predictions": []}', "have none"),
        (b'{"outputs": []}', "no predictions"),
        (b'{"outputs": [{"name": "score", "shape": [1], "data": [0.5]}]}', "no predictions"),
        (
            b'{"outputs": [{"name": "y", "shape": [2], "data": [0, 1]}, {"name": "score", "shape": [1], "data": [1]}]}',
            "differ in rows",
        ),
    ],
)
def test_a_response_that_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read_response(body, SCHEMA)
    assert reason in str(error.value)


plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
tensors = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["age", "x", "score"]),
            "shape": st.lists(st.integers(-1, 3)),
            "data": st.lists(anything),
        }
    )
)


@pytest.mark.parametrize("shape", [[0], [2, 0], [10**9, 0], [0, 2]])
def test_a_tensor_without_values_is_refused(shape: list[int]) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": shape, "data": []}]}).encode()
    with pytest.raises(InvalidInput, match="does not fit 0 values"):
        read_request(body, NUMBERS)


@given(st.sampled_from(["instances", "inputs", "predictions", "outputs"]), anything | tensors)
def test_any_document_is_read_or_refused_and_nothing_else(key: str, content: object) -> None:
    body = json.dumps({key: content}).encode()
    for read in (read_request, read_response):
        for schema in (SCHEMA, NUMBERS, VALUE):
            with contextlib.suppress(InvalidInput):
                read(body, schema)
