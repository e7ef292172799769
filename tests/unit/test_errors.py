"""Errors say what is wrong, form one tree, and survive a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from seamark import errors
from seamark.errors import (
    Conflict,
    InvalidInput,
    InvalidPackage,
    InvalidSpec,
    NotFound,
    SeamarkError,
    Unavailable,
    UserError,
)

ONE_OF_EACH = [
    InvalidSpec("spec.x", "3 is not a text"),
    InvalidPackage("Cannot read seamark.json: name is missing"),
    InvalidInput("age is missing", status=422, violations=(("age", "missing", 1),)),
    Conflict("Cannot listen on port 80: taken"),
    NotFound("Cannot find churn"),
    Unavailable("Cannot reach the collector: refused"),
]


def test_every_error_is_in_the_tree() -> None:
    kinds = {getattr(errors, name) for name in errors.__all__}
    assert {type(error) for error in ONE_OF_EACH} | {SeamarkError, UserError} == kinds
    assert all(issubclass(kind, SeamarkError) for kind in kinds)
    assert [type(error) for error in ONE_OF_EACH if not isinstance(error, UserError)] == [Unavailable]


def test_an_invalid_spec_names_path_and_problem() -> None:
    error = InvalidSpec("spec.rollout.steps[2].weight", "140 is not between 0 and 100")
    assert str(error) == "spec.rollout.steps[2].weight: 140 is not between 0 and 100"
    assert (error.path, error.problem) == ("spec.rollout.steps[2].weight", "140 is not between 0 and 100")


def test_invalid_input_is_a_400_without_violations_unless_told() -> None:
    assert (InvalidInput("no").status, InvalidInput("no").violations) == (400, ())


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: SeamarkError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))
