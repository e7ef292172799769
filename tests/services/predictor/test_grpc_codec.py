"""Messages of the Open Inference Protocol over gRPC: every datatype both ways, typed and raw, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import seamark_predictor.oip
from seamark.errors import InvalidInput
from seamark_predictor import grpc_codec
from seamark_predictor.generic import TensorPlane
from seamark_predictor.model import Spec
from seamark_predictor.oip import open_inference_pb2 as pb
from seamark_predictor.tensors import BYTES, DATATYPES, pack_texts, unpack_texts

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Echo:
    """Answers its inputs."""

    platform = "test"
    batched = False

    def __init__(self, *inputs: Spec) -> None:
        self.inputs = self.outputs = inputs

    def infer(self, inputs: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        return dict(inputs)


def plane_of(*inputs: Spec) -> TensorPlane:
    return TensorPlane(Echo(*inputs), name="free", revision="free-1", digest="d" * 64)


def answered(message: pb.ModelInferRequest, plane: TensorPlane) -> pb.ModelInferResponse:
    """As the server does it."""
    request = grpc_codec.parse(grpc_codec.decode(message.SerializeToString()), plane)
    answer = plane.predict(request.batch)
    return pb.ModelInferResponse.FromString(grpc_codec.encode(request, answer, plane, "id-1"))


def entry(name: str, datatype: str, shape: Sequence[int], values: Any = None) -> Any:
    contents = {} if values is None else {"contents": {FIELDS[datatype]: values}}
    return {"name": name, "datatype": datatype, "shape": shape, **contents}


def x_of(values: Any, datatype: str = "FP32", shape: Sequence[int] | None = None) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(inputs=[entry("x", datatype, [len(values)] if shape is None else shape, values)])


def refusal(message: pb.ModelInferRequest, plane: TensorPlane) -> str:
    with pytest.raises(InvalidInput) as caught:
        grpc_codec.parse(message, plane)
    assert caught.value.status == 400
    return str(caught.value)


@st.composite
def arrays(draw: Any, datatype: str) -> Any:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    if datatype == BYTES:
        return draw(hnp.arrays(object, shape, elements=st.text(max_size=5)))
    return draw(hnp.arrays(DATATYPES[datatype], shape))


# --- both ways


@settings(max_examples=200)
@given(st.data())
def test_every_datatype_comes_back_typed_as_it_was_sent(data: Any) -> None:
    datatype = data.draw(st.sampled_from(sorted(FIELDS)))
    array = data.draw(arrays(datatype))
    flat = array.reshape(-1).tolist()
    values = [text.encode() for text in flat] if datatype == BYTES else flat
    plane = plane_of(Spec("x", datatype, (-1,) * array.ndim))
    response = answered(x_of(values, datatype, array.shape), plane)
    (output,) = response.outputs
    assert (output.name, output.datatype, tuple(output.shape)) == ("x", datatype, array.shape)
    np.testing.assert_array_equal(list(getattr(output.contents, FIELDS[datatype])), values)
    assert not response.raw_output_contents


@settings(max_examples=200)
@given(st.data())
def test_every_datatype_comes_back_raw_as_it_was_sent(data: Any) -> None:
    datatype = data.draw(st.sampled_from([*DATATYPES, BYTES]))
    array = data.draw(arrays(datatype))
    raw = pack_texts(array.reshape(-1).tolist()) if datatype == BYTES else array.tobytes()
    plane = plane_of(Spec("x", datatype, (-1,) * array.ndim))
    message = pb.ModelInferRequest(inputs=[entry("x", datatype, array.shape)], raw_input_contents=[raw])
    response = answered(message, plane)
    (output,) = response.outputs
    assert (output.datatype, tuple(output.shape), output.HasField("contents")) == (datatype, array.shape, False)
    if datatype.startswith("FP"):
        # A NaN's bits may change on the way through a model.
        found = np.frombuffer(response.raw_output_contents[0], dtype=DATATYPES[datatype]).reshape(array.shape)
        np.testing.assert_array_equal(found, array)
    else:
        assert list(response.raw_output_contents) == [raw]


def test_ids_and_names_are_in_the_answer() -> None:
    plane = plane_of(Spec("x", "FP32", (-1,)))
    message = x_of([1.0])
    assert answered(message, plane).id == "id-1"
    message.id = "mine"
    response = answered(message, plane)
    assert (response.id, response.model_name, response.model_version) == ("mine", "free", "free-1")


def test_several_inputs_and_the_outputs_asked_for_in_their_order() -> None:
    plane = plane_of(Spec("a", "FP32", (-1,)), Spec("b", BYTES, (-1,)), Spec("c", "INT64", (-1,)))
    message = pb.ModelInferRequest(
        inputs=[entry("c", "INT8", [1], [-3]), entry("a", "FP64", [2], [1, 2]), entry("b", BYTES, [1], ["é".encode()])],
        outputs=[{"name": "c"}, {"name": "b"}],
    )
    c, b = answered(message, plane).outputs
    assert (c.name, c.datatype, list(c.contents.int64_contents)) == ("c", "INT64", [-3])
    assert (b.name, list(b.contents.bytes_contents)) == ("b", ["é".encode()])


def test_an_answer_is_raw_as_a_whole_where_the_request_was_or_asks_for_it() -> None:
    plane = plane_of(Spec("x", "FP32", (-1,)), Spec("t", BYTES, (-1,)))
    typed = pb.ModelInferRequest(inputs=[entry("x", "FP32", [1], [2]), entry("t", BYTES, [1], [b"a"])])
    assert not answered(typed, plane).raw_output_contents
    typed.parameters["binary_data_output"].bool_param = True
    raw = pb.ModelInferRequest(
        inputs=[entry("x", "FP32", [1]), entry("t", BYTES, [1])],
        raw_input_contents=[np.float32([2]).tobytes(), pack_texts(["a"])],
    )
    for message in (typed, raw):
        x, t = answered(message, plane).raw_output_contents
        assert (np.frombuffer(x, np.float32).tolist(), unpack_texts(memoryview(t), 1, "t")) == ([2], ["a"])


def test_half_precision_travels_raw_and_takes_the_other_outputs_with_it() -> None:
    plane = plane_of(Spec("h", "FP16", (-1,)), Spec("x", "FP32", (-1,)))
    message = pb.ModelInferRequest(inputs=[entry("h", "FP32", [1], [0.5]), entry("x", "FP32", [1], [2])])
    response = answered(message, plane)
    assert list(response.raw_output_contents) == [np.float16([0.5]).tobytes(), np.float32([2]).tobytes()]
    half = pb.ModelInferRequest(inputs=[{"name": "h", "datatype": "FP16", "shape": [1]}])
    assert refusal(half, plane) == "Cannot read input 'h': FP16 travels in raw_input_contents only"


def test_features_come_in_one_tensor_or_one_for_each(cancer_plane: Any, kit: Any) -> None:
    row = kit.CANCER.data[0]
    together = x_of(row, "FP64", [1, 30])
    apart = pb.ModelInferRequest(
        inputs=[entry(name, "FP64", [1], [value]) for name, value in zip(kit.NAMES, row, strict=True)]
    )
    raw = pb.ModelInferRequest(inputs=[entry("x", "FP64", [1, 30])], raw_input_contents=[row.tobytes()])
    wanted = cancer_plane.from_instances("instances", [row.tolist()]).numbers
    for message in (together, apart, raw):
        np.testing.assert_array_equal(grpc_codec.parse(message, cancer_plane).batch.numbers, wanted)


# --- what is refused


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (pb.ModelInferRequest(), "Cannot read the message: inputs is empty; at least one tensor is needed"),
        (
            pb.ModelInferRequest(id="x" * 257),
            f"Cannot read the message: id is '{'x' * 27}...{'x' * 28}'; at most 256 characters are allowed",
        ),
        (
            pb.ModelInferRequest(inputs=[entry("x", "FP32", [1])], raw_input_contents=[b"1234", b""]),
            "Cannot read the message: it has 2 raw_input_contents; there are 1 inputs",
        ),
        (
            pb.ModelInferRequest(inputs=[entry("x", "FP32", [1], [1])], raw_input_contents=[b"1234"]),
            "Cannot read input 'x': it has both contents and raw_input_contents",
        ),
        (
            pb.ModelInferRequest(inputs=[entry("x", "FP32", [1])], raw_input_contents=[b"123"]),
            "Cannot read input 'x': 3 bytes came; 1 values of FP32 take 4",
        ),
        (
            pb.ModelInferRequest(inputs=[{"name": "x", "datatype": "BF16", "shape": [1]}]),
            (
                "Cannot read input 'x': datatype is 'BF16'; allowed: BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, "
                "INT32, INT64, FP16, FP32, FP64, BYTES"
            ),
        ),
        (
            pb.ModelInferRequest(
                inputs=[{"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp64_contents": [1]}}]
            ),
            "Cannot read input 'x': it holds fp64_contents; FP32 takes fp32_contents",
        ),
        (x_of([1, 2], shape=[3]), "Cannot read input 'x': its data has 2 values; its shape says 3"),
        (
            x_of([1], shape=[-1]),
            "Cannot read input 'x': shape is [-1]; at most 8 whole numbers, each at least 0, are allowed",
        ),
        (
            x_of([1], shape=[1] * 9),
            (
                "Cannot read input 'x': shape is [1, 1, 1, 1, 1, 1, ...]; at most 8 whole numbers, each at least 0, "
                "are allowed"
            ),
        ),
        (x_of([300], "INT8"), "Cannot read input 'x': it holds 300; INT8 takes whole numbers from -128 to 127"),
        (x_of([b"\xff"], BYTES), "Cannot read input 'x': text 0 is not UTF-8"),
        (
            pb.ModelInferRequest(inputs=[entry("x", "FP32", [1], [1])], outputs=[{"name": "y"}]),
            "Cannot answer outputs[0]: it is 'y'; allowed: 'x'",
        ),
        (
            pb.ModelInferRequest(inputs=[entry("x", "FP32", [1], [1])], outputs=[{"name": "x"}, {"name": "x"}]),
            "Cannot answer outputs: one is there twice",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(message: pb.ModelInferRequest, problem: str) -> None:
    assert refusal(message, plane_of(Spec("x", "FP32", (-1,)))) == problem


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_refusal(content: bytes) -> None:
    plane = plane_of(Spec("x", "FP32", (-1,)))
    with suppress(InvalidInput):
        grpc_codec.parse(grpc_codec.decode(content), plane)


names = st.sampled_from(["x", "t", "é", ""])
contents_of = st.fixed_dictionaries(
    {},
    optional={
        "fp32_contents": st.lists(st.floats(width=32), max_size=3),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=3),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=3),
    },
)
tensors = st.fixed_dictionaries(
    {
        "name": names,
        "datatype": st.sampled_from([*DATATYPES, BYTES, "", "FP8"]),
        "shape": st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=3),
        "contents": contents_of,
    }
)


@given(st.lists(tensors, max_size=3), st.lists(st.binary(max_size=12), max_size=3), st.lists(names, max_size=2))
def test_any_message_is_a_request_or_a_refusal(inputs: Any, raw: Any, outputs: Any) -> None:
    plane = plane_of(Spec("x", "FP32", (-1,)), Spec("t", BYTES, (-1,)))
    message = pb.ModelInferRequest(inputs=inputs, raw_input_contents=raw, outputs=[{"name": name} for name in outputs])
    try:
        request = grpc_codec.parse(message, plane)
    except InvalidInput:
        return
    assert [name for name, _ in request.outputs] == outputs


# --- the generated modules


def test_the_generated_modules_are_those_of_the_proto_files() -> None:
    folder = Path(seamark_predictor.oip.__file__).parent
    protos = sorted(folder.glob("*.proto"))
    assert [proto.stem for proto in protos] == ["health", "open_inference"]
    for proto in protos:
        digest = hashlib.sha256(proto.read_bytes()).hexdigest()
        for suffix in (".py", ".pyi"):
            made = folder / f"{proto.stem}_pb2{suffix}"
            first = made.read_text().splitlines()[0]
            assert first == f"# Made by generate.sh from {proto.name}: {digest}", f"run {folder}/generate.sh"
