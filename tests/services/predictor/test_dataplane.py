"""The dataplane answers as the model does, refuses what the model cannot take, and finds who is to blame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamark.errors import InvalidInput
from seamark_predictor.dataplane import LARGEST, Dataplane
from seamark_predictor.model import ModelError, Output
from seamark_predictor.package import read
from seamark_predictor.rows import Rows


@pytest.mark.parametrize("form", ["skops", "onnx"])
def test_every_row_gets_the_models_own_answer(
    cancer_packages: dict[str, Path], form: str, kit: Any, logistic: Any
) -> None:
    plane = kit.open_plane(cancer_packages[form])
    answer = plane.predict(Rows(kit.CANCER.data, []))
    assert answer.labels.tolist() == logistic.predict(kit.CANCER.data).tolist()
    expected = logistic.predict_proba(kit.CANCER.data)
    np.testing.assert_allclose(answer.output.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(answer.logged, kit.cancer_outputs(logistic), atol=1e-5)


def test_a_regression_answers_values(regression_package: Path, kit: Any) -> None:
    plane = kit.open_plane(regression_package)
    answer = plane.predict(Rows(kit.CANCER.data[:50, :2], []))
    assert (plane.label_datatype, answer.logged.shape) == ("FP64", (50, 1))
    assert answer.labels.tolist() == answer.logged[:, 0].tolist()


def test_several_text_classes_and_text_features(mixed_package: Path, kit: Any) -> None:
    plane = kit.open_plane(mixed_package)
    rows = plane.reader.from_lists([[20, "br", 2.0, "red"], [60, "日本", 2.0, "blue"]])
    answer = plane.predict(rows)
    assert answer.labels == ["low", "high"]
    assert answer.logged[:, 0].tolist() == [1.0, 0.0]
    assert answer.logged[:, 1].tolist() == answer.output.probabilities.max(axis=1).tolist()


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (np.nan, "missing"),
        (np.inf, "nonfinite"),
        (-np.inf, "nonfinite"),
        (1e39, "range"),
        (-1e308, "range"),
    ],
)
def test_values_that_no_model_takes_are_refused_by_feature(
    cancer_plane: Dataplane, kit: Any, value: float, rule: str
) -> None:
    numbers = kit.CANCER.data[:5].copy()
    numbers[1:4, 7] = value
    with pytest.raises(InvalidInput) as refused:
        cancer_plane.predict(Rows(numbers, []))
    assert (refused.value.status, refused.value.violations) == (422, ((kit.NAMES[7], rule, 3),))
    assert kit.NAMES[7] in str(refused.value)


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, -0.0, 5e-324])
def test_the_largest_and_smallest_numbers_are_served(cancer_plane: Dataplane, kit: Any, value: float) -> None:
    numbers = kit.CANCER.data[:1].copy()
    numbers[0, 3] = value
    assert cancer_plane.predict(Rows(numbers, [])).logged.shape == (1, 2)


def test_missing_values_are_served_where_the_model_takes_them(nullable_package: Path, kit: Any) -> None:
    plane = kit.open_plane(nullable_package)
    numbers = kit.CANCER.data[:3].copy()
    numbers[:, 4] = np.nan
    assert np.isfinite(plane.predict(Rows(numbers, [])).logged).all()


def test_a_missing_text_is_refused_by_feature(mixed_package: Path, kit: Any) -> None:
    plane = kit.open_plane(mixed_package)
    with pytest.raises(InvalidInput, match="'land' is missing in 1 row") as refused:
        plane.predict(plane.reader.from_lists([[20, None, 2.0, "red"]]))
    assert refused.value.violations == (("land", "missing", 1),)


def test_an_exception_about_an_unseen_category_is_the_inputs_fault(mixed_package: Path, kit: Any) -> None:
    plane = kit.open_plane(mixed_package)
    with pytest.raises(InvalidInput) as refused:
        plane.predict(plane.reader.from_lists([[20, "atlantis", 2.0, "red"]]))
    assert (refused.value.status, refused.value.violations) == (422, (("land", "category", 1),))


class _Broken:
    """A model that raises or answers NaN."""

    platform = "broken"

    def __init__(self, answer: float | Exception) -> None:
        self.answer = answer

    def predict(self, rows: Rows) -> Output:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Output(np.zeros(rows.count), np.full((rows.count, 2), self.answer))


def _broken_plane(folder: Path, answer: float | Exception) -> Dataplane:
    return Dataplane(read(folder), _Broken(answer), name="cancer", revision="r", reject=False)


@pytest.mark.parametrize("answer", [np.nan, np.inf, ValueError("no")], ids=["nan", "inf", "raises"])
def test_a_failure_on_rows_that_keep_the_contract_is_the_models(
    cancer_packages: dict[str, Path], kit: Any, answer: float | Exception
) -> None:
    plane = _broken_plane(cancer_packages["skops"], answer)
    with pytest.raises(ModelError, match="for 2 of 2 rows"):
        plane.predict(Rows(kit.CANCER.data[:2], []))


@pytest.mark.parametrize("answer", [np.nan, np.inf, ValueError("no")], ids=["nan", "inf", "raises"])
def test_a_failure_on_rows_that_all_break_the_contract_is_the_inputs(
    cancer_packages: dict[str, Path], kit: Any, answer: float | Exception
) -> None:
    plane = _broken_plane(cancer_packages["skops"], answer)
    numbers = kit.CANCER.data[:2].copy()
    numbers[:, 0] = 1e30
    with pytest.raises(InvalidInput) as refused:
        plane.predict(Rows(numbers, []))
    assert (refused.value.status, refused.value.violations) == (422, ((kit.NAMES[0], "range", 2),))


def test_a_failure_on_some_rows_that_keep_the_contract_is_the_models(
    cancer_packages: dict[str, Path], kit: Any
) -> None:
    plane = _broken_plane(cancer_packages["skops"], np.nan)
    numbers = kit.CANCER.data[:2].copy()
    numbers[0, 0] = 1e30
    with pytest.raises(ModelError):
        plane.predict(Rows(numbers, []))


@pytest.mark.parametrize("reject", [False, True])
def test_the_contract_refuses_only_where_it_is_asked_to(
    cancer_packages: dict[str, Path], kit: Any, reject: bool
) -> None:
    plane = kit.open_plane(cancer_packages["skops"], reject=reject)
    numbers = kit.CANCER.data[:4].copy()
    numbers[2, 0] = 500.0
    if not reject:
        assert len(plane.predict(Rows(numbers, [])).logged) == 4
        return
    with pytest.raises(InvalidInput, match="1 of 4 rows break the contract") as refused:
        plane.predict(Rows(numbers, []))
    assert (refused.value.status, refused.value.violations) == (422, ((kit.NAMES[0], "range", 1),))
    assert len(plane.predict(Rows(kit.CANCER.data[:4], [])).logged) == 4
