"""Models of every kind with the rows they are explained for, and Shapley values by their definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from seamark.package import CATEGORY, NUMBER, Feature, Schema
from seamark.profile import build
from seamark_predictor.explain import Explainer, Limits
from seamark_predictor.formats.sklearn import SklearnModel
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

FEATURES = (
    Feature("age"),
    Feature("land", CATEGORY),
    Feature("size"),
    Feature("colour", CATEGORY),
    Feature("visits"),
)
COUNT = 300


class Opened(SklearnModel):
    """Shows its structure, as `explain_columns.Structured` wants it."""

    def __init__(self, estimator: Any, schema: Schema) -> None:
        super().__init__(estimator, schema, "skops")
        self._own = schema

    def matrix(self, rows: Rows) -> Any:
        return matrix_of(rows, self._own)


def matrix_of(rows: Rows, schema: Schema) -> Any:
    """rows x features in schema order."""
    if not schema.categories:
        return rows.numbers
    numbers, texts = iter(rows.numbers.T), iter(rows.categories)
    columns = [next(numbers) if feature.type == NUMBER else next(texts) for feature in schema.features]
    return np.array([list(row) for row in zip(*columns, strict=True)], dtype=object)


@dataclass(frozen=True)
class Case:
    """A fitted model, its explainer, and the data it learned from."""

    model: Any
    schema: Schema
    explainer: Explainer
    rows: Rows

    def some(self, places: Sequence[int]) -> Rows:
        return Rows(self.rows.numbers[list(places)], [[texts[i] for i in places] for texts in self.rows.categories])


def package(schema: Schema, rows: Rows) -> Any:
    """What `Explainer` reads of a package."""
    outputs = np.zeros((rows.count, len(schema.outputs)))
    profile = build(schema, rows.numbers, rows.categories, outputs, None)
    return SimpleNamespace(manifest=SimpleNamespace(schema=schema), profile=profile)


def data(mixed: bool) -> Rows:
    random = np.random.default_rng(3)
    numbers = np.column_stack(
        [random.normal(40, 10, COUNT), random.lognormal(0, 0.5, COUNT), random.poisson(2.0, COUNT).astype(float)]
    )
    if not mixed:
        return Rows(np.column_stack([numbers, random.normal(size=(COUNT, 2))]), [])
    return Rows(
        numbers,
        [random.choice(["br", "de", "日本"], COUNT).tolist(), random.choice(["red", "blue"], COUNT).tolist()],
    )


def encoder(encode: Any) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    return ColumnTransformer([("texts", encode, [1, 3]), ("numbers", numbers, [0, 2])], remainder="passthrough")


def quiet(kind: Any, **settings: Any) -> Any:
    return kind(n_estimators=15, max_depth=4, n_jobs=1, random_state=0, **settings)


def scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


#: name: (estimator, how many classes, with texts, method, unit)
KINDS: dict[str, tuple[Callable[[], Any], int, bool, str, str]] = {
    "logistic": (lambda: scaled(LogisticRegression()), 2, False, "linear", "log-odds"),
    "logistic of three": (lambda: scaled(LogisticRegression()), 3, False, "linear", "softmax input"),
    "discriminant": (LinearDiscriminantAnalysis, 2, False, "linear", "log-odds"),
    "linear regression": (LinearRegression, 0, False, "linear", "value"),
    "ridge of texts": (
        lambda: make_pipeline(encoder(OneHotEncoder(drop="first")), Ridge()),
        0,
        True,
        "linear",
        "value",
    ),
    "searched": (
        lambda: GridSearchCV(scaled(Ridge()), {"ridge__alpha": [1.0, 2.0]}, cv=2),
        0,
        False,
        "linear",
        "value",
    ),
    "poisson": (lambda: scaled(PoissonRegressor()), 0, False, "linear", "logarithm of the value"),
    "margin": (lambda: scaled(LinearSVC()), 2, False, "linear", "margin"),
    "margins": (lambda: scaled(RidgeClassifier()), 3, False, "linear", "margin"),
    "texts": (lambda: make_pipeline(encoder(OneHotEncoder()), LogisticRegression()), 2, True, "linear", "log-odds"),
    "tree": (lambda: DecisionTreeClassifier(max_depth=4, random_state=0), 3, False, "tree", "probability"),
    "forest": (lambda: quiet(RandomForestClassifier), 2, False, "tree", "probability"),
    "extra trees": (lambda: quiet(ExtraTreesClassifier), 3, False, "tree", "probability"),
    "forest of values": (lambda: quiet(RandomForestRegressor), 0, False, "tree", "value"),
    "forest of texts": (
        lambda: make_pipeline(encoder(OneHotEncoder()), quiet(RandomForestClassifier)),
        2,
        True,
        "tree",
        "probability",
    ),
    "boosting": (lambda: GradientBoostingClassifier(n_estimators=10), 2, False, "tree", "log-odds"),
    "boosting of three": (lambda: GradientBoostingClassifier(n_estimators=3), 3, False, "permutation", "probability"),
    "histogram": (lambda: HistGradientBoostingClassifier(max_iter=4), 2, False, "tree", "log-odds"),
    "histogram of texts": (
        lambda: make_pipeline(encoder(OrdinalEncoder()), HistGradientBoostingClassifier(max_iter=4)),
        3,
        True,
        "tree",
        "softmax input",
    ),
    "histogram of counts": (
        lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=4),
        0,
        False,
        "tree",
        "logarithm of the value",
    ),
    "xgboost": (lambda: quiet(xgboost.XGBClassifier), 2, False, "tree", "log-odds"),
    "xgboost of three": (lambda: quiet(xgboost.XGBClassifier), 3, False, "tree", "softmax input"),
    "xgboost of values": (lambda: quiet(xgboost.XGBRegressor), 0, False, "tree", "value"),
    "lightgbm": (lambda: quiet(lightgbm.LGBMClassifier, verbose=-1), 2, False, "tree", "log-odds"),
    "lightgbm of three": (lambda: quiet(lightgbm.LGBMClassifier, verbose=-1), 3, False, "tree", "softmax input"),
    "lightgbm of values": (lambda: quiet(lightgbm.LGBMRegressor, verbose=-1), 0, False, "tree", "value"),
    "neighbours": (lambda: KNeighborsRegressor(3), 0, False, "permutation", "value"),
    "support vectors": (lambda: scaled(SVC()), 2, False, "permutation", "decision"),
}


def schema_of(classes: int, mixed: bool, nullable: bool = False) -> Schema:
    task = {0: "regression", 2: "binary"}.get(classes, "multiclass")
    kinds = FEATURES if mixed else tuple(Feature(f.name, NUMBER, nullable) for f in FEATURES)
    return Schema(task, kinds, tuple(f"class {i}" for i in range(classes)))


def answers_of(rows: Rows, classes: int) -> Any:
    """Values, positive for what wants them, with an interaction; or classes of about equal size."""
    x = rows.numbers
    values = 1 + x[:, 0] / 10 + x[:, 1] * x[:, 2]
    if not classes:
        return values
    places = np.searchsorted(np.quantile(values, np.arange(1, classes) / classes), values)
    return np.array([f"class {i}" for i in places])


def fitted(name: str, limits: Limits | None = None) -> Case:
    make, classes, mixed, _, _ = KINDS[name]
    schema, rows = schema_of(classes, mixed), data(mixed)
    estimator, answers = make(), answers_of(rows, classes)
    if "xgboost" in name and classes:
        # It wants numbers for classes.
        schema, answers = Schema(schema.task, schema.features, tuple(range(classes))), np.unique_inverse(answers)[1]
    model = Opened(estimator.fit(matrix_of(rows, schema), answers), schema)
    return Case(model, schema, Explainer(package(schema, rows), model, limits), rows)


class Formula:
    """A model given by a function of rows x features to values, or to rows x classes."""

    platform = "formula"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def predict(self, rows: Rows) -> Output:
        found = np.asarray(self.function(rows.numbers), dtype=float)
        return Output(found) if found.ndim == 1 else Output(np.argmax(found, axis=1).astype(float), found)


def of_formula(function: Callable[[Any], Any], numbers: Any, limits: Limits | None = None, classes: int = 0) -> Case:
    task = {0: "regression", 2: "binary"}.get(classes, "multiclass")
    schema = Schema(task, tuple(Feature(f"x{i}") for i in range(numbers.shape[1])), tuple(range(classes)))
    rows, model = Rows(numbers, []), Formula(function)
    return Case(model, schema, Explainer(package(schema, rows), model, limits), rows)


def mixture(own: Rows, background: Rows, schema: Schema, switched: Sequence[int]) -> Rows:
    """The background with the switched features of the one row `own`."""
    names = {schema.features[i].name for i in switched}
    numbers = background.numbers.copy()
    for i, name in enumerate(schema.numbers):
        if name in names:
            numbers[:, i] = own.numbers[0, i]
    pairs = zip(schema.categories, own.categories, background.categories, strict=True)
    return Rows(numbers, [mine * background.count if name in names else other for name, mine, other in pairs])


def shapley(ask: Callable[[Rows], Any], own: Rows, background: Rows, schema: Schema) -> Any:
    """The Shapley values of one row by their definition, over all sets of features, relative to the background."""
    count = len(schema.features)
    worth = {
        chosen: float(np.mean(ask(mixture(own, background, schema, chosen))))
        for size in range(count + 1)
        for chosen in combinations(range(count), size)
    }
    values = np.zeros(count)
    for chosen, value in worth.items():
        for i in set(range(count)) - set(chosen):
            gain = worth[tuple(sorted((*chosen, i)))] - value
            values[i] += gain / (count * comb(count - 1, len(chosen)))
    return values


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """Helpers; test modules cannot import this file."""
    return SimpleNamespace(
        COUNT=COUNT,
        KINDS=KINDS,
        Formula=Formula,
        Opened=Opened,
        answers_of=answers_of,
        data=data,
        encoder=encoder,
        fitted=fitted,
        of_formula=of_formula,
        package=package,
        schema_of=schema_of,
        shapley=shapley,
    )


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def case(kind: str) -> Case:
    """Each kind of model in turn."""
    return fitted(kind, Limits(background=30))
