"""Makes what the clients ask for, and what they should hear: `models.py FOLDER`, run by the server's interpreter.

cancer: a package, 30 numbers, two classes. mixed: a package with numbers and texts, three classes that are texts.
free: a bare ONNX file with four inputs and four outputs. half: one with a tensor of half precision.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io as skops

from seamark.package import CATEGORY, Feature, Manifest, ModelFile, Schema
from seamark.profile import build


def write_package(
    folder: Path, model: bytes, form: str, schema: Schema, numbers: Any, texts: Any, outputs: Any
) -> None:
    folder.mkdir()
    profile = build(schema, numbers, texts, outputs, None).to_json()
    file = ModelFile(f"model.{form}", form, hashlib.sha256(model).hexdigest())
    manifest = Manifest(
        name=folder.name, version="1", model=file, schema=schema, profile_sha256=hashlib.sha256(profile).hexdigest()
    )
    (folder / file.file).write_bytes(model)
    (folder / "profile.json").write_bytes(profile)
    (folder / "seamark.json").write_bytes(manifest.to_json())


def make_cancer(root: Path) -> dict[str, Any]:
    data = load_breast_cancer()
    names = tuple(str(name) for name in data.feature_names)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    outputs = np.column_stack([model.predict(data.data), model.predict_proba(data.data)[:, 1]]).astype(float)
    onnx = to_onnx(model, data.data[:1].astype(np.float64), options={id(model): {"zipmap": False}}).SerializeToString()
    schema = Schema("binary", tuple(Feature(name) for name in names), (0, 1))
    write_package(root / "cancer", onnx, "onnx", schema, data.data, [], outputs)
    rows = data.data[:8]
    return {
        "names": names,
        "rows": rows.tolist(),
        "labels": model.predict(rows).tolist(),
        "probabilities": model.predict_proba(rows).tolist(),
    }


def make_mixed(root: Path) -> dict[str, Any]:
    random = np.random.default_rng(7)
    numbers = random.normal([40, 2], [10, 1], (200, 2))
    lands = random.choice(["br", "de", "日本"], 200).tolist()
    colours = random.choice(["red", "blue"], 200).tolist()
    x = np.empty((200, 4), dtype=object)
    x[:, 0], x[:, 1], x[:, 2], x[:, 3] = numbers[:, 0], lands, numbers[:, 1], colours
    y = np.where(numbers[:, 0] < 35, "low", np.where(numbers[:, 0] < 45, "mid", "high"))
    columns = ColumnTransformer([("texts", OneHotEncoder(), [1, 3]), ("numbers", StandardScaler(), [0, 2])])
    model = make_pipeline(columns, LogisticRegression()).fit(x, y)
    features = (Feature("age"), Feature("land", CATEGORY), Feature("size"), Feature("colour", CATEGORY))
    schema = Schema("multiclass", features, ("high", "low", "mid"))
    outputs = np.column_stack([np.searchsorted(schema.classes, model.predict(x)), np.ones(200)]).astype(float)
    write_package(root / "mixed", skops.dumps(model), "skops", schema, numbers, [lands, colours], outputs)
    return {
        "age": numbers[:8, 0].tolist(),
        "land": lands[:8],
        "size": numbers[:8, 1].tolist(),
        "colour": colours[:8],
        "labels": model.predict(x[:8]).tolist(),
        "probabilities": model.predict_proba(x[:8]).tolist(),
    }


def write_graph(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, path.stem, [value(*one) for one in inputs], [value(*one) for one in outputs])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())


def make_free(root: Path) -> None:
    """doubled = matrix + matrix; negated = -whole; texts and flags come back, flags upside down."""
    inputs = [
        ("matrix", TensorProto.FLOAT, ["n", 2]),
        ("whole", TensorProto.INT64, ["n"]),
        ("text", TensorProto.STRING, ["n"]),
        ("flag", TensorProto.BOOL, ["n"]),
    ]
    names = ("doubled", "negated", "same", "opposite")
    outputs = [(name, kind, shape) for name, (_, kind, shape) in zip(names, inputs, strict=True)]
    nodes = [
        helper.make_node("Add", ["matrix", "matrix"], ["doubled"]),
        helper.make_node("Neg", ["whole"], ["negated"]),
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Not", ["flag"], ["opposite"]),
    ]
    write_graph(root / "free.onnx", nodes, inputs, outputs)
    half = TensorProto.FLOAT16
    node = helper.make_node("Identity", ["x"], ["y"])
    write_graph(root / "half.onnx", [node], [("x", half, ["n", 3])], [("y", half, ["n", 3])])


def main() -> None:
    root = Path(sys.argv[1])
    expected = {"cancer": make_cancer(root), "mixed": make_mixed(root)}
    make_free(root)
    (root / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
