"""XGBoost's and LightGBM's own files answer as the libraries do, and damaged ones end no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, Feature, Schema
from seamark_predictor import extras, formats
from seamark_predictor.formats import trial
from seamark_predictor.opening import Opened, open_model
from seamark_predictor.rows import Rows

_RANDOM = np.random.default_rng(5)
_X = _RANDOM.normal(size=(300, 3))
_X[::7, 1] = np.nan
_TWO = (_X[:, 0] > 0).astype(int)
_THREE = np.digitize(_X[:, 0], [-0.5, 0.5])
_VALUES = _X[:, 0] * 3 + 10
_ROWS = Rows(_X, [])


def _open(path: Path) -> Opened:
    return open_model(path, name="m", trust_pickle=False, digest=None)


def _xgboost(objective: str, y: Any, **more: Any) -> Any:
    return xgboost.train({"objective": objective, "nthread": 1, **more}, xgboost.DMatrix(_X, y), 5)


def _save(booster: Any, path: Path) -> Path:
    booster.save_model(path)
    return path


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize(
    ("objective", "y", "more", "classes"),
    [
        ("binary:logistic", _TWO, {}, (0, 1)),
        ("binary:logitraw", _TWO, {}, (0, 1)),
        ("binary:hinge", _TWO, {}, (0, 1)),
        ("multi:softprob", _THREE, {"num_class": 3}, (0, 1, 2)),
        ("multi:softmax", _THREE, {"num_class": 3}, (0, 1, 2)),
        ("reg:squarederror", _VALUES, {}, ()),
        ("count:poisson", _VALUES.round(), {}, ()),
        ("binary:logistic", _TWO, {"booster": "dart"}, (0, 1)),
    ],
)
def test_xgboost_answers_as_it_does_itself(
    tmp_path: Path, suffix: str, objective: str, y: Any, more: dict[str, Any], classes: tuple[int, ...]
) -> None:
    booster = _xgboost(objective, y, **more)
    opened = _open(_save(booster, tmp_path / f"m.{suffix}"))
    assert opened.package is not None
    schema = opened.package.manifest.schema
    assert schema.classes == classes
    assert schema.features == tuple(Feature(f"x{i}", nullable=True) for i in range(3))
    output = opened.model.predict(_ROWS)  # type: ignore[union-attr]
    raw = booster.predict(xgboost.DMatrix(_X))
    if objective in ("binary:logistic", "multi:softprob"):
        assert np.allclose(
            output.probabilities.reshape(-1) if raw.ndim == 2 else output.probabilities[:, 1],
            raw.reshape(-1),
            rtol=1e-6,
        )
    if objective == "multi:softmax":
        assert output.probabilities.sum(axis=1) == pytest.approx(1)
    labels = {"binary:logistic": raw > 0.5, "binary:logitraw": raw > 0, "multi:softprob": raw.argmax(-1)}
    assert output.prediction.tolist() == pytest.approx(np.asarray(labels.get(objective, raw), dtype=float).tolist())


@pytest.mark.parametrize("wrapped", [True, False])
def test_early_stopping_counts_for_the_wrapper_only(tmp_path: Path, wrapped: bool) -> None:
    """XGBoost itself predicts with all trees, its scikit-learn wrapper up to the best one."""
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=3, n_jobs=1)
    model.fit(_X[:200], _TWO[:200], eval_set=[(_X[200:], 1 - _TWO[200:])], verbose=False)
    booster = model.get_booster()
    opened = _open(_save(model if wrapped else booster, tmp_path / "m.json"))
    wanted = model.predict_proba(_X)[:, 1] if wrapped else booster.predict(xgboost.DMatrix(_X))
    assert np.allclose(opened.model.predict(_ROWS).probabilities[:, 1], wanted, rtol=1e-6)  # type: ignore[union-attr]
    assert not np.allclose(model.predict_proba(_X)[:, 1], booster.predict(xgboost.DMatrix(_X)))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: _xgboost("reg:squarederror", _X[:, [0, 2]]), "predicts several values for each row"),
        (
            lambda: _xgboost("reg:squarederror", _VALUES, booster="gblinear"),
            "its booster is gblinear; allowed: gbtree, dart",
        ),
        (
            lambda: xgboost.train(
                {"nthread": 1},
                xgboost.DMatrix(_THREE.reshape(-1, 1), _VALUES, feature_types=["c"], enable_categorical=True),
                2,
            ),
            "feature 0 is categorical",
        ),
    ],
    ids=["several values", "linear", "categorical"],
)
def test_xgboost_models_that_cannot_be_served_are_named(tmp_path: Path, make: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InvalidPackage, match=problem):
        _open(_save(make(), tmp_path / "m.json"))


def _lightgbm(objective: str, y: Any, **more: Any) -> Any:
    parameters = {"objective": objective, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, **more}
    return lightgbm.train(parameters, lightgbm.Dataset(_X, y), 5)


@pytest.mark.parametrize(
    ("objective", "y", "more", "classes"),
    [
        ("binary", _TWO, {}, (0, 1)),
        ("multiclass", _THREE, {"num_class": 3}, (0, 1, 2)),
        ("multiclassova", _THREE, {"num_class": 3}, (0, 1, 2)),
        ("regression", _VALUES, {}, ()),
        ("quantile", _VALUES, {}, ()),
    ],
)
def test_lightgbm_answers_as_it_does_itself(
    tmp_path: Path, objective: str, y: Any, more: dict[str, Any], classes: tuple[int, ...]
) -> None:
    booster = _lightgbm(objective, y, **more)
    opened = _open(_save(booster, tmp_path / "m.txt"))
    assert opened.package is not None
    assert opened.package.manifest.schema.classes == classes
    assert all(feature.nullable for feature in opened.package.manifest.schema.features)
    output = opened.model.predict(_ROWS)  # type: ignore[union-attr]
    raw = booster.predict(_X)
    if not classes:
        assert np.array_equal(output.prediction, raw)
    else:
        assert np.array_equal(output.probabilities, raw if raw.ndim == 2 else np.column_stack([1 - raw, raw]))
        assert np.array_equal(output.prediction, output.probabilities.argmax(axis=1))


@pytest.mark.parametrize(
    ("text", "by", "problem"),
    [
        ("objective=regression", "objective=custom", "its objective is custom; allowed: binary, multiclass"),
        ("pandas_categorical:null", 'pandas_categorical:[["a"]]', "it has categorical columns of a DataFrame"),
        ("end of trees", "", "it is cut off"),
    ],
)
def test_lightgbm_models_that_cannot_be_served_are_named(tmp_path: Path, text: str, by: str, problem: str) -> None:
    content = _lightgbm("regression", _VALUES).model_to_string()
    assert text in content
    (tmp_path / "m.txt").write_text(content.replace(text, by))
    with pytest.raises(InvalidPackage, match=problem):
        _open(tmp_path / "m.txt")


def _xgboost_bytes() -> bytes:
    return bytes(_xgboost("reg:squarederror", _VALUES).save_raw("json"))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.json", lambda: b'{"a":' * 100_000 + b"}", r"it is damaged; xgboost ends with SIG"),
        ("m.json", lambda: b'{"learner":{}}', r"Cannot load m.json: \w+"),
        ("m.json", lambda: _xgboost_bytes()[:-500], "it is cut off; it does not end with"),
        (
            "m.json",
            lambda: _xgboost_bytes().replace(b'"left_children":[1,', b'"left_children":[99999999,'),
            "Cannot load",
        ),
        ("m.ubj", lambda: b"{L" + b"\xff" * 50 + b"}", r"Cannot load m.ubj: "),
        (
            "m.txt",
            lambda: (
                _lightgbm("regression", _VALUES)
                .model_to_string()
                .replace("split_feature=", "split_feature=777777 ")
                .encode()
            ),
            "it is damaged; lightgbm ends with SIG",
        ),
    ],
    ids=["deep", "empty", "cut off", "a child that is not there", "not UBJSON", "a feature that is not there"],
)
def test_a_damaged_file_is_refused_and_ends_no_process_but_its_own(
    tmp_path: Path, name: str, content: Callable[[], bytes], problem: str
) -> None:
    (tmp_path / name).write_bytes(content())
    with pytest.raises(InvalidPackage, match=problem):
        _open(tmp_path / name)


def test_a_file_that_takes_too_long_to_read_is_refused() -> None:
    library = xgboost.core._LIB._name
    assert (
        trial.death(_xgboost_bytes(), library, "xgboost", seconds=0.001) == "reading it takes more than 0.001 seconds"
    )
    assert trial.death(_xgboost_bytes(), library, "xgboost") is None


@pytest.mark.parametrize("form", ["xgboost", "lightgbm"])
def test_a_schema_that_does_not_fit_the_model_is_refused(form: str) -> None:
    content = _xgboost_bytes() if form == "xgboost" else _lightgbm("regression", _VALUES).model_to_string().encode()
    module = formats.module(form)
    native = module.read(content, "m", form)
    three = tuple(Feature(f"x{i}") for i in range(3))
    for schema in (
        Schema("regression", three[:2]),
        Schema("binary", three, (0, 1)),
        Schema("regression", (*three[:2], Feature("text", CATEGORY))),
    ):
        with pytest.raises(InvalidPackage, match="Cannot use m"):
            module.serve(native, schema, "m", form)


def test_a_library_that_is_not_there_is_named_with_its_extra() -> None:
    with pytest.raises(InvalidPackage) as caught:
        extras.need("no_such_library", "xgboost", "load m.ubj")
    assert (
        str(caught.value)
        == "Cannot load m.ubj: no_such_library is not installed; pip install 'seamark-predictor[xgboost]'"
    )
