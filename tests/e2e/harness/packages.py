"""Model packages for the scenarios: one good model, and what can be wrong with its successors."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from seamark_local.demo import data

__all__ = ["make"]


def make(folder: Path, world: data.World) -> None:
    """`folder`/good, and its successors: equal, wrong, slow, crashing, broken (see the functions below)."""
    rows = folder / "rows.csv"
    data.write_csv(rows, world.names, world.train, world.train_labels)
    good = folder / "good"
    command = [sys.executable, "-m", "seamark_trainer.initial", "--data", str(rows), "--target", data.TARGET]
    command += ["--name", "scanner", "--version", "good", "-o", str(good), "--candidates", "logistic"]
    subprocess.run(command, check=True, capture_output=True)
    rows.unlink()
    model = onnx.load(good / "model.onnx")
    usual = float(np.median(world.live.sum(axis=1)))
    classes = list(json.loads((good / "seamark.json").read_text())["classes"])
    _variant(good, "equal")
    _variant(good, "wrong", classes=classes[::-1])
    _variant(good, "slow", _with_work(model, side=900, times=4))
    _variant(good, "crashing", _with_appetite(model, numbers=1_000_000_000, above=usual))
    _variant(good, "broken", _of_an_unknown_future(model))


def _variant(package: Path, version: str, model: bytes | None = None, **changes: Any) -> None:
    """A copy beside it, of another version and perhaps with another model or other fields; its digests are right."""
    folder = package.parent / version
    shutil.copytree(package, folder)
    manifest = json.loads((folder / "seamark.json").read_bytes()) | {"version": version} | changes
    if model is not None:
        (folder / "model.onnx").write_bytes(model)
        manifest["model"]["sha256"] = hashlib.sha256(model).hexdigest()
    (folder / "seamark.json").write_text(json.dumps(manifest))


def _of_an_unknown_future(model: onnx.ModelProto) -> bytes:
    """In an operator set that no runtime knows yet: it never becomes ready."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for opset in changed.opset_import:
        opset.version = 999
    return bytes(changed.SerializeToString())


def _with_work(model: onnx.ModelProto, side: int, times: int) -> bytes:
    """Each answer costs `times` products of `side` x `side` matrices, whose result is multiplied by nothing."""
    shape = helper.make_tensor("", TensorProto.INT64, [2], [side, side])
    nodes = [
        helper.make_node("Constant", [], ["more_shape"], value=shape),
        # Added to the shape so that nothing of this is known before a row comes.
        helper.make_node("Add", ["more_shape", "more_zero"], ["more_sides"]),
        helper.make_node("ConstantOfShape", ["more_sides"], ["more_0"], value=_one(0.001)),
    ]
    nodes += [helper.make_node("MatMul", [f"more_{i}", "more_0"], [f"more_{i + 1}"]) for i in range(times)]
    return _extended(model, nodes, f"more_{times}", above=0.0)


def _with_appetite(model: onnx.ModelProto, numbers: int, above: float) -> bytes:
    """Rows whose values sum to more than `above` cost four bytes for each of `numbers`."""
    most = helper.make_tensor("", TensorProto.INT64, [1], [numbers])
    nodes = [
        helper.make_node("Constant", [], ["more_most"], value=most),
        helper.make_node("Mul", ["more_most", "more_real"], ["more_count"]),
        helper.make_node("ConstantOfShape", ["more_count"], ["more_filled"], value=_one(1.0)),
    ]
    return _extended(model, nodes, "more_filled", above)


def _one(value: float) -> onnx.TensorProto:
    return helper.make_tensor("", TensorProto.FLOAT, [1], [value])


def _extended(model: onnx.ModelProto, nodes: list[onnx.NodeProto], result: str, above: float) -> bytes:
    """The model with `nodes` before its answer, which stays as it is.

    They may use `more_real` (int64, [1]: 1 where a row's values sum to more than `above`, else 0) and `more_zero`
    (int64, [1]: always 0, but known only when a row has come).
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    output = next(one for one in graph.output if one.type.tensor_type.elem_type == TensorProto.FLOAT)
    for node in graph.node:
        node.output[:] = ["more_before" if name == output.name else name for name in node.output]
    least = helper.make_tensor("", TensorProto.FLOAT, [1], [above])
    nothing = helper.make_tensor("", TensorProto.FLOAT, [1], [0.0])
    null = helper.make_tensor("", TensorProto.INT64, [1], [0])
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["more_axis"], value=helper.make_tensor("", TensorProto.INT64, [1], [1])),
            helper.make_node("ReduceSum", [graph.input[0].name, "more_axis"], ["more_sums"], keepdims=0),
            helper.make_node("ReduceMax", ["more_sums"], ["more_sum"], keepdims=0),
            helper.make_node("Constant", [], ["more_least"], value=least),
            helper.make_node("Constant", [], ["more_nothing"], value=nothing),
            helper.make_node("Constant", [], ["more_null"], value=null),
            helper.make_node("Greater", ["more_sum", "more_least"], ["more_is_real"]),
            helper.make_node("Cast", ["more_is_real"], ["more_real"], to=TensorProto.INT64),
            helper.make_node("Mul", ["more_real", "more_null"], ["more_zero"]),
            *nodes,
            helper.make_node("ReduceSum", [result], ["more_total"], keepdims=0),
            helper.make_node("Mul", ["more_total", "more_nothing"], ["more_of_nothing"]),
            helper.make_node("Add", ["more_before", "more_of_nothing"], [output.name]),
        ]
    )
    return bytes(changed.SerializeToString())
