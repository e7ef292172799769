"""An ONNX model or MLflow folder is packaged as it is; what it does not tell is found, or asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def classifier(make: Any, names: list[Any], **options: Any) -> tuple[bytes, Any]:
    """(an ONNX file, the model that it was converted from)."""
    values = make.numbers()
    model = LogisticRegression().fit(values, make.classes(values, names))
    converted = to_onnx(model, values[:1].astype(np.float32), options={id(model): options})
    return converted.SerializeToString(), model


def graph(*nodes: Any, inputs: list[Any], outputs: list[Any], tensors: tuple[Any, ...] = ()) -> bytes:
    made = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def softmax(name: str = "x", width: int | str = 3, kind: int = TensorProto.FLOAT) -> bytes:
    """Probabilities of three classes, and nothing that names them."""
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    return graph(
        helper.make_node("Cast", [name], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["p"]),
        inputs=[helper.make_tensor_value_info(name, kind, [None, width])],
        outputs=[helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3])],
        tensors=(weights,),
    )


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("names", [[3, 7], ["no", "yes"], ["x", "y", "z"]], ids=str)
def test_a_classifier_tells_its_classes(desk: Any, make: Any, names: list[Any], zipmap: bool) -> None:
    content, model = classifier(make, names, zipmap=zipmap)
    values = make.numbers()
    labels = model.predict(values)
    said = desk.made(desk.onnx(content), desk.table(values, answer=labels), "--label", "answer")
    assert (said["format"], said["classes"], said["parity"]) == ("onnx", names, None)
    assert said["metrics"]["accuracy"] == 1.0
    assert desk.model() == content


def test_classes_that_it_does_not_tell_are_asked_for(desk: Any, make: Any) -> None:
    path, data = desk.onnx(softmax()), desk.table(make.numbers())
    assert desk.refused(path, data) == (
        "Cannot package model.onnx: it does not tell its classes; name them in the order of its probabilities with "
        "--classes A,B,..., or the column with labels with --label"
    )
    assert desk.made(path, data, "--classes", "c,a,b")["classes"] == ["c", "a", "b"]
    assert desk.made(path, data, "--classes", "1, 2, 3", "--force")["classes"] == [1, 2, 3]


def test_as_many_classes_are_needed_as_it_has_probabilities(desk: Any, make: Any) -> None:
    line = desk.refused(desk.onnx(softmax()), desk.table(make.numbers()), "--classes", "a,b")
    assert line == "Cannot package model.onnx: the model answers (120, 3) probabilities for 120 rows and 2 classes"


@pytest.mark.parametrize(("names", "classes"), [(["9", "10", "1"], [1, 9, 10]), (["b", "a", "c"], ["a", "b", "c"])])
def test_classes_are_found_among_the_labels(desk: Any, make: Any, names: list[str], classes: list[Any]) -> None:
    values = make.numbers()
    data = desk.table(values, answer=make.classes(values, names))
    assert desk.made(desk.onnx(softmax()), data, "--label", "answer")["classes"] == classes


def test_inputs_by_name_are_columns_by_name(desk: Any, make: Any) -> None:
    content = graph(
        helper.make_node("Sub", ["b", "a"], ["y"]),
        inputs=[helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, 1]) for name in ("b", "a")],
        outputs=[helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])],
    )
    values = make.numbers()
    data = desk.table(values, price=values[:, 1] - values[:, 0])
    said = desk.made(desk.onnx(content), data, "--label", "price")
    assert (said["task"], said["metrics"]["r2"]) == ("regression", 1.0)
    assert desk.package().manifest.schema.numbers == ("b", "a")


def test_the_types_of_inputs_are_the_models(desk: Any) -> None:
    zips = np.array([["10115"], ["20095"]] * 60, dtype=object)
    model = make_pipeline(OneHotEncoder(sparse_output=False), LinearRegression()).fit(zips, np.arange(120) % 2)
    content = to_onnx(model, initial_types=[("zip", StringTensorType([None, 1]))]).SerializeToString()
    desk.made(desk.onnx(content), desk.csv({"zip": zips[:, 0]}))
    assert desk.package().manifest.schema.categories == ("zip",)


def test_whole_numbers_are_not_rounded(desk: Any, make: Any) -> None:
    path = desk.onnx(softmax(kind=TensorProto.INT64))
    values = np.tile([1.0, 2.0, 3.0], (120, 1))
    desk.made(path, desk.table(values), "--classes", "a,b,c")
    values[5, 1] = 2.5
    desk.out.rename(desk.folder / "first")
    line = desk.refused(path, desk.table(values), "--classes", "a,b,c")
    assert line == "Cannot package model.onnx: the model takes tensor(int64), and the sample holds 2.5"


def test_data_in_other_files_is_refused(desk: Any, make: Any) -> None:
    model = onnx.load_model_from_string(softmax())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    line = desk.refused(desk.onnx(model.SerializeToString()), desk.table(make.numbers()), "--classes", "a,b,c")
    assert line == (
        "Cannot package model.onnx: it keeps data in other files (external_data); save the model as one file"
    )


def test_a_model_of_images_is_refused(desk: Any, make: Any) -> None:
    content = graph(
        helper.make_node("Identity", ["pixels"], ["y"]),
        inputs=[helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, 3, 8, 8])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3, 8, 8])],
    )
    line = desk.refused(desk.onnx(content), desk.table(make.numbers()))
    assert "its input 'pixels' is tensor(float) [None, 3, 8, 8]; a package holds models of tables" in line
    assert line.endswith("Serve it as it is: seamark serve FILE")


# --- MLflow folders


def mlflow(folder: Path, flavours: dict[str, Any], file: Path, columns: str | None = None) -> Path:
    made = folder / "mlflow"
    made.mkdir()
    file.rename(made / file.name)
    signature = {"inputs": columns} if columns else None
    (made / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours, "signature": signature}))
    return made


def test_an_mlflow_folder_is_opened_and_its_signature_names_the_columns(desk: Any, make: Any) -> None:
    values = make.numbers()
    file = desk.skops(LinearRegression().fit(values, values @ [1.0, 10.0, 100.0]))
    columns = ", ".join(f'{{"name": "{name}", "type": "double"}}' for name in "cba")
    flavour = {"pickled_model": file.name, "serialization_format": "skops"}
    folder = mlflow(desk.folder, {"sklearn": flavour, "python_function": {}}, file, f"[{columns}]")
    desk.made(folder, desk.table(values))
    assert desk.package().manifest.schema.numbers == ("c", "b", "a")


def test_an_mlflow_pickle_wants_trust(desk: Any, make: Any) -> None:
    values = make.numbers()
    file = desk.pickle(LinearRegression().fit(values, values[:, 0]))
    folder = mlflow(desk.folder, {"sklearn": {"pickled_model": file.name, "serialization_format": "pickle"}}, file)
    data = desk.table(values)
    assert desk.refused(folder, data).startswith("Cannot open mlflow/model.pkl: it is a pickle")
    assert desk.made(folder, data, "--trust-pickle")["format"] == "onnx"


def test_an_mlflow_onnx_model_is_packaged_as_it_is(desk: Any, make: Any) -> None:
    content, _ = classifier(make, [0, 1], zipmap=False)
    file = desk.onnx(content)
    folder = mlflow(desk.folder, {"onnx": {"data": file.name}}, file)
    desk.made(folder, desk.table(make.numbers()))
    assert desk.model() == content


@pytest.mark.parametrize(
    ("description", "cause"),
    [
        (
            "flavors: {xgboost: {}, python_function: {}}",
            "its flavours are xgboost, python_function; allowed:",
        ),
        ("flavors: {onnx: {data: ../model.onnx}}", "its MLmodel names '../model.onnx', which is outside of it"),
        ("flavors: {onnx: {data: /etc/passwd}}", "its MLmodel names '/etc/passwd', which is outside of it"),
        ("flavors: {onnx: {}}", "its MLmodel names no model file"),
        ("flavors: 3", "its MLmodel names no flavours"),
        ("[", "mlflow/MLmodel: "),
        ("3", "mlflow/MLmodel: it is no mapping"),
        ("flavors: !!python/object/apply:os.getpid []", "mlflow/MLmodel: could not determine a constructor"),
        (None, "it is a folder without an MLmodel file"),
    ],
)
def test_a_folder_that_is_no_such_model_is_refused(desk: Any, make: Any, description: str | None, cause: str) -> None:
    folder = desk.folder / "mlflow"
    folder.mkdir()
    if description is not None:
        (folder / "MLmodel").write_text(description)
    line = desk.refused(folder, desk.table(make.numbers()))
    assert line.startswith("Cannot open mlflow")
    assert cause in line


def test_a_package_is_one_already(desk: Any, make: Any) -> None:
    values = make.numbers()
    data = desk.table(values)
    desk.made(desk.skops(LinearRegression().fit(values, values[:, 0])), data)
    folder = desk.out.rename(desk.folder / "v1")
    assert desk.refused(folder, data) == "Cannot open v1: it is a Seamark package already"
