"""Folders as MLflow itself writes them are served without MLflow."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Feature
from seamark_predictor.opening import Opened, open_model
from seamark_predictor.rows import Rows

_WRITE = """
import sys, warnings
warnings.simplefilter("ignore")
import lightgbm, numpy, pandas, xgboost
import mlflow.lightgbm, mlflow.onnx, mlflow.sklearn, mlflow.xgboost
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

root = sys.argv[1]
random = numpy.random.default_rng(0)
table = pandas.DataFrame({"old age": random.normal(size=60), "size": random.normal(size=60)})
y = (table["size"] > 0).to_numpy().astype(int)
words = numpy.where(y, "yes", "no")
mixed = table.assign(land=random.choice(["de", "fr"], 60))
numbers, texts = infer_signature(table), infer_signature(mixed)
more = {"pip_requirements": ["x"]}

flat = LogisticRegression().fit(table, words)
by_name = make_pipeline(
    ColumnTransformer([("c", OneHotEncoder(), ["land"])], remainder="passthrough"), LogisticRegression()
).fit(mixed, words)
mlflow.sklearn.save_model(flat, f"{root}/skops", signature=numbers, serialization_format="skops", **more)
mlflow.sklearn.save_model(by_name, f"{root}/by_name", signature=texts, serialization_format="skops", **more)
mlflow.sklearn.save_model(flat, f"{root}/cloudpickle", serialization_format="cloudpickle", **more)
tensors = LogisticRegression().fit(table.to_numpy(), words)
mlflow.sklearn.save_model(tensors, f"{root}/tensors", signature=infer_signature(table.to_numpy()), **more)
named = LogisticRegression().fit(table.to_numpy(), words)
mlflow.sklearn.save_model(named, f"{root}/named", signature=numbers, **more)

onnx = to_onnx(flat, table.to_numpy()[:1].astype(numpy.float32), options={"zipmap": False})
mlflow.onnx.save_model(onnx, f"{root}/onnx", signature=numbers, **more)
boosted = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(table, y)
mlflow.xgboost.save_model(boosted, f"{root}/xgboost", signature=numbers, **more)
mlflow.xgboost.save_model(boosted.get_booster(), f"{root}/booster", model_format="json", **more)
leaves = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=3, n_jobs=1, verbose=-1).fit(table, words)
mlflow.lightgbm.save_model(leaves, f"{root}/lightgbm", signature=numbers, **more)
mlflow.lightgbm.save_model(leaves.booster_, f"{root}/trees", signature=numbers, **more)

class Custom(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input

mlflow.pyfunc.save_model(f"{root}/python", python_model=Custom(), **more)
numpy.savez(
    f"{root}/wanted.npz", x=table.to_numpy(), land=mixed["land"].to_numpy(str), flat=flat.predict_proba(table),
    by_name=by_name.predict_proba(mixed), xgboost=boosted.predict_proba(table), lightgbm=leaves.predict_proba(table),
)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written in a process of its own: MLflow warns of much, and stays in memory."""
    root = tmp_path_factory.mktemp("mlflow")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [sys.executable, "-c", _WRITE, str(root)],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root


@pytest.fixture
def wanted(folders: Path) -> Any:
    with np.load(folders / "wanted.npz") as found:
        return dict(found)


def _open(path: Path, *, trust_pickle: bool = False, digest: str | None = None) -> Opened:
    return open_model(path, name="m", trust_pickle=trust_pickle, digest=digest)


def _scores(opened: Opened, x: Any, *texts: list[str | None]) -> Any:
    return opened.model.predict(Rows(x, list(texts))).probabilities  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "answer", "platform", "features", "classes"),
    [
        ("skops", "flat", "sklearn_skops", ("old age", "size"), ("no", "yes")),
        ("cloudpickle", "flat", "sklearn_joblib", ("old age", "size"), ("no", "yes")),
        ("tensors", "flat", "sklearn_skops", ("x0", "x1"), ("no", "yes")),
        ("named", "flat", "sklearn_skops", ("old age", "size"), ("no", "yes")),
        ("xgboost", "xgboost", "xgboost_xgboost", ("old age", "size"), (0, 1)),
        ("booster", "xgboost", "xgboost_xgboost", ("old age", "size"), (0, 1)),
        ("lightgbm", "lightgbm", "lightgbm_skops", ("old age", "size"), ("no", "yes")),
        ("trees", "lightgbm", "lightgbm_lightgbm", ("old age", "size"), (0, 1)),
    ],
)
def test_a_folder_answers_as_the_model_did(
    folders: Path, wanted: Any, name: str, answer: str, platform: str, features: tuple[str, ...], classes: Any
) -> None:
    opened = _open(folders / name, trust_pickle=True)
    assert opened.package is not None
    schema = opened.package.manifest.schema
    assert opened.model.platform == platform
    assert tuple(feature.name for feature in schema.features) == features
    assert schema.classes == classes
    assert np.allclose(_scores(opened, wanted["x"]), wanted[answer], rtol=1e-6, atol=1e-7)


def test_texts_of_the_signature_are_categories(folders: Path, wanted: Any) -> None:
    opened = _open(folders / "by_name")
    assert opened.package is not None
    assert opened.package.manifest.schema.features == (
        Feature("old age", NUMBER),
        Feature("size", NUMBER),
        Feature("land", CATEGORY),
    )
    assert np.array_equal(_scores(opened, wanted["x"], wanted["land"].tolist()), wanted["by_name"])


def test_an_onnx_model_keeps_its_own_inputs(folders: Path, wanted: Any) -> None:
    opened = _open(folders / "onnx")
    assert opened.package is None
    assert [spec.name for spec in opened.model.inputs] == ["X"]  # type: ignore[union-attr]
    found = opened.model.infer({"X": wanted["x"].astype(np.float32)}, ["probabilities"])  # type: ignore[union-attr]
    assert np.allclose(found["probabilities"], wanted["flat"], atol=1e-5)


def test_serving_a_folder_imports_no_mlflow(folders: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from seamark_predictor.opening import open_model; "
        f"open_model(Path({str(folders / 'skops')!r}), name='m', trust_pickle=False, digest=None); "
        "print([m for m in ('mlflow', 'xgboost', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pickle_needs_trust(folders: Path) -> None:
    with pytest.raises(
        InvalidPackage, match=r"Cannot load model.pkl: joblib files are pickles, which can run any code"
    ):
        _open(folders / "cloudpickle")


def test_a_python_function_is_refused_with_what_is_served(folders: Path) -> None:
    with pytest.raises(
        InvalidPackage, match="its flavours are python_function; served: sklearn, onnx, xgboost, lightgbm"
    ):
        _open(folders / "python", trust_pickle=True)


def test_the_digest_is_that_of_sorted_names_and_file_digests(folders: Path) -> None:
    folder = folders / "skops"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = "".join(
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}\n" for f in files
    )
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert _open(folder, digest=digest).digest == digest
    with pytest.raises(InvalidPackage, match=f"its digest is {digest}, --digest says 000"):
        _open(folder, digest="0" * 64)


@pytest.fixture
def folder(folders: Path, tmp_path: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(folders / "skops", tmp_path / "model"))


def _edit(folder: Path, **changes: Any) -> None:
    document = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump({**document, **changes}))


def _signature(*columns: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": json.dumps(columns)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"flavors": None}, "it has no flavors"),
        ({"flavors": {}}, "its flavours are none"),
        ({"flavors": {"sklearn": {}}}, "its flavour has no pickled_model"),
        ({"flavors": {"sklearn": {"pickled_model": "../x", "serialization_format": "skops"}}}, "there is no such file"),
        ({"flavors": {"sklearn": {"pickled_model": "/etc/passwd"}}}, "there is no such file"),
        ({"signature": {"inputs": "["}}, "its signature cannot be read"),
        ({"signature": {"inputs": "[1]"}}, "its signature cannot be read"),
        ({"signature": _signature({"type": "datetime", "name": "t"})}, "column 't' is datetime; allowed: boolean"),
        ({"signature": _signature(*[{"type": "double", "name": "a"}] * 2)}, "names a column twice"),
        (
            {"signature": _signature({"type": "double", "name": "size"})},
            "it takes feature 'old age', which its signature",
        ),
    ],
)
def test_a_mistake_in_mlmodel_is_named(folder: Path, changes: dict[str, Any], problem: str) -> None:
    _edit(folder, **changes)
    with pytest.raises(InvalidPackage, match=problem):
        _open(folder, trust_pickle=True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [", "it is not YAML"),
        (b"- 1", "it is not a mapping"),
        (b"\xff\xfe\x00", "it is not YAML"),
        (b"!!python/object/apply:os.system [touch canary]", "it is not YAML"),
        (b"[" * 10_000, "it is not YAML"),
        (b" " * (1024 * 1024 + 1), "bytes are more than"),
    ],
    ids=["cut off", "a list", "not UTF-8", "code", "deep", "long"],
)
def test_an_mlmodel_that_cannot_be_read_is_refused(folder: Path, content: bytes, problem: str) -> None:
    (folder / "MLmodel").write_bytes(content)
    with pytest.raises(InvalidPackage, match=problem):
        _open(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidPackage, match="it is a link out of the folder"):
        _open(folder)


def test_a_link_within_the_folder_is_read(folder: Path) -> None:
    """Kubernetes mounts volumes of ConfigMaps so."""
    (folder / "data").mkdir()
    (folder / "model.skops").rename(folder / "data" / "model.skops")
    (folder / "model.skops").symlink_to("data/model.skops")
    assert _open(folder).model.platform == "sklearn_skops"
