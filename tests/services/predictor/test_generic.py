"""Models of free tensors: every input is converted exactly or refused by name, and answers are what the model said."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seamark.errors import InvalidInput
from seamark_predictor.generic import Arrays, TensorPlane
from seamark_predictor.model import ModelError, Spec
from seamark_predictor.tensors import BYTES, DATATYPES, LIMITS, Tensor, pack_texts

FLOATS = ("FP16", "FP32", "FP64")


class Echo:
    """Answers each input as it came; `answers` takes its place where a test needs another."""

    platform = "test"

    def __init__(self, *inputs: Spec, outputs: Sequence[Spec] | None = None, batched: bool = False) -> None:
        self.inputs = inputs
        self.outputs = tuple(inputs if outputs is None else outputs)
        self.batched = batched
        self.answers: Any = None

    def infer(self, inputs: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        return dict(inputs) if self.answers is None else self.answers(inputs)


def plane_of(*inputs: Spec, **more: Any) -> TensorPlane:
    return TensorPlane(Echo(*inputs, **more), name="free", revision="free-1", digest="d" * 64)


def plane_for(datatype: str, *shape: int) -> TensorPlane:
    return plane_of(Spec("x", datatype, shape))


def parsed(datatype: str, data: Any, shape: Sequence[int] | None = None) -> Tensor:
    return Tensor("x", datatype, tuple(shape if shape is not None else np.shape(data)), data)


def packed(datatype: str, array: Any, shape: Sequence[int] | None = None) -> Tensor:
    array = np.asarray(array, dtype=DATATYPES[datatype])
    return Tensor("x", datatype, tuple(array.shape if shape is None else shape), None, memoryview(array.tobytes()))


def taken(plane: TensorPlane, tensor: Tensor) -> Any:
    return plane.from_tensors([tensor]).by_name["x"]


def refusal(call: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.status == 400
    return str(caught.value)


shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays_of(draw: Any, datatype: str) -> Any:
    dtype = DATATYPES[datatype]
    elements = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False) if dtype.kind == "f" else None
    return draw(hnp.arrays(dtype, draw(shapes), elements=elements))


# --- what is taken


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=20)
@given(data=st.data())
def test_json_and_binary_give_the_very_array_that_was_sent(datatype: str, data: Any) -> None:
    array = data.draw(arrays_of(datatype))
    plane = plane_for(datatype, *(-1,) * array.ndim)
    listed = json.loads(json.dumps(array.tolist()))
    tensors = [
        packed(datatype, array),
        parsed(datatype, listed, array.shape),
        parsed(datatype, array.reshape(-1).tolist(), array.shape),
    ]
    for tensor in tensors:
        found = taken(plane, tensor)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


@given(array=hnp.arrays(object, shapes, elements=st.text(max_size=5)))
def test_texts_come_back_as_they_were_sent(array: Any) -> None:
    plane = plane_for(BYTES, *(-1,) * array.ndim)
    flat = array.reshape(-1).tolist()
    for tensor in (
        Tensor("x", BYTES, array.shape, None, memoryview(pack_texts(flat))),
        parsed(BYTES, array.tolist(), array.shape),
    ):
        batch = plane.from_tensors([tensor])
        assert batch.by_name["x"].tolist() == array.tolist()
        answer = plane.predict(batch)
        (values,) = plane.to_tensors(answer, ["x"])
        assert (values.datatype, values.shape, values.values) == (BYTES, array.shape, flat)
        assert plane.to_document(answer) == {"predictions": array.tolist()}


@settings(max_examples=500)
@given(st.sampled_from(list(DATATYPES)), st.sampled_from(list(DATATYPES)), st.data())
def test_another_datatype_keeps_every_value_or_is_refused(source: str, target: str, data: Any) -> None:
    array = data.draw(arrays_of(source))
    values = array.reshape(-1).tolist()
    plane = plane_for(target, *(-1,) * array.ndim)
    if target in LIMITS:
        low, high = LIMITS[target]
        fits = all(low <= value <= high and value == int(value) for value in values)
    else:
        with np.errstate(over="ignore"):
            fits = bool(np.isfinite(array.astype(DATATYPES[target])).all())
    if not fits:
        assert f"{target} takes" in refusal(lambda: taken(plane, packed(source, array)))
        return
    for tensor in (packed(source, array), parsed(source, values, array.shape)):
        found = taken(plane, tensor)
        assert found.dtype == DATATYPES[target]
        if target in LIMITS:
            assert [int(value) for value in found.reshape(-1).tolist()] == [int(value) for value in values]
        else:
            np.testing.assert_array_equal(found, array.astype(DATATYPES[target]))


@pytest.mark.parametrize("datatype", LIMITS)
def test_json_numbers_reach_both_ends_of_a_datatype_and_no_further(datatype: str) -> None:
    low, high = LIMITS[datatype]
    plane = plane_for(datatype, -1)
    assert taken(plane, parsed(datatype, [low, high])).tolist() == [low, high]
    for wrong in (low - 1, high + 1, float(high + 1), 0.5):
        message = refusal(lambda wrong=wrong: taken(plane, parsed(datatype, [0, wrong])))
        assert message == (
            f"Cannot read input 'x': it holds {wrong}; {datatype} takes whole numbers from {low} to {high}"
        )


@pytest.mark.parametrize("source", ["FP32", "FP64"])
@pytest.mark.parametrize(("target", "edge"), [("INT64", 2.0**63), ("UINT64", 2.0**64), ("INT32", 2.0**31)])
def test_a_float_one_past_the_largest_whole_number_is_refused_not_wrapped(
    source: str, target: str, edge: float
) -> None:
    plane = plane_for(target, -1)
    assert "takes whole numbers" in refusal(lambda: taken(plane, packed(source, [edge])))
    below = float(np.nextafter(DATATYPES[source].type(edge), DATATYPES[source].type(0)))
    if below == int(below):
        assert taken(plane, packed(source, [below])).tolist() == [int(below)]


def test_large_whole_numbers_keep_their_last_digit_beside_floats() -> None:
    large = 2**53 + 1
    assert taken(plane_for("INT64", -1), parsed("INT64", [large, 1.0])).tolist() == [large, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", FLOATS)
def test_nan_and_infinity_are_values_of_binary_floats_and_of_no_whole_number(datatype: str, value: float) -> None:
    np.testing.assert_array_equal(taken(plane_for("FP32", -1), packed(datatype, [value])), np.float32([value]))
    refusal(lambda: taken(plane_for("INT8", -1), packed(datatype, [value])))
    refusal(lambda: taken(plane_for("BOOL", -1), packed(datatype, [value])))


@pytest.mark.parametrize(
    ("source", "target", "value", "allowed"),
    [("FP64", "FP32", 1e39, "-3.4028e+38 to 3.4028e+38"), ("FP32", "FP16", 7e4, "-65504 to 65504")],
)
def test_a_finite_number_never_becomes_infinite(source: str, target: str, value: float, allowed: str) -> None:
    plane = plane_for(target, -1)
    for tensor in (packed(source, [0, value]), parsed(source, [0, value]), parsed(target, [0, value])):
        assert f"{target} takes numbers from {allowed}" in refusal(lambda tensor=tensor: taken(plane, tensor))


def test_a_binary_bool_is_a_byte_of_0_or_1() -> None:
    plane = plane_for("BOOL", -1)
    tensor = Tensor("x", "BOOL", (2,), None, memoryview(b"\x01\x02"))
    assert refusal(lambda: taken(plane, tensor)).startswith("Cannot read input 'x': it holds 2; BOOL takes")


def test_a_model_gets_arrays_of_its_own_wherever_they_began_in_the_body() -> None:
    body = b"." + np.arange(4.0).tobytes()
    found = taken(plane_for("FP64", -1), Tensor("x", "FP64", (4,), None, memoryview(body)[1:]))
    assert (found.flags.aligned, found.flags.writeable, found.flags.c_contiguous) == (True, True, True)
    assert found.tolist() == [0, 1, 2, 3]


def test_inputs_come_in_the_models_order_whatever_the_clients() -> None:
    plane = plane_of(Spec("a", "FP32", (-1,)), Spec("b", BYTES, (1,)), Spec("c", "INT64", ()))
    tensors = [
        Tensor("c", "INT8", (), 5),
        Tensor("a", "FP64", (2,), [1, 2]),
        Tensor("b", BYTES, (1,), ["text"]),
    ]
    batch = plane.from_tensors(tensors)
    assert {name: array.tolist() for name, array in batch.by_name.items()} == {"a": [1, 2], "b": ["text"], "c": 5}
    assert list(batch.by_name) == ["a", "b", "c"]
    assert batch.count == 2
    assert Arrays({"c": np.array(5)}).count == 1


@pytest.mark.parametrize(
    ("wanted", "shape", "found"),
    [((-1,), (2, 1), (2,)), ((-1, 1), (2,), (2, 1)), ((), (1,), ()), ((1,), (), (1,)), ((2, -1), (2, 3, 1), (2, 3))],
)
def test_a_last_axis_of_1_may_be_there_or_not(
    wanted: tuple[int, ...], shape: tuple[int, ...], found: tuple[int, ...]
) -> None:
    array = np.arange(prod(shape), dtype=np.float32).reshape(shape)
    plane = plane_for("FP32", *wanted)
    for tensor in (packed("FP32", array), parsed("FP32", array.tolist(), shape)):
        assert taken(plane, tensor).tolist() == array.reshape(found).tolist()
    texts = array.astype(str).astype(object)
    assert taken(plane_for(BYTES, *wanted), parsed(BYTES, texts.tolist(), shape)).shape == found


# --- what is refused


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (parsed("FP32", [[1, 2, 3]]), "shape is [1, 3]; the model takes [-1, 2], -1 being any size"),
        (parsed("FP32", [1, 2]), "shape is [2]; the model takes [-1, 2], -1 being any size"),
        (parsed("FP32", [], (0, 2, 2)), "shape is [0, 2, 2]; the model takes [-1, 2], -1 being any size"),
        (parsed("FP32", [], (0, 1)), "shape is [0, 1]; the model takes [-1, 2], -1 being any size"),
        (parsed(BYTES, [["1", "2"]]), "datatype is BYTES; the model takes FP32"),
        (parsed("FP32", [["1", 2]], (1, 2)), "it holds '1'; a number is needed"),
        (parsed("FP32", [[None, 2]], (1, 2)), "it holds None; a number is needed"),
        (parsed("FP32", [[1, 2], [3]], (2, 2)), "its nested lists do not have the shape [2, 2]"),
        (parsed("FP32", [[1, 2], 3], (2, 2)), "its nested lists do not have the shape [2, 2]"),
        (parsed("FP32", [1, 2, [3, 4]], (2, 2)), "its data has 3 values; its shape says 4"),
        (parsed("FP32", [[[1], [2]]], (1, 2)), "it holds [1]; a number is needed"),
        (parsed("FP32", [1, 2, 3], (1, 2)), "its data has 3 values; its shape says 2"),
        (parsed("FP32", {}, (1, 2)), "its data is {}; a list is needed"),
        (parsed("FP32", None, (1, 2)), "its data is None; a list is needed"),
        (parsed("FP32", 7, (1, 2)), "its data is 7; a list is needed"),
        (packed("FP32", [1], (1, 2)), "4 bytes came; 2 values of FP32 take 8"),
        (packed("FP32", [1, 2, 3], (1, 2)), "12 bytes came; 2 values of FP32 take 8"),
        (parsed("FP32", [], (2**62, 2)), f"shape is [{2**62}, 2]; at most {2**31} values are allowed"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_with_its_name(tensor: Tensor, problem: str) -> None:
    assert refusal(lambda: taken(plane_for("FP32", -1, 2), tensor)) == f"Cannot read input 'x': {problem}"


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0, 2**62), (0, 2**64)])
def test_a_shape_beyond_numpys_reach_is_refused_though_it_holds_nothing(shape: tuple[int, ...]) -> None:
    plane = plane_for("FP32", *(-1,) * len(shape))
    for tensor in (parsed("FP32", [], shape), packed("FP32", [], shape)):
        assert "values are allowed" in refusal(lambda tensor=tensor: taken(plane, tensor))
    texts = plane_for(BYTES, *(-1,) * len(shape))
    assert "values are allowed" in refusal(lambda: taken(texts, parsed(BYTES, [], shape)))


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (parsed("FP32", [1]), "datatype is FP32; the model takes BYTES"),
        (parsed(BYTES, [1]), "it holds 1; a text is needed"),
        (parsed(BYTES, [None]), "it holds None; a text is needed"),
        (Tensor("x", BYTES, (1,), None, memoryview(b"\1\0\0\0\xff")), "text 0 is not UTF-8"),
        (
            Tensor("x", BYTES, (2,), None, memoryview(b"\1\0\0\0a")),
            "5 bytes do not hold 2 texts, each after its length",
        ),
        (Tensor("x", BYTES, (1,), None, memoryview(b"\1\0")), "2 bytes do not hold 1 texts, each after its length"),
    ],
)
def test_texts_that_do_not_fit_are_refused_with_their_name(tensor: Tensor, problem: str) -> None:
    assert refusal(lambda: taken(plane_for(BYTES, -1), tensor)) == f"Cannot read input 'x': {problem}"


def test_inputs_are_told_apart_by_name() -> None:
    plane = plane_of(Spec("a", "FP32", (1,)), Spec("b", "FP32", (1,)))
    a, b, c = (Tensor(name, "FP32", (1,), [1]) for name in "abc")
    assert refusal(lambda: plane.from_tensors([a])) == "Cannot predict: missing input 'b'"
    assert refusal(lambda: plane.from_tensors([a, b, a])) == "Cannot read input 'a': it is there twice"
    assert refusal(lambda: plane.from_tensors([a, b, c])) == (
        "Cannot read input 'c': the model has no such input; it has 'a', 'b'"
    )


def test_rows_of_a_batch_are_as_many_in_every_input_and_at_least_one() -> None:
    specs = (Spec("a", "FP32", (-1, 2)), Spec("b", "FP32", (-1,)))
    tensors = [Tensor("a", "FP32", (2, 2), [1, 2, 3, 4]), Tensor("b", "FP32", (1,), [1])]
    batched, free = plane_of(*specs, batched=True), plane_of(*specs)
    assert refusal(lambda: batched.from_tensors(tensors)) == "Cannot read input 'b': it has 1 rows where 'a' has 2"
    assert free.from_tensors(tensors).count == 2
    empty = [Tensor("a", "FP32", (0, 2), []), Tensor("b", "FP32", (0,), [])]
    assert refusal(lambda: batched.from_tensors(empty)) == (
        "Cannot read input 'a': it has no rows; at least one is needed"
    )
    assert free.from_tensors(empty).count == 0


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=12,
)


@given(junk, st.sampled_from([*DATATYPES, BYTES]), st.sampled_from([*DATATYPES, BYTES]), shapes)
def test_whatever_comes_as_json_is_an_array_or_a_refusal(
    data: Any, datatype: str, wanted: str, shape: tuple[int, ...]
) -> None:
    plane = plane_for(wanted, *(-1,) * len(shape))
    try:
        found = taken(plane, Tensor("x", datatype, shape, data))
    except InvalidInput:
        return
    assert found.shape == shape


@given(st.binary(max_size=40), st.sampled_from([*DATATYPES, BYTES]), st.sampled_from([*DATATYPES, BYTES]), shapes)
def test_whatever_comes_as_bytes_is_an_array_or_a_refusal(
    content: bytes, datatype: str, wanted: str, shape: tuple[int, ...]
) -> None:
    plane = plane_for(wanted, *(-1,) * len(shape))
    try:
        found = taken(plane, Tensor("x", datatype, shape, None, memoryview(content)))
    except InvalidInput:
        return
    assert found.shape == shape


@given(junk, st.sampled_from(["instances", "inputs"]))
def test_whatever_comes_as_instances_is_a_batch_or_a_refusal(values: Any, key: str) -> None:
    for plane in (plane_for("FP32", -1), plane_of(Spec("x", "INT64", (-1,)), Spec("y", BYTES, (-1,)))):
        try:
            batch = plane.from_instances(key, values)
        except InvalidInput:
            continue
        assert list(batch.by_name) == [spec.name for spec in plane.inputs]


# --- instances


def test_rows_are_lists_or_objects_of_the_one_input() -> None:
    plane = plane_for("FP32", -1, 2)
    for values in ([[1, 2], [3, 4]], [{"x": [1, 2]}, {"x": [3, 4]}]):
        for key in ("instances", "inputs"):
            assert plane.from_instances(key, values).by_name["x"].tolist() == [[1, 2], [3, 4]]
    assert plane.from_instances("inputs", {"x": [[1, 2]]}).by_name["x"].tolist() == [[1, 2]]


def test_several_inputs_are_objects_with_names_in_any_order() -> None:
    plane = plane_of(Spec("a", "FP32", (-1, 2)), Spec("b", BYTES, (-1,)))
    rows = [{"a": [1, 2], "b": "red"}, {"b": "blue", "a": [3, 4]}]
    columns = {"b": ["red", "blue"], "a": [[1, 2], [3, 4]]}
    for batch in (plane.from_instances("instances", rows), plane.from_instances("inputs", columns)):
        assert batch.by_name["a"].tolist() == [[1, 2], [3, 4]]
        assert batch.by_name["b"].tolist() == ["red", "blue"]
        assert plane.to_document(plane.predict(batch)) == {
            "predictions": [{"a": [1, 2], "b": "red"}, {"a": [3, 4], "b": "blue"}]
        }


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "Cannot read instances: it is []; a list of at least one row is needed"),
        ({"a": 1}, "Cannot read instances: it is {'a': 1}; a list of at least one row is needed"),
        ("text", "Cannot read instances: it is 'text'; a list of at least one row is needed"),
        ([[1, 2]], "Cannot read instances: the model has several inputs, so each row is an object: 'a', 'b'"),
        ([{"a": 1, "b": 2}, 3], "Cannot read row 1: it is 3; an object with 'a', 'b' is needed"),
        ([{"a": 1, "b": 2}, {"a": 1}], "Cannot read row 1: it is {'a': 1}; an object with 'a', 'b' is needed"),
        ([{"a": 1}], "Cannot predict: missing input 'b'"),
        ([{"a": 1, "c": 1}], "Cannot read input 'c': the model has no such input; it has 'a', 'b'"),
        ([{"a": [1, 2], "b": 1}], "Cannot read input 'a': shape is [1, 2]; the model takes [-1], -1 being any size"),
    ],
)
def test_rows_that_do_not_fit_are_refused(values: Any, problem: str) -> None:
    plane = plane_of(Spec("a", "FP32", (-1,)), Spec("b", "FP32", (-1,)))
    assert refusal(lambda: plane.from_instances("instances", values)) == problem


def test_numbers_that_json_does_not_have_are_refused() -> None:
    plane = plane_for("FP32", -1)
    message = refusal(lambda: plane.refuse_bare(plane.from_instances("instances", [np.inf]), "at column 4"))
    assert message == "Cannot read the body: it is not JSON: at column 4"


# --- answers


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=20)
@given(data=st.data())
def test_an_answer_is_told_as_it_is(datatype: str, data: Any) -> None:
    array = data.draw(arrays_of(datatype))
    plane = plane_for(datatype, *(-1,) * array.ndim)
    answer = plane.predict(Arrays({"x": array}))
    (values,) = plane.to_tensors(answer, ["x"])
    assert (values.name, values.datatype, values.shape) == ("x", datatype, array.shape)
    assert isinstance(values.values, np.ndarray)
    assert values.values.tobytes() == array.tobytes()
    assert plane.to_document(answer) == {"predictions": array.tolist()}


def test_outputs_come_in_the_order_asked_for() -> None:
    plane = plane_of(Spec("a", "FP32", (1,)), Spec("b", "FP32", (1,)), Spec("c", "FP32", (1,)))
    answer = plane.predict(Arrays({name: np.zeros(1, np.float32) for name in "abc"}))
    assert [values.name for values in plane.to_tensors(answer, ["c", "a"])] == ["c", "a"]


@pytest.mark.parametrize(
    ("outputs", "document"),
    [
        ({"a": np.array([1, 2]), "b": np.array([[3], [4]])}, [{"a": 1, "b": [3]}, {"a": 2, "b": [4]}]),
        ({"a": np.array([1, 2]), "b": np.array([3])}, {"a": [1, 2], "b": [3]}),
        ({"a": np.array(1), "b": np.array([3])}, {"a": 1, "b": [3]}),
        ({"a": np.array(1), "b": np.array(2)}, {"a": 1, "b": 2}),
    ],
)
def test_several_outputs_are_rows_or_else_columns(outputs: dict[str, Any], document: Any) -> None:
    specs = [Spec(name, "INT64", (-1,) * array.ndim) for name, array in outputs.items()]
    plane = plane_of(*specs)
    assert plane.to_document(plane.predict(Arrays(outputs))) == {"predictions": document}


def test_texts_may_come_as_bytes_or_numpys_own() -> None:
    for array in (
        np.array(["é", "b"], dtype=object),
        np.array(["é".encode(), "b"], dtype=object),
        np.array(["é", "b"]),
    ):
        plane = plane_for(BYTES, -1)
        answer = plane.predict(Arrays({"x": array}))
        assert plane.to_tensors(answer, ["x"])[0].values == ["é", "b"]
        assert plane.to_document(answer) == {"predictions": ["é", "b"]}
    scalar = plane_for(BYTES)
    assert scalar.to_document(scalar.predict(Arrays({"x": np.array("one", dtype=object)}))) == {"predictions": "one"}


@pytest.mark.parametrize(
    "answers",
    [
        lambda inputs: 1 / 0,
        lambda inputs: {},
        lambda inputs: {"y": inputs["x"]},
        lambda inputs: {"x": np.array([0.5])},
        lambda inputs: {"x": np.array(["text"])},
        lambda inputs: {"x": [[1], [2, 3]]},
    ],
)
def test_a_model_that_raises_or_answers_something_else_is_to_blame(answers: Any) -> None:
    plane = plane_for("INT64", -1)
    plane._model.answers = answers  # type: ignore[attr-defined]  # the Echo
    with pytest.raises(ModelError, match="the model raised"):
        plane.predict(Arrays({"x": np.array([1])}))


def test_a_model_may_refuse_its_input() -> None:
    def refuse(_: Any) -> Any:
        raise InvalidInput("Cannot predict: sizes do not meet", status=422)

    plane = plane_for("INT64", -1)
    plane._model.answers = refuse  # type: ignore[attr-defined]  # the Echo
    with pytest.raises(InvalidInput, match="sizes do not meet"):
        plane.predict(Arrays({"x": np.array([1])}))


def test_an_answer_of_the_same_kind_gets_the_declared_datatype() -> None:
    plane = plane_for("FP32", -1)
    answer = plane.predict(Arrays({"x": np.array([0.1])}))
    assert answer.by_name["x"].dtype == np.float32


@pytest.mark.parametrize("raised", [ValueError("no zeros"), InvalidInput("no zeros")])
def test_a_warm_up_that_the_model_refuses_is_told_and_no_more(
    raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    plane = plane_of(Spec("x", "FP32", (-1, 3)), Spec("t", BYTES, (2,)))
    seen: list[dict[str, Any]] = []

    def refuse(inputs: Any) -> Any:
        seen.append({name: array.tolist() for name, array in inputs.items()})
        raise raised

    plane._model.answers = refuse  # type: ignore[attr-defined]  # the Echo
    with caplog.at_level(logging.INFO, "seamark.predictor"):
        plane.warm_up()
    assert seen == [{"x": [[0, 0, 0]], "t": ["", ""]}]
    assert [record.getMessage() for record in caplog.records] == ['event=not_warm model=free reason="no zeros"']


def test_a_sample_has_as_many_rows_as_asked_for_where_rows_are_independent() -> None:
    specs = (Spec("x", "FP32", (-1, 3)), Spec("t", BYTES, (-1,)))
    shapes = [array.shape for array in plane_of(*specs, batched=True).sample(4).by_name.values()]
    assert shapes == [(4, 3), (4,)]
    assert [array.shape for array in plane_of(*specs).sample(4).by_name.values()] == [(1, 3), (1,)]


def test_requests_are_counted_and_their_values_kept_nowhere() -> None:
    plane = plane_for("FP32", -1)
    batch = plane.from_instances("instances", [1, 2])
    told = plane.recorded(batch, plane.predict(batch))
    assert (told.numbers, told.categories, told.outputs) == (b"", [], b"")


# --- over REST


@pytest.fixture
def app(kit: SimpleNamespace) -> Any:
    plane = TensorPlane(
        Echo(Spec("x", "FP32", (-1, 2)), Spec("t", BYTES, (-1,)), batched=True),
        name="cancer",
        revision="free-1",
        digest="d" * 64,
    )
    return kit.App(plane)


def test_v2_takes_and_gives_json_and_binary_side_by_side(app: Any) -> None:
    x = np.array([[1, 2], [3, 4]], dtype=np.float32)
    header = json.dumps(
        {
            "inputs": [
                {"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
                {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": x.nbytes}},
            ],
            "outputs": [{"name": "t"}, {"name": "x", "parameters": {"binary_data": True}}],
        }
    ).encode()
    answer = app.v2(header + x.tobytes(), {"Inference-Header-Content-Length": str(len(header))})
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    assert outputs == [
        {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}},
    ]
    assert answer.body[length:] == x.tobytes()


def test_a_refusal_is_400_and_counted(app: Any) -> None:
    answer = app.v1({"instances": [{"x": [1, 2], "t": 3}]})
    assert (answer.status, answer.json()["error"]) == (400, "Cannot read input 't': it holds 3; a text is needed")
    assert [record.status for record in app.records] == [400]


def test_the_metadata_are_the_models_own(app: Any) -> None:
    document = app.ask("/v2/models/cancer").json()
    assert document["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "t", "datatype": "BYTES", "shape": [-1]},
    ]
    assert prod(document["inputs"][1]["shape"]) == -1
