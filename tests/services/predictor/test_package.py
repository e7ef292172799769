"""A package is read, verified and loaded; anything altered or unsafe is refused before it is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from skops import io as skops

from seamark.errors import InvalidPackage
from seamark.onnx_external import has_external_data
from seamark.package import Feature, Schema
from seamark_predictor import formats
from seamark_predictor.package import read


@pytest.fixture
def folder(cancer_packages: dict[str, Path], tmp_path: Path) -> Path:
    """A package to damage."""
    return Path(shutil.copytree(cancer_packages["skops"], tmp_path / "package"))


def test_digest_is_that_of_the_manifest(cancer_packages: dict[str, Path]) -> None:
    manifest = (cancer_packages["skops"] / "seamark.json").read_bytes()
    assert read(cancer_packages["skops"]).digest == hashlib.sha256(manifest).hexdigest()


def test_another_digest_than_the_wanted_one_is_refused(folder: Path) -> None:
    digest = read(folder).digest
    assert read(folder, digest).digest == read(folder, digest.upper()).digest == digest
    with pytest.raises(InvalidPackage) as caught:
        read(folder, "0" * 64)
    assert str(caught.value) == f"Cannot use package {folder}: its digest is {digest}, --digest says {'0' * 64}"


def test_loading_reports_nothing_to_anybody(cancer_packages: dict[str, Path], tmp_path: Path) -> None:
    """ONNX Runtime would, and would keep what it has to report in the home folder."""
    code = (
        "from pathlib import Path; from seamark_predictor import formats; from seamark_predictor.package import read; "
        f"formats.load(read(Path({str(cancer_packages['onnx'])!r})), trust_pickle=False)"
    )
    # In continuous integration it keeps quiet by itself.
    told = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("file", ["seamark.json", "profile.json", "model.skops"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(InvalidPackage, match=rf"Cannot read .*{file}: it does not exist"):
        read(folder)


@pytest.mark.parametrize("file", ["profile.json", "model.skops"])
def test_an_altered_file_is_refused_by_its_digest(folder: Path, file: str) -> None:
    with (folder / file).open("ab") as altered:
        altered.write(b" ")
    with pytest.raises(InvalidPackage, match=f"Cannot load {file}: its SHA-256 is"):
        read(folder)


def test_a_package_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPackage, match="it is not a folder"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"format": 1, "rules": [{}]}'])
def test_a_contract_that_cannot_be_read_is_refused(folder: Path, content: bytes) -> None:
    (folder / "contract.json").write_bytes(content)
    with pytest.raises(InvalidPackage, match=r"Cannot read .*contract\.json"):
        read(folder)


def _replace_model(folder: Path, content: bytes, form: str) -> Path:
    """Puts another model file into the package, digests and all."""
    manifest = json.loads((folder / "seamark.json").read_bytes())
    manifest["model"] = {"file": f"model.{form}", "format": form, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / f"model.{form}").write_bytes(content)
    (folder / "seamark.json").write_text(json.dumps(manifest))
    return folder


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["onnx", "skops", "joblib"])
def test_a_pickle_never_runs_whatever_it_is_called(folder: Path, tmp_path: Path, form: str) -> None:
    canary = tmp_path / "canary"
    _replace_model(folder, pickle.dumps(_Touch(canary)), form)
    with pytest.raises(InvalidPackage, match=f"Cannot load model.{form}"):
        formats.load(read(folder), trust_pickle=False)
    assert not canary.exists()


def test_a_pickle_is_loaded_where_the_user_trusts_it(cancer_packages: dict[str, Path], kit: Any) -> None:
    plane = kit.open_plane(cancer_packages["joblib"], trust_pickle=True)
    assert plane.platform == "sklearn_joblib"


def test_untrusted_skops_types_are_named(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    _replace_model(folder, skops.dumps(_Touch(canary)), "skops")
    with pytest.raises(InvalidPackage, match="types that are not trusted"):
        formats.load(read(folder), trust_pickle=False)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "form"),
    [(b"", "onnx"), (b"\x08", "onnx"), (b"\x08\x09" + b"\xff" * 50, "onnx"), (b"PK\x03\x04", "skops"), (b"", "skops")],
    ids=["empty", "one byte", "garbage", "empty zip", "empty skops"],
)
def test_a_damaged_model_is_refused(folder: Path, content: bytes, form: str, kit: Any) -> None:
    with pytest.raises(InvalidPackage, match=r"Cannot (load|use) model|Cannot use the model"):
        kit.open_plane(_replace_model(folder, content, form))


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("form", ["onnx", "skops"])
def test_a_truncated_model_is_refused(folder: Path, cancer_packages: dict[str, Path], form: str, share: float) -> None:
    whole = (cancer_packages[form] / f"model.{form}").read_bytes()
    _replace_model(folder, whole[: int(len(whole) * share)], form)
    with pytest.raises(InvalidPackage, match=f"Cannot load model.{form}"):
        formats.load(read(folder), trust_pickle=False)


def _weights_model(place: str) -> onnx.ModelProto:
    """A model whose weights are in the graph, in a node's attribute or in a subgraph."""
    weights = numpy_helper.from_array(np.ones((30, 2), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 30])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    multiply = helper.make_node("MatMul", ["x", "w"], ["y"])
    if place == "initializer":
        graph = helper.make_graph([multiply], "g", [x], [y], [weights])
    elif place == "attribute":
        graph = helper.make_graph([helper.make_node("Constant", [], ["w"], value=weights), multiply], "g", [x], [y])
    else:
        inner = helper.make_graph([helper.make_node("Constant", [], ["v"], value=weights)], "inner", [], [])
        branch = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph([branch, multiply], "g", [x], [y])
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def _every_tensor(graph: onnx.GraphProto) -> list[TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += _every_tensor(attribute.g) if attribute.HasField("g") else []
    return found


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph"])
def test_external_data_is_found_wherever_a_tensor_can_be(place: str) -> None:
    model = _weights_model(place)
    assert has_external_data(model.SerializeToString()) is False
    for tensor in _every_tensor(model.graph):
        onnx.external_data_helper.set_external_data(tensor, "weights.bin")
        tensor.ClearField("raw_data")
    assert has_external_data(model.SerializeToString()) is True


@pytest.mark.parametrize("place", ["sparse", "sparse attribute", "list attribute", "function", "training"])
def test_external_data_is_found_where_models_seldom_have_tensors(place: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    onnx.external_data_helper.set_external_data(_with_raw_data(tensor), "weights.bin")
    model = onnx.ModelProto()
    if place == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place == "sparse attribute":
        model.graph.node.add().attribute.add().sparse_tensor.indices.CopyFrom(tensor)
    elif place == "list attribute":
        model.graph.node.add().attribute.add().tensors.add().CopyFrom(tensor)
    elif place == "function":
        model.functions.add().node.add().attribute.add().t.CopyFrom(tensor)
    else:
        model.training_info.add().algorithm.initializer.add().CopyFrom(tensor)
    assert has_external_data(model.SerializeToString()) is True


def _with_raw_data(tensor: TensorProto) -> TensorProto:
    tensor.raw_data = b"\0" * 4
    return tensor


def test_the_word_location_alone_is_no_external_data() -> None:
    model = _weights_model("initializer")
    model.doc_string = "location"
    assert has_external_data(model.SerializeToString()) is False


def test_external_data_is_refused_even_where_the_runtime_would_read_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime resolves such paths in the working directory, also for a model from memory."""
    monkeypatch.chdir(tmp_path)
    onnx.save(_weights_model("initializer"), "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    _replace_model(folder, Path("m.onnx").read_bytes(), "onnx")
    with pytest.raises(InvalidPackage, match="external_data"):
        formats.load(read(folder), trust_pickle=False)


def test_classes_in_another_order_than_the_models_are_refused(tmp_path: Path, kit: Any, logistic: Any) -> None:
    """The scores would silently belong to the wrong classes."""
    schema = Schema("binary", kit.cancer_schema().features, (1, 0))
    outputs = kit.cancer_outputs(logistic)
    kit.write_package(tmp_path, kit.dump(logistic, "skops"), "skops", schema, kit.CANCER.data, [], outputs)
    with pytest.raises(InvalidPackage, match=r"its classes are 0, 1; seamark.json says 1, 0 in this order"):
        kit.open_plane(tmp_path)


def test_a_schema_with_other_features_than_the_models_is_refused_at_warm_up(
    tmp_path: Path, kit: Any, logistic: Any
) -> None:
    schema = Schema("binary", (Feature("a"), Feature("b")), (0, 1))
    outputs = kit.cancer_outputs(logistic)
    numbers = kit.CANCER.data[:, :2]
    kit.write_package(tmp_path, kit.dump(logistic, "skops"), "skops", schema, numbers, [], outputs)
    with pytest.raises(InvalidPackage, match=r"it fails on a typical row.*expecting 30 features"):
        kit.open_plane(tmp_path)


@pytest.mark.parametrize("estimator", [RandomForestClassifier(3), GaussianNB(), LinearSVC()], ids=str)
def test_trees_and_models_without_probabilities_load_and_agree(tmp_path: Path, kit: Any, estimator: Any) -> None:
    estimator.fit(kit.CANCER.data, kit.CANCER.target)
    outputs = np.column_stack([estimator.predict(kit.CANCER.data), np.zeros(len(kit.CANCER.data))]).astype(float)
    kit.write_package(
        tmp_path, kit.dump(estimator, "skops"), "skops", kit.cancer_schema(), kit.CANCER.data, [], outputs
    )
    plane = kit.open_plane(tmp_path)
    answer = plane.predict(plane.reader.from_lists(kit.CANCER.data[:100].tolist()))
    assert answer.output.prediction.tolist() == estimator.predict(kit.CANCER.data[:100]).tolist()
    assert (answer.output.probabilities is None) == isinstance(estimator, LinearSVC)
    assert np.isnan(answer.logged[:, 1]).all() == isinstance(estimator, LinearSVC)
