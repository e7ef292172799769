"""An ONNX file alone is served with its own inputs and outputs, of every datatype and rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from seamark.errors import InvalidInput, InvalidPackage
from seamark_predictor.generic import Arrays, TensorPlane
from seamark_predictor.model import Spec, TensorModel
from seamark_predictor.opening import open_model


def _open(path: Path) -> TensorModel:
    opened = open_model(path, name="m", trust_pickle=False, digest=None)
    assert opened.package is None
    return opened.model  # type: ignore[return-value]  # there is no package


def _write(folder: Path, nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], **more: Any) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, **more)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=9, opset_imports=opsets).SerializeToString())
    return path


def _tensor(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


_TYPES = {
    "BOOL": (TensorProto.BOOL, np.array([[True], [False]])),
    "UINT8": (TensorProto.UINT8, np.array([[0], [255]], np.uint8)),
    "UINT16": (TensorProto.UINT16, np.array([[0], [65535]], np.uint16)),
    "UINT32": (TensorProto.UINT32, np.array([[0], [2**32 - 1]], np.uint32)),
    "UINT64": (TensorProto.UINT64, np.array([[0], [2**64 - 1]], np.uint64)),
    "INT8": (TensorProto.INT8, np.array([[-128], [127]], np.int8)),
    "INT16": (TensorProto.INT16, np.array([[-(2**15)], [1]], np.int16)),
    "INT32": (TensorProto.INT32, np.array([[-(2**31)], [1]], np.int32)),
    "INT64": (TensorProto.INT64, np.array([[-(2**63)], [2**53 + 1]], np.int64)),
    "FP16": (TensorProto.FLOAT16, np.array([[1.5], [np.inf]], np.float16)),
    "FP32": (TensorProto.FLOAT, np.array([[1.5], [np.nan]], np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array([[1.5], [1e300]])),
    "BYTES": (TensorProto.STRING, np.array([["a"], ["Größe"]], object)),
}


@pytest.mark.parametrize("datatype", _TYPES)
def test_every_datatype_goes_through_unchanged(tmp_path: Path, datatype: str) -> None:
    kind, values = _TYPES[datatype]
    path = _write(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [_tensor("x", kind, ["n", 1])],
        [_tensor("y", kind, ["n", 1])],
    )
    model = _open(path)
    assert model.inputs == (Spec("x", datatype, (-1, 1)),)
    assert model.outputs == (Spec("y", datatype, (-1, 1)),)
    assert model.batched
    found = model.infer({"x": values}, ["y"])["y"]
    assert found.tolist() == values.tolist() or np.array_equal(found, values, equal_nan=True)


def test_several_inputs_and_outputs_of_any_rank_come_as_wanted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("ReduceSum", ["b"], ["total"], keepdims=0),
    ]
    inputs = [_tensor("a", TensorProto.FLOAT, ["n", 2, 3]), _tensor("b", TensorProto.FLOAT, [3])]
    outputs = [_tensor("sum", TensorProto.FLOAT, ["n", 2, 3]), _tensor("total", TensorProto.FLOAT, [])]
    model = _open(_write(tmp_path, nodes, inputs, outputs))
    assert model.inputs == (Spec("a", "FP32", (-1, 2, 3)), Spec("b", "FP32", (3,)))
    assert model.outputs == (Spec("sum", "FP32", (-1, 2, 3)), Spec("total", "FP32", ()))
    assert not model.batched
    given = {"a": np.ones((4, 2, 3), np.float32), "b": np.arange(3, dtype=np.float32)}
    found = model.infer(given, ["total", "sum"])
    assert list(found) == ["total", "sum"]
    assert found["total"].shape == ()
    assert found["total"] == 3
    assert found["sum"].shape == (4, 2, 3)
    assert list(model.infer(given, ["sum"])) == ["sum"]


def _one(folder: Path, operation: str, first: Any, out: Any, **more: Any) -> Path:
    return _write(
        folder,
        [helper.make_node(operation, ["x"], ["y"], **more)],
        [_tensor("x", TensorProto.FLOAT, [first, 3])],
        [_tensor("y", TensorProto.FLOAT, [out, 3])],
    )


@pytest.mark.parametrize(
    ("operation", "axis", "out", "more", "batched"),
    [
        ("Relu", "n", "n", {}, True),
        ("Relu", None, None, {}, True),
        ("Relu", "n", None, {}, True),
        ("Relu", "n", "m", {}, False),
        ("Relu", 2, 2, {}, False),
        ("Softmax", "n", "n", {"axis": 1}, True),
        ("Softmax", "n", "n", {"axis": 0}, False),
        ("CumSum", "n", "n", {}, False),
        ("ReduceMax", "n", 1, {"axes": [0]}, False),
    ],
    ids=[
        "named alike",
        "unnamed",
        "one named",
        "named apart",
        "fixed",
        "within a row",
        "across rows",
        "along rows",
        "over rows",
    ],
)
def test_requests_are_joined_only_where_rows_are_independent(
    tmp_path: Path, operation: str, axis: Any, out: Any, more: dict[str, Any], batched: bool
) -> None:
    if operation == "CumSum":
        path = _write(
            tmp_path,
            [helper.make_node("CumSum", ["x", "axis"], ["y"])],
            [_tensor("x", TensorProto.FLOAT, [axis, 3])],
            [_tensor("y", TensorProto.FLOAT, [out, 3])],
            initializer=[helper.make_tensor("axis", TensorProto.INT64, [], [0])],
        )
    else:
        path = _one(tmp_path, operation, axis, out, **more)
    assert _open(path).batched is batched


@pytest.mark.parametrize("labels", [[0, 1, 2], ["high", "low", "mid"]])
def test_a_zipmap_becomes_probabilities(tmp_path: Path, labels: list[Any]) -> None:
    from skl2onnx import to_onnx

    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4)).astype(np.float32)
    estimator = LogisticRegression().fit(x, np.array(labels * 20))
    (tmp_path / "m.onnx").write_bytes(to_onnx(estimator, x[:1]).SerializeToString())
    model = _open(tmp_path / "m.onnx")
    label, scores = model.outputs
    assert (scores.datatype, scores.shape) == ("FP32", (-1, -1))
    assert label.datatype == ("INT64" if labels[0] == 0 else "BYTES")
    assert model.batched
    found = model.infer({"X": x}, [scores.name, label.name])
    assert np.allclose(found[scores.name], estimator.predict_proba(x), atol=1e-5)
    assert found[label.name].tolist() == estimator.predict(x).tolist()


def test_a_sequence_is_refused_by_name(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [_tensor("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    with pytest.raises(InvalidPackage, match=r"output 'y' is seq\(tensor\(float\)\); allowed: tensor\(bool\)"):
        _open(path)


def test_a_datatype_that_the_protocol_lacks_is_refused_by_name(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [_tensor("x", TensorProto.BFLOAT16, ["n"])],
        [_tensor("y", TensorProto.FLOAT, ["n"])],
    )
    with pytest.raises(InvalidPackage, match=r"input 'x' is tensor\(bfloat16\); allowed"):
        _open(path)


def test_inputs_that_the_model_cannot_put_together_are_the_clients_mistake(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [_tensor("i", TensorProto.INT64, ["n"])],
        [_tensor("y", TensorProto.FLOAT, ["n"])],
        initializer=[helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])],
    )
    plane = TensorPlane(_open(path), name="m", revision="r", digest="d")
    assert plane.predict(Arrays({"i": np.array([2, 0])})).by_name["y"].tolist() == [3, 1]
    with pytest.raises(InvalidInput, match="Cannot predict: the model refuses these inputs") as caught:
        plane.predict(Arrays({"i": np.array([7])}))
    assert caught.value.status == 422
    assert "onnxruntime" not in str(caught.value)


def test_external_data_is_refused_in_a_bare_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = numpy_helper.from_array(np.ones(3, np.float32), "w")
    path = _write(
        tmp_path,
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [_tensor("x", TensorProto.FLOAT, ["n", 3])],
        [_tensor("y", TensorProto.FLOAT, ["n", 3])],
        initializer=[weights],
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(InvalidPackage, match="external_data"):
        _open(path)
