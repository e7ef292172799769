"""What is packaged is served: a predictor answers as the model did before, and its profile is of those answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC

from seamark_predictor.dataplane import Dataplane
from seamark_predictor.opening import open_model
from seamark_predictor.rows import Rows

CLASSIFIERS = [
    LogisticRegression(),
    RandomForestClassifier(5, random_state=0),
    HistGradientBoostingClassifier(max_iter=5),
    SVC(),
    LinearSVC(),
]


def plane(desk: Any, *, trust_pickle: bool = False) -> Dataplane:
    """The package behind a predictor's rules, warm."""
    opened = open_model(desk.out, name="m", trust_pickle=trust_pickle, digest=desk.package().digest)
    made = Dataplane(opened.package, opened.model, name="m", revision="m-1", reject=True)
    made.warm_up()
    return made


def answered(served: Dataplane, rows: Rows) -> list[Any]:
    return list(served.predict(rows).labels)


@pytest.mark.parametrize("form", ["onnx", "native"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda estimator: type(estimator).__name__)
def test_classifiers_answer_as_before(desk: Any, make: Any, estimator: Any, form: str) -> None:
    values = make.numbers()
    model = estimator.fit(values, make.classes(values, ["high", "low", "mid"]))
    desk.made(desk.pickle(model), desk.table(values), "--trust-pickle", "--format", form)
    served = plane(desk)
    answer = served.predict(Rows(values, []))
    assert list(answer.labels) == model.predict(values).tolist()
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(answer.output.probabilities, model.predict_proba(values), atol=1e-4)
    # The profile's outputs are what a monitor will see of the same rows.
    places, counts = np.unique(answer.logged[:, 0], return_counts=True)
    [column, _] = desk.package().profile.outputs
    assert {float(value): count for value, count in zip(column.values, column.counts, strict=False) if count} == dict(
        zip(places.tolist(), counts.tolist(), strict=True)
    )


@pytest.mark.parametrize("form", ["onnx", "native"])
def test_columns_by_name_are_served_with_what_may_be_missing(desk: Any, make: Any, form: str) -> None:
    frame = make.mixed()
    model = make.mixed_model(frame, np.where(frame["mean age"] > 50, "old", "young"))
    desk.made(desk.skops(model), desk.csv(dict(frame)), "--format", form)
    texts = [[str(value) for value in frame[name]] for name in ("country", "zip")]
    served = plane(desk)
    assert answered(served, Rows(frame[["mean age"]].to_numpy(), texts)) == model.predict(frame).tolist()
    assert all(feature.nullable for feature in served.schema.features)


def test_documents_are_served(desk: Any) -> None:
    texts = ["good day", "bad day", "so so"] * 40
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 0] * 40)
    desk.made(desk.skops(model), desk.csv({"review": texts}), "--format", "native")
    assert answered(plane(desk), Rows(np.empty((120, 0)), [texts])) == model.predict(texts).tolist()


def test_a_pickle_is_served_to_whoever_trusts_it(desk: Any, make: Any) -> None:
    values = make.numbers()
    model = make_pipeline(FunctionTransformer(own_step), Ridge()).fit(values, values[:, 0])
    desk.made(desk.pickle(model), desk.table(values), "--trust-pickle")
    np.testing.assert_allclose(answered(plane(desk, trust_pickle=True), Rows(values, [])), model.predict(values))


def own_step(values: Any) -> Any:
    return values
