"""What the quick reader of numbers reads, it reads as the careful one does; all else it leaves to that one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidInput
from seamark_predictor.body import decode
from seamark_predictor.bulk import read_rows, read_tensors

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0, -0.0, 1e-320])
)
NEARLY = st.one_of(
    NUMBERS, NUMBERS, NUMBERS, st.none(), st.booleans(), st.text(max_size=2), st.lists(NUMBERS, max_size=2)
)


def careful(content: bytes) -> Any:
    try:
        return decode(content)
    except InvalidInput:
        return None


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_rows_of_numbers_are_read(rows: list[list[Any]]) -> None:
    found = read_rows(json.dumps({"instances": rows}).encode())
    if any(isinstance(value, int) and not -(2**63) <= value < 2**64 for row in rows for value in row):
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == np.array(rows, dtype=np.float64).tolist()


@given(st.one_of(NEARLY, st.lists(st.one_of(NEARLY, st.lists(NEARLY, max_size=3)), max_size=4)), st.text(max_size=3))
def test_rows_are_read_alike_or_not_at_all(rows: Any, extra: str) -> None:
    content = json.dumps({"instances": rows, extra: 1}).encode()
    found = read_rows(content)
    if found is not None:
        assert found.tolist() == np.array(careful(content)["instances"], dtype=np.float64).tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"instances": []}',
        b'{"instances": [[]]}',
        b'{"instances": [1, 2]}',
        b'{"instances": [[1], [2, 3]]}',
        b'{"instances": [[1, [2]], [3, 4]]}',
        b'{"instances": [[1, 2], [3, true]]}',
        b'{"instances": [[1, 2], [3, null]]}',
        b'{"instances": [[1, NaN]]}',
        b'{"instances": [[1, 1e999]]}',
        b'{"instances": [[1]], "instances": [[2]]}',
        b'{"instances": [[1]], "inst\\u0061nces": [[2]]}',
        b'{"instances": [[1]], "inputs": 1}',
        b'{"instances": [[1]], "x": [2]}',
        b'{"instances": [{"a": 1}]}',
        b'{"instances": [[1]]',
        b'{"instances": [[1]]} x',
        b'{"instances": [["\xff"]]}',
    ],
)
def test_everything_else_is_for_the_careful_reader(content: bytes) -> None:
    assert read_rows(content) is None


TENSOR = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [1, 2.5, -3, 4, 5, 6e3]}


@pytest.mark.parametrize(
    "more", [{}, {"id": "7"}, {"outputs": [{"name": "predict"}]}, {"parameters": {"binary_data_output": True}}]
)
def test_tensors_are_read_as_by_the_careful_reader(more: dict[str, Any]) -> None:
    second = {"name": "y", "datatype": "INT64", "parameters": {"a": 1}, "data": [1], "shape": [1]}
    content = json.dumps({"inputs": [TENSOR, second], **more}).encode()
    found = read_tensors(memoryview(content))
    assert found is not None
    for entry in found["inputs"]:
        entry["data"] = entry["data"].tolist()
    assert found == careful(content)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"inputs": [TENSOR], "outputs": [{"name": "predict", "parameters": {"a": [1]}}]}),
        json.dumps({"inputs": [TENSOR | {"data": [[1, 2, 3], [4, 5, 6]]}]}),
        json.dumps({"inputs": [TENSOR | {"data": [1, None]}]}),
        json.dumps({"inputs": [TENSOR | {"data": [1, [2]]}]}),
        json.dumps({"inputs": [{key: value for key, value in TENSOR.items() if key != "data"}]}),
        json.dumps({"inputs": TENSOR}),
        json.dumps({"inputs": [1]}),
        '{"inputs": [{"data": [1], "data": [2], "shape": [1]}]}',
        '{"inputs": [], "inputs": []}',
        "{",
    ],
)
def test_other_tensors_are_for_the_careful_reader(content: str) -> None:
    assert read_tensors(content.encode()) is None
