"""A path becomes a loaded model: what it is is found out, and its digest is checked before anything is loaded."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from seamark.errors import InvalidPackage
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.opening import Opened, open_model
from seamark_predictor.rows import Rows


def _open(path: Path, *, trust_pickle: bool = False, digest: str | None = None) -> Opened:
    return open_model(path, name="cancer", trust_pickle=trust_pickle, digest=digest)


@pytest.fixture
def skops_file(cancer_packages: dict[str, Path], tmp_path: Path) -> Path:
    return _copy(cancer_packages["skops"] / "model.skops", tmp_path / "model.skops")


def _copy(source: Path, to: Path) -> Path:
    to.write_bytes(source.read_bytes())
    return to


def test_a_package_opens_with_its_own_digest_and_without_the_files_bytes(cancer_packages: dict[str, Path]) -> None:
    folder = cancer_packages["skops"]
    opened = _open(folder)
    assert opened.digest == hashlib.sha256((folder / "seamark.json").read_bytes()).hexdigest()
    assert opened.package is not None
    assert opened.package.model == b""
    assert opened.model.platform == "sklearn_skops"


def test_a_bare_file_serves_like_its_package(skops_file: Path, cancer_packages: dict[str, Path], kit: Any) -> None:
    opened, whole = _open(skops_file), _open(cancer_packages["skops"])
    assert opened.digest == hashlib.sha256(skops_file.read_bytes()).hexdigest()
    assert opened.package is not None
    assert opened.package.manifest.name == "cancer"
    assert opened.package.rules == ()
    plane = Dataplane(opened.package, opened.model, name="cancer", revision="r", reject=True)  # type: ignore[arg-type]
    plane.warm_up()
    rows = Rows(kit.CANCER.data, [])
    assert np.array_equal(plane.predict(rows).logged, _predict(whole, rows))


def _predict(opened: Opened, rows: Rows) -> Any:
    output = opened.model.predict(rows)  # type: ignore[union-attr]
    assert output.probabilities is not None
    return np.column_stack([output.prediction, output.probabilities[:, 1]])


def test_a_folder_with_one_model_file_is_that_file(skops_file: Path) -> None:
    """As storage initializers leave a model."""
    (skops_file.parent / "requirements.txt").write_text("numpy")
    (skops_file.parent / "config.json").write_text("{}")
    assert _open(skops_file.parent).digest == _open(skops_file).digest


def test_a_folder_with_two_models_or_none_is_refused(skops_file: Path, tmp_path: Path) -> None:
    _copy(skops_file, tmp_path / "other.skops")
    with pytest.raises(InvalidPackage, match=r"it holds 2 model files; allowed: a package folder \(seamark.json\)"):
        _open(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidPackage, match="it holds no model; allowed"):
        _open(tmp_path / "empty")


def test_a_file_of_another_kind_or_none_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(InvalidPackage, match=r"its name ends with '.h5'; allowed: .*\.onnx, \.skops"):
        _open(tmp_path / "model.h5")
    with pytest.raises(InvalidPackage, match="it does not exist"):
        _open(tmp_path / "nothing")


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(InvalidPackage, match="it is not a regular file"):
        _open(tmp_path / "model.onnx")


@pytest.mark.parametrize("form", ["skops", "onnx", "joblib"])
def test_another_digest_is_refused_before_anything_is_loaded(
    cancer_packages: dict[str, Path], tmp_path: Path, form: str
) -> None:
    file = _copy(cancer_packages[form] / f"model.{form}", tmp_path / f"model.{form}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert _open(file, trust_pickle=True, digest=digest.upper()).digest == digest
    with pytest.raises(InvalidPackage, match=f"its digest is {digest}, --digest says {'0' * 64}"):
        _open(file, trust_pickle=True, digest="0" * 64)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name", ["m.pkl", "m.pickle", "m.joblib", "m.onnx", "m.skops", "m.json", "m.ubj", "m.txt", "m.lgb"]
)
def test_a_pickle_never_runs_unless_it_is_trusted(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle.dumps(_Touch(canary)))
    with pytest.raises(InvalidPackage, match=rf"Cannot load {name}: (joblib files are pickles|it is not a)"):
        _open(tmp_path / name)
    assert not canary.exists()


def test_a_trusted_pickle_is_loaded_with_a_warning(
    cancer_packages: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _copy(cancer_packages["joblib"] / "model.joblib", tmp_path / "model.pkl")
    assert _open(file, trust_pickle=True).model.platform == "sklearn_joblib"


def test_a_pickle_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InvalidPackage, match=r"Cannot use m\.pkl"):
        _open(tmp_path / "m.pkl", trust_pickle=True)


def test_features_without_names_are_numbered(tmp_path: Path, kit: Any) -> None:
    model = LinearRegression().fit(kit.CANCER.data[:, :3], kit.CANCER.target)
    (tmp_path / "m.skops").write_bytes(kit.dump(model, "skops"))
    opened = _open(tmp_path / "m.skops")
    assert opened.package is not None
    schema = opened.package.manifest.schema
    assert [feature.name for feature in schema.features] == ["x0", "x1", "x2"]
    assert (schema.task, schema.classes) == ("regression", ())
    assert not any(feature.nullable for feature in schema.features)


def test_the_message_never_shows_more_of_a_name_than_is_readable(tmp_path: Path) -> None:
    (tmp_path / f"m.{'x' * 100}").write_bytes(b"")
    with pytest.raises(InvalidPackage, match=re.escape("ends with '.xxxxxxxxxxxxxxxxxxx'")):
        _open(tmp_path / f"m.{'x' * 100}")
