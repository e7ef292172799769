"""The models, fitted once and saved in every form that a server reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io as skops

from seamark.package import Feature, Manifest, ModelFile, Schema
from seamark.profile import build

__all__ = ["SavedModel", "save"]

#: Trees of the forests.
_TREES = {"forest": 100, "large": 1000}


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """folder: holds model.joblib, model.onnx, and the packages onnx and skops.

    numbers: rows x 30 to predict; classes: what scikit-learn answers for each; scores: rows x 2.
    """

    name: str
    folder: Path
    numbers: NDArray[np.float64]
    classes: list[int]
    scores: NDArray[np.float64]


def save(name: str, root: Path) -> SavedModel:
    """Fits the model of that name, logistic or a forest, and saves it under `root`."""
    data = load_breast_cancer()
    model: Any = (
        make_pipeline(StandardScaler(), LogisticRegression())
        if name == "logistic"
        else RandomForestClassifier(n_estimators=_TREES[name], random_state=0)
    )
    model.fit(data.data, data.target)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    onnx = to_onnx(model, data.data[:1].astype(np.float32), options={id(model): {"zipmap": False}})
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    schema = Schema("binary", tuple(Feature(str(feature)) for feature in data.feature_names), (0, 1))
    classes, scores = model.predict(data.data), model.predict_proba(data.data)
    outputs = np.column_stack([classes, scores[:, 1]]).astype(np.float64)
    _package(folder / "onnx", "onnx", onnx.SerializeToString(), schema, data.data, outputs)
    _package(folder / "skops", "skops", skops.dumps(model), schema, data.data, outputs)
    return SavedModel(name, folder, data.data, classes.tolist(), scores)


def _package(
    folder: Path, form: str, model: bytes, schema: Schema, numbers: NDArray[np.float64], outputs: NDArray[np.float64]
) -> None:
    folder.mkdir(exist_ok=True)
    profile = build(schema, numbers, [], outputs, None).to_json()
    file = f"model.{form}"
    manifest = Manifest(
        name="bench",
        version="1",
        model=ModelFile(file, form, hashlib.sha256(model).hexdigest()),
        schema=schema,
        profile_sha256=hashlib.sha256(profile).hexdigest(),
    )
    (folder / file).write_bytes(model)
    (folder / "profile.json").write_bytes(profile)
    (folder / "seamark.json").write_bytes(manifest.to_json())
