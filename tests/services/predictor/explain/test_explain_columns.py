"""Every column that a pipeline makes is traced to its feature, as scikit-learn's own names of columns say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from seamark.package import Schema
from seamark_predictor.explain_columns import by_feature, take_apart
from seamark_predictor.rows import Rows

NAMES = ("age", "land", "size", "colour", "visits")


class Framed:
    """A pipeline that takes a DataFrame, whose columns it picks by name."""

    platform = "sklearn"

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self.estimator = estimator
        self._schema = schema

    def matrix(self, rows: Rows) -> Any:
        numbers, texts = iter(rows.numbers.T), iter(rows.categories)
        categories = self._schema.categories
        return pd.DataFrame({n: next(texts) if n in categories else next(numbers) for n in NAMES})

    def predict(self, rows: Rows) -> Any:
        raise NotImplementedError


def traced(before: list[Any], lab: Any, *, mixed: bool, last: Any = None) -> tuple[Any, Any, Rows]:
    schema, rows = lab.schema_of(0, mixed), lab.data(mixed)
    rows.numbers[::7, 0] = np.nan
    rows.numbers[::5, 2] = np.nan
    model = Framed(make_pipeline(*before, last or Ridge()), schema)
    model.estimator.fit(model.matrix(rows), np.arange(rows.count) % 7)
    return model, take_apart(model, schema), rows


def owner(column: str) -> int:
    """Of which feature a column is, by the name that scikit-learn gives it."""
    found = [i for i, name in enumerate(NAMES) if name in column]
    assert len(found) == 1
    return found[0]


def fill() -> SimpleImputer:
    return SimpleImputer(add_indicator=True)


SEPARATE = {
    "scaling": [fill(), StandardScaler()],
    "bounds": [SimpleImputer(), MinMaxScaler(), QuantileTransformer(n_quantiles=20)],
    "bins": [SimpleImputer(), KBinsDiscretizer(n_bins=4, quantile_method="averaged_inverted_cdf")],
    "ordinal bins": [SimpleImputer(), KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf")],
    "splines": [SimpleImputer(), SplineTransformer(n_knots=4)],
    "selection": [SimpleImputer(), SelectKBest(f_regression, k=3)],
    "variance": [SimpleImputer(), VarianceThreshold(0.5)],
    "flags": [FeatureUnion([("values", SimpleImputer()), ("flags", MissingIndicator())])],
    "union": [SimpleImputer(), FeatureUnion([("a", StandardScaler()), ("b", "passthrough"), ("c", "drop")])],
    "nothing": [SimpleImputer(), "passthrough", StandardScaler()],
    "ufunc": [SimpleImputer(), FunctionTransformer(np.cbrt, feature_names_out="one-to-one")],
}
TEXTS = {
    "one-hot": ("texts", OneHotEncoder(), ["land", "colour"]),
    "one-hot by place": ("texts", OneHotEncoder(), [1, 3]),
    "one-hot by mask": ("texts", OneHotEncoder(), [False, True, False, True, False]),
    "one-hot by type": ("texts", OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
    "one-hot without first": ("texts", OneHotEncoder(drop="first"), ["colour", "land"]),
    "one-hot of two": ("texts", OneHotEncoder(drop="if_binary"), ["colour", "land"]),
    "rare together": ("texts", OneHotEncoder(min_frequency=101), ["land", "colour"]),
    "at most two": ("texts", OneHotEncoder(max_categories=2, drop="first"), ["land", "colour"]),
    "ordinal": ("texts", OrdinalEncoder(), ["land", "colour"]),
    "targets": ("texts", TargetEncoder(target_type="continuous"), ["land", "colour"]),
    "filled": ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["land", "colour"]),
}


@pytest.mark.parametrize("steps", SEPARATE.values(), ids=SEPARATE)
def test_columns_of_numbers_are_traced(steps: list[Any], lab: Any) -> None:
    model, found, rows = traced(steps, lab, mixed=False)
    names = model.estimator[:-1].get_feature_names_out()
    assert found.origins == tuple(owner(name) for name in names)
    assert found.columns(rows).shape == (rows.count, len(names))


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("rest", ["drop", "passthrough", "slice", "places"])
def test_columns_of_texts_are_traced(texts: Any, rest: str, lab: Any) -> None:
    more = {
        "slice": [("numbers", fill(), slice("size", "size")), ("again", fill(), slice(0, 1))],
        "places": [("numbers", fill(), [0, -1])],
    }.get(rest, [])
    columns = ColumnTransformer([texts, *more], remainder="passthrough" if rest == "passthrough" else "drop")
    model, found, rows = traced([columns, SimpleImputer()], lab, mixed=True)
    names = model.estimator[:-1].get_feature_names_out()
    assert found.origins == tuple(owner(name) for name in names)
    assert found.columns(rows).shape == (rows.count, len(names))


def test_a_column_without_any_value_is_left_out(lab: Any) -> None:
    schema, rows = lab.schema_of(0, False), lab.data(False)
    rows.numbers[:, 1] = np.nan
    for keep, origins in ((False, (0, 2, 3, 4)), (True, (0, 1, 2, 3, 4))):
        model = lab.Opened(make_pipeline(SimpleImputer(keep_empty_features=keep), Ridge()), schema)
        if not keep:
            with pytest.warns(UserWarning, match="Skipping features without any observed values"):
                model.estimator.fit(rows.numbers, rows.numbers[:, 0])
        else:
            model.estimator.fit(rows.numbers, rows.numbers[:, 0])
        found = take_apart(model, schema)
        assert found is not None
        assert found.origins == origins


TOGETHER = {
    "components": [SimpleImputer(), PCA(2)],
    "lengths of rows": [SimpleImputer(), Normalizer()],
    "products": [SimpleImputer(), PolynomialFeatures(2)],
    "any function": [SimpleImputer(), FunctionTransformer(np.sort)],
    "in a part": [
        ColumnTransformer([("a", make_pipeline(SimpleImputer(), PCA(2)), [0, 1, 2])], remainder="passthrough")
    ],
}


@pytest.mark.parametrize("steps", TOGETHER.values(), ids=TOGETHER)
def test_what_makes_a_column_of_several_features_is_not_taken_apart(steps: list[Any], lab: Any) -> None:
    _, found, _ = traced(steps, lab, mixed=False)
    assert found is None


def test_a_step_of_the_users_own_is_not_taken_apart(lab: Any) -> None:
    class StandardScaler(MinMaxScaler):
        """Called like one of scikit-learn's."""

    _, found, _ = traced([SimpleImputer(), StandardScaler()], lab, mixed=False)
    assert found is None


def test_a_model_that_shows_no_structure_is_not_taken_apart(lab: Any) -> None:
    assert take_apart(lab.Formula(np.sum), lab.schema_of(0, False)) is None


def test_columns_of_one_feature_are_added_up(lab: Any) -> None:
    _, found, _ = traced([fill()], lab, mixed=False)
    assert found.origins == (0, 1, 2, 3, 4, 0, 2)
    parts = np.array([[1.0, 2, 3, 4, 5, 10, 20], [0.0, 0, 0, 0, 0, 1, 1]])
    assert by_feature(parts, found).tolist() == [[11.0, 2, 23, 4, 5], [1.0, 0, 1, 0, 0]]
