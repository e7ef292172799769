"""A package is served as the manifest wishes it, or not at all and with the cause; a pickle only with trust."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.admission import PICKLE, admit
from seamark.package import MODEL_FORMATS
from seamark.seen import ModelSeen
from seamark.spec import Model

URI = "s3://models/churn"
A, B = "a" * 64, "b" * 64
PICKLED = "it is joblib, and loading that runs any code it holds; set spec.model.trustPickle to true to allow it"

seens = st.builds(ModelSeen, st.just(URI), st.sampled_from([A, B]), st.just("1"), format=st.sampled_from(MODEL_FORMATS))
wishes = st.builds(
    Model, st.just(URI), st.sampled_from([None, *MODEL_FORMATS]), st.booleans(), st.sampled_from([None, A, B])
)

ADMITTED = [
    ("onnx", Model(URI)),
    ("skops", Model(URI)),
    ("onnx", Model(URI, "onnx")),
    ("skops", Model(URI, "skops", trust_pickle=True)),
    ("joblib", Model(URI, trust_pickle=True)),
    ("joblib", Model(URI, "joblib", trust_pickle=True, digest=A)),
    ("onnx", Model(URI, digest=A)),
    ("", Model(URI, digest=A)),
]
REFUSED = [
    ("onnx", Model(URI, digest=B), "its digest is aaaaaaaaaaaa..., the manifest says bbbbbbbbbbbb..."),
    ("onnx", Model(URI, "skops"), "it is onnx, the manifest says skops"),
    ("joblib", Model(URI, "onnx", trust_pickle=True), "it is joblib, the manifest says onnx"),
    ("joblib", Model(URI), PICKLED),
    ("joblib", Model(URI, "joblib"), PICKLED),
    ("joblib", Model(URI, digest=A), PICKLED),
    ("joblib", Model(URI, "onnx", digest=B), "its digest is aaaaaaaaaaaa..., the manifest says bbbbbbbbbbbb..."),
]


@pytest.mark.parametrize(("form", "wish"), ADMITTED)
def test_what_the_manifest_allows_is_let_in_as_it_is(form: str, wish: Model) -> None:
    seen = ModelSeen(URI, A, "2026.1", format=form)
    assert admit(seen, wish) is seen


@pytest.mark.parametrize(("form", "wish", "cause"), REFUSED)
def test_what_the_manifest_does_not_allow_has_no_digest_left_to_be_served_by(
    form: str, wish: Model, cause: str
) -> None:
    judged = admit(ModelSeen(URI, A, "2026.1", format=form), wish)
    assert judged == ModelSeen(URI, error=f"Cannot serve model package {URI}: {cause}")


@given(seens, wishes)
def test_a_package_is_let_in_only_with_the_digest_and_format_wished_and_a_pickle_only_with_trust(
    seen: ModelSeen, wish: Model
) -> None:
    is_wished = wish.digest in (None, seen.digest) and wish.format in (None, seen.format)
    is_safe = seen.format != PICKLE or wish.trust_pickle
    judged = admit(seen, wish)
    assert (judged == seen) is (is_wished and is_safe)
    assert bool(judged.digest) is not bool(judged.error)


@given(wishes)
def test_a_package_that_cannot_be_read_says_only_that(wish: Model) -> None:
    seen = ModelSeen(URI, error="Cannot read it")
    assert admit(seen, wish) is seen


@given(seens, wishes)
def test_what_was_refused_stays_refused_with_the_same_words(seen: ModelSeen, wish: Model) -> None:
    judged = admit(seen, wish)
    assert admit(judged, wish) == judged
