"""scikit-learn models answer as scikit-learn does, whatever way they get their columns, and faster where they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Feature, Schema
from seamark_predictor.formats import sklearn as served
from seamark_predictor.formats.sklearn_fast import shortcut
from seamark_predictor.model import Output
from seamark_predictor.opening import Opened, open_model
from seamark_predictor.rows import Rows

_RANDOM = np.random.default_rng(3)
_X = _RANDOM.normal(size=(200, 4))
_TWO = np.where(_X[:, 0] > 0, "yes", "no")
_THREE = _RANDOM.choice(["a", "b", "c"], 200)
_VALUES = _X @ [1.0, -2.0, 0.5, 0.0]

_CLASSIFIERS = {
    "logistic, two classes": (LogisticRegression(), _TWO),
    "logistic, three classes": (LogisticRegression(), _THREE),
    "scaled": (make_pipeline(StandardScaler(), LogisticRegression()), _TWO),
    "centred only": (make_pipeline(StandardScaler(with_std=False), LogisticRegression()), _TWO),
    "imputed and scaled": (make_pipeline(SimpleImputer(), MinMaxScaler(), LogisticRegression()), _THREE),
    "nothing, then scaled": (make_pipeline("passthrough", MaxAbsScaler(), LogisticRegression()), _TWO),
    "a tree": (DecisionTreeClassifier(random_state=0), _THREE),
    "a forest": (RandomForestClassifier(20, random_state=0), _TWO),
    "an extra forest": (make_pipeline(StandardScaler(), ExtraTreesClassifier(9, random_state=0)), _THREE),
}
_REGRESSORS = {
    "linear": LinearRegression(),
    "ridge, scaled": make_pipeline(StandardScaler(), Ridge()),
    "lasso": Lasso(0.01),
    "a tree": DecisionTreeRegressor(random_state=0),
    "a forest": RandomForestRegressor(20, random_state=0),
    "an extra forest": ExtraTreesRegressor(9, random_state=0),
}


def _schema(estimator: Any) -> Schema:
    classes = tuple(getattr(estimator, "classes_", np.array([])).tolist())
    task = "regression" if not classes else "binary" if len(classes) == 2 else "multiclass"
    return Schema(task, tuple(Feature(f"x{i}") for i in range(4)), classes)


def _serve(estimator: Any) -> served.SklearnModel:
    return served.serve(estimator, _schema(estimator), "m.skops", "skops")


_rows = st.lists(
    st.lists(st.floats(-3e38, 3e38) | st.floats(-3, 3), min_size=4, max_size=4), min_size=1, max_size=5
).map(np.array)


@pytest.mark.parametrize("name", _CLASSIFIERS)
def test_shortcuts_of_classifiers_answer_to_the_last_bit_as_scikit_learn(name: str) -> None:
    estimator, y = _CLASSIFIERS[name]
    estimator.fit(_X, y)
    model, short = _serve(estimator), shortcut(estimator, 4)
    assert short is not None
    assert model._shortcut is not None

    @settings(max_examples=25, deadline=None)
    @given(_rows)
    def answers_agree(x: Any) -> None:
        with np.errstate(all="ignore"):
            wanted, output = estimator.predict_proba(x), model.predict(Rows(x, []))
            classes = estimator.predict(x)
        assert np.array_equal(output.probabilities, wanted, equal_nan=True)
        assert np.array_equal(estimator.classes_[output.prediction.astype(int)], classes)

    answers_agree()


@pytest.mark.parametrize("name", _REGRESSORS)
def test_shortcuts_of_regressors_answer_to_the_last_bit_as_scikit_learn(name: str) -> None:
    estimator = _REGRESSORS[name].fit(_X, _VALUES)
    model = _serve(estimator)
    assert model._shortcut is not None

    @settings(max_examples=25, deadline=None)
    @given(_rows)
    def answers_agree(x: Any) -> None:
        with np.errstate(all="ignore"):
            assert np.array_equal(model.predict(Rows(x, [])).prediction, estimator.predict(x))

    answers_agree()


class _Doubled(LogisticRegression):
    """What a subclass does nobody knows."""

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        return super().predict_proba(2 * X)


@pytest.mark.parametrize(
    "estimator",
    [_Doubled(), SVC(), HistGradientBoostingClassifier(max_iter=2), make_pipeline(FunctionTransformer(), SVC())],
    ids=["subclass", "SVC", "histogram", "function"],
)
def test_other_models_take_no_shortcut(estimator: Any) -> None:
    estimator.fit(_X, _TWO)
    assert shortcut(estimator, 4) is None
    assert np.array_equal(_labels(_serve(estimator).predict(Rows(_X, [])), estimator), estimator.predict(_X))


def _labels(output: Output, estimator: Any) -> Any:
    return estimator.classes_[output.prediction.astype(int)]


def test_a_shortcut_that_would_answer_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = LogisticRegression().fit(_X, _TWO)
    own = estimator.predict_proba
    monkeypatch.setattr(estimator, "predict_proba", lambda x: own(x) + 1e-16)
    assert shortcut(estimator, 4) is None


def test_missing_values_go_the_long_way() -> None:
    """Only scikit-learn itself knows what to do with them."""
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(_X, _TWO)
    x = _X[:3].copy()
    x[1, 2] = np.nan
    model = _serve(estimator)
    assert model._shortcut is not None
    assert np.array_equal(model.predict(Rows(x, [])).probabilities, estimator.predict_proba(x))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "age": _RANDOM.normal(40, 10, 200),
            "land": _RANDOM.choice(["de", "fr", "it"], 200),
            "size": _RANDOM.normal(size=200),
            "note": _RANDOM.choice(["a good thing", "a bad thing", "neither"], 200),
        }
    )
    table.loc[3, "age"] = np.nan
    table.loc[4, "land"] = np.nan
    return table


def _by_name() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
            ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["land"]),
            ("words", TfidfVectorizer(), "note"),
        ]
    )


def _as_rows(table: pd.DataFrame, schema: Schema) -> Rows:
    texts = [[None if value != value else value for value in table[name]] for name in schema.categories]
    return Rows(np.ascontiguousarray(table[list(schema.numbers)].to_numpy(np.float64)), texts)


def _opened(tmp_path: Path, estimator: Any, kit: Any, form: str = "skops") -> Opened:
    file = tmp_path / f"model.{form}"
    file.write_bytes(kit.dump(estimator, form))
    return open_model(file, name="m", trust_pickle=form == "joblib", digest=None)


@pytest.mark.parametrize("form", ["skops", "joblib"])
def test_columns_picked_by_name_get_a_data_frame(tmp_path: Path, frame: pd.DataFrame, kit: Any, form: str) -> None:
    y = np.where(frame["age"].fillna(40) > 40, "old", "young")
    estimator = make_pipeline(_by_name(), LogisticRegression()).fit(frame, y)
    opened = _opened(tmp_path, estimator, kit, form)
    assert opened.package is not None
    schema = opened.package.manifest.schema
    assert schema.features == (
        Feature("age", NUMBER, nullable=True),
        Feature("land", CATEGORY, nullable=True),
        Feature("size", NUMBER, nullable=True),
        Feature("note", CATEGORY, nullable=False),
    )
    output = opened.model.predict(_as_rows(frame, schema))  # type: ignore[union-attr]
    assert np.array_equal(output.probabilities, estimator.predict_proba(frame))


def test_known_categories_make_a_typical_row(tmp_path: Path, kit: Any, frame: pd.DataFrame) -> None:
    """An encoder that refuses unknown categories would refuse an empty text."""
    table = frame[["land"]].dropna()
    estimator = make_pipeline(ColumnTransformer([("texts", OneHotEncoder(), ["land"])]), LogisticRegression()).fit(
        table, np.arange(len(table)) % 2
    )
    opened = _opened(tmp_path, estimator, kit)
    assert opened.package is not None
    assert opened.package.profile.features[0].values == ("de", "fr", "it")
    output = opened.model.predict(Rows(np.empty((1, 0)), [["fr"]]))  # type: ignore[union-attr]
    assert np.array_equal(output.probabilities, estimator.predict_proba(pd.DataFrame({"land": ["fr"]})))


@pytest.mark.parametrize(
    "columns", [[1], slice(1, 2), [False, True, False]], ids=["places", "a slice of places", "a mask"]
)
def test_columns_picked_by_place_need_no_data_frame(tmp_path: Path, kit: Any, columns: Any) -> None:
    x = np.empty((90, 3), dtype=object)
    x[:, 0], x[:, 1], x[:, 2] = range(90), ["de", "fr", "it"] * 30, 1.5
    estimator = make_pipeline(
        ColumnTransformer([("texts", OneHotEncoder(), columns)], remainder="passthrough"),
        RandomForestClassifier(3, random_state=0),
    ).fit(x, [0, 1] * 45)
    opened = _opened(tmp_path, estimator, kit)
    assert opened.package is not None
    assert [(f.name, f.type) for f in opened.package.manifest.schema.features] == [
        ("x0", NUMBER),
        ("x1", CATEGORY),
        ("x2", NUMBER),
    ]
    rows = Rows(np.array([[4.0, 1.5], [5.0, 1.5]]), [["de", "it"]])
    wanted = estimator.predict_proba(np.array([[4.0, "de", 1.5], [5.0, "it", 1.5]], dtype=object))
    assert np.array_equal(opened.model.predict(rows).probabilities, wanted)  # type: ignore[union-attr]


def test_a_slice_of_names_takes_its_last_one_too(tmp_path: Path, kit: Any, frame: pd.DataFrame) -> None:
    table = frame[["size", "land", "note"]].dropna()
    estimator = make_pipeline(
        ColumnTransformer([("texts", OneHotEncoder(), slice("land", "note"))]), LogisticRegression()
    ).fit(table, np.arange(len(table)) % 2)
    opened = _opened(tmp_path, estimator, kit)
    assert opened.package is not None
    assert opened.package.manifest.schema.categories == ("land", "note")


@pytest.mark.parametrize(
    "first", [TfidfVectorizer(), FeatureUnion([("a", TfidfVectorizer()), ("b", TfidfVectorizer(ngram_range=(2, 2)))])]
)
def test_a_model_of_documents_takes_one_text(tmp_path: Path, kit: Any, frame: pd.DataFrame, first: Any) -> None:
    estimator = make_pipeline(first, LogisticRegression()).fit(frame["note"], frame["size"] > 0)
    opened = _opened(tmp_path, estimator, kit)
    assert opened.package is not None
    assert opened.package.manifest.schema.features == (Feature("text", CATEGORY),)
    assert opened.package.manifest.schema.classes == (False, True)
    texts: list[str | None] = ["a good thing", "nothing known"]
    output = opened.model.predict(Rows(np.empty((2, 0)), [texts]))  # type: ignore[union-attr]
    assert np.array_equal(output.probabilities, estimator.predict_proba(texts))


@pytest.mark.parametrize(
    ("estimator", "y", "problem"),
    [
        (KMeans(2, n_init=1), None, "it is a KMeans; a classifier or a regressor is needed"),
        (IsolationForest(n_estimators=2), None, "it is a IsolationForest; a classifier or a regressor is needed"),
        (
            MultiOutputClassifier(LogisticRegression()),
            np.column_stack([_X[:, 0] > 0, _X[:, 1] > 0]),
            "predicts 2 labels",
        ),
        (RandomForestClassifier(2), np.column_stack([_X[:, 0] > 0, _X[:, 1] > 0]), "predicts 2 labels for each row"),
        (LinearRegression(), _X[:, :3], "it predicts 3 values for each row; allowed: one"),
    ],
    ids=["clusters", "outliers", "several labels", "a forest of several labels", "several values"],
)
def test_what_is_not_one_prediction_for_each_row_is_refused(
    tmp_path: Path, kit: Any, estimator: Any, y: Any, problem: str
) -> None:
    estimator.fit(_X, y)
    with pytest.raises(InvalidPackage, match=problem):
        _opened(tmp_path, estimator, kit)


class _Logarithm(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Refuses 0."""

    def fit(self, X: Any, y: Any = None) -> _Logarithm:  # noqa: N803  # scikit-learn's name
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803  # the same
        if (X <= 0).any():
            raise ValueError("no logarithm")
        return np.log(X)


def test_a_model_that_refuses_zeros_is_tried_with_other_numbers(kit: Any) -> None:
    from seamark_predictor import bare

    estimator = make_pipeline(_Logarithm(), LinearRegression()).fit(np.abs(_X), _VALUES)
    found = bare.BareModel(b"", "m.joblib", "joblib", "0" * 64)
    package, _ = bare.around(estimator, served, found, name="m", digest="0" * 64)
    assert {column.low for column in package.profile.features} == {1.0}
