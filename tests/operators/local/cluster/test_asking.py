"""A command's text is what the operator reads back, and its status tells what came of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import UserError
from seamark.seen import Command, Verb
from seamark_kubernetes import commands as operator
from seamark_kubernetes.memory import Memory
from seamark_local.cluster import asking

VERBS: tuple[Verb, ...] = ("promote", "abort", "pause", "resume", "approve")


def read_back(text: str) -> Command | None:
    metadata = {"name": "churn", "namespace": "models", "annotations": {operator.names.COMMAND: text}}
    return operator.read({"metadata": metadata}, Memory()).command


@given(st.sampled_from(VERBS), st.text(max_size=120), st.text(max_size=520))
def test_the_operator_reads_what_was_asked_or_it_is_not_asked(verb: Verb, by: str, reason: str) -> None:
    try:
        text = asking.text(verb, by, reason)
    except UserError:
        return
    assert read_back(text) == Command(1, verb, by.strip(), reason.strip())


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=300))
def test_every_user_name_can_sign(username: str) -> None:
    text = asking.text("abort", asking.signature(username), "")
    assert read_back(text) == Command(1, "abort", username.replace(":", "/")[:100], "")


@pytest.mark.parametrize(
    ("by", "reason", "text"),
    [
        ("ana", "", "abort by ana"),
        ("ana", "too slow: p99", "abort by ana: too slow: p99"),
        (" Ana Ó ", " x ", "abort by Ana Ó: x"),
        ("a" * 100, "r" * 500, f"abort by {'a' * 100}: {'r' * 500}"),
    ],
)
def test_who_and_why_follow_the_verb(by: str, reason: str, text: str) -> None:
    assert asking.text("abort", by, reason) == text


@pytest.mark.parametrize(
    ("by", "reason", "message"),
    [
        ("", "", "Cannot abort as '': --by is a name of 1 to 100 characters without a colon"),
        ("a:b", "", "Cannot abort as 'a:b': --by is a name of 1 to 100 characters without a colon"),
        ("a\nb", "", "Cannot abort as 'a\\nb': --by is a name of 1 to 100 characters without a colon"),
        ("a" * 101, "", f"Cannot abort as '{'a' * 101}': --by is a name of 1 to 100 characters without a colon"),
        ("a", "r" * 501, "Cannot abort: --reason is one line of at most 500 characters, got 501 characters"),
        (
            "a",
            "r\nr",
            "Cannot abort: --reason is one line of at most 500 characters, got several lines or control characters",
        ),
    ],
)
def test_what_the_operator_would_refuse_is_not_sent(by: str, reason: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        asking.text("abort", by, reason)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("Cannot abort churn: no rollout is running", "Cannot abort churn: no rollout is running"),
        ("paused; Cannot abort churn: it is not; see", "Cannot abort churn: it is not; see"),
        ("Cannot promote churn: no rollout is running", ""),
        ("Cannot read model package x", ""),
        ("", ""),
    ],
)
def test_a_refusal_is_found_in_the_message(message: str, refusal: str) -> None:
    assert asking.refusal("abort", {"message": message}) == refusal


ON_TRIAL = {"phase": "Canary", "challenger": "b", "step": "1 of 2: weight 5 %"}


@pytest.mark.parametrize(
    ("verb", "before", "now", "is_obeyed"),
    [
        ("pause", {}, {"phase": "Paused"}, True),
        ("pause", {}, {"phase": "Serving"}, False),
        ("resume", {"phase": "Paused"}, {"phase": "Canary"}, True),
        ("resume", {"phase": "Paused"}, {"phase": "Paused"}, False),
        ("abort", ON_TRIAL, {"phase": "Serving"}, True),
        ("abort", ON_TRIAL, ON_TRIAL, False),
        ("promote", ON_TRIAL, {"phase": "Serving", "champion": "b"}, True),
        ("promote", ON_TRIAL, {**ON_TRIAL, "step": "all steps are done: promoting"}, True),
        ("promote", ON_TRIAL, {**ON_TRIAL, "step": "2 of 2: hold"}, False),
        ("approve", ON_TRIAL, {**ON_TRIAL, "message": "x"}, False),
    ],
)
def test_a_status_shows_that_a_command_took_effect(
    verb: Verb, before: dict[str, Any], now: dict[str, Any], is_obeyed: bool
) -> None:
    assert asking.is_obeyed(verb, before, now) == is_obeyed
