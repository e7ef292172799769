"""Addresses of packages: a claim and a path that stays inside it, or a clear no."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidSpec
from seamark_kubernetes import pvc
from seamark_kubernetes.pvc import Claim

good_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
good_parts = st.text(string.ascii_letters + string.digits + "-_ .=%é", min_size=1, max_size=20).filter(
    lambda part: part not in (".", "..")
)


@given(good_names, st.lists(good_parts, min_size=1, max_size=5).map("/".join))
def test_a_claim_and_its_path_are_read_as_they_stand(name: str, path: str) -> None:
    claim = pvc.parse(f"pvc://{name}/{path}")
    assert claim == Claim(name, path)
    assert pvc.parse(claim.uri) == claim


@given(st.text(max_size=60))
def test_whatever_is_read_stays_inside_its_claim(text: str) -> None:
    for uri in (text, f"pvc://{text}", f"pvc://models/{text}"):
        try:
            claim = pvc.parse(uri)
        except InvalidSpec:
            continue
        assert claim.path.isprintable()
        assert not {"", ".", ".."} & set(claim.path.split("/"))


def test_one_slash_at_the_end_changes_nothing() -> None:
    assert pvc.parse("pvc://models/churn/v1/") == Claim("models", "churn/v1")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("s3://bucket/model", "is not pvc://CLAIM/PATH"),
        ("/models/churn", "is not pvc://CLAIM/PATH"),
        ("pvc:models/churn", "is not pvc://CLAIM/PATH"),
        ("pvc:///churn", "does not name a PersistentVolumeClaim"),
        ("pvc://Models/churn", "does not name a PersistentVolumeClaim"),
        ("pvc://models-/churn", "does not name a PersistentVolumeClaim"),
        ("pvc://" + "m" * 254 + "/churn", "does not name a PersistentVolumeClaim"),
        ("pvc://models\n/churn", "does not name a PersistentVolumeClaim"),
        ("pvc://models", "is empty"),
        ("pvc://models/", "is empty"),
        ("pvc://models//etc", "is absolute"),
        ("pvc://models/a//b", "is absolute, or has empty"),
        ("pvc://models/a/./b", "or . parts"),
        ("pvc://models/..", "leads out of its folder"),
        ("pvc://models/a/../../b", "leads out of its folder"),
        ("pvc://models/a\nb", "control characters"),
        ("pvc://models/a\0b", "control characters"),
        ("pvc://models/a\\b", "backslashes"),
        ("pvc://models/" + "a" * 1001, "is longer than 1000 bytes"),
    ],
)
def test_anything_else_is_refused_and_the_message_says_why(uri: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        pvc.parse(uri)
    assert problem in refused.value.problem
    assert refused.value.path == "spec.model.uri"
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


def test_the_longest_path_is_read() -> None:
    assert pvc.parse("pvc://models/" + "a" * 1000).path == "a" * 1000
