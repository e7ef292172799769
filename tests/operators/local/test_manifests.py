"""Manifest files are read as Kubernetes tools read them, bounded, and refused with file, document and path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seamark.errors import UserError
from seamark_local.manifests import MAX_FILE, load_documents, read

HEAD = "apiVersion: seamark.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: churn}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "churn.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{on: 1, off: 2, yes: 3, no: 4, y: 5}", {"on": 1, "off": 2, "yes": 3, "no": 4, "y": 5}),
        ("[true, False, TRUE]", [True, False, True]),
        ("[on, no, truely]", ["on", "no", "truely"]),
        ("2026-01-31", "2026-01-31"),
        ("[1, 0.5, null, ~, text]", [1, 0.5, None, None, "text"]),
    ],
)
def test_plain_words_are_read_as_in_yaml_1_2(text: str, value: Any) -> None:
    assert load_documents(text) == [value]


def test_empty_documents_are_left_out() -> None:
    assert load_documents("---\n---\na: 1\n---\n") == [{"a": 1}]


def test_triggers_under_a_plain_on_are_understood(file: Path) -> None:
    file.write_text(HEAD + "spec: {model: {uri: /m}, retraining: {on: [{drift: feature}]}}")
    [given] = read([file])
    assert given.deployment.retraining.on[0].drift == "feature"
    assert given.document["spec"]["retraining"] == {"on": [{"drift": "feature"}]}


@pytest.mark.parametrize(
    ("uri", "stored"),
    [
        ("model", "{folder}/model"),
        ("../model", "{parent}/model"),
        ("file:model", "{folder}/model"),
        ("/abs/model", "/abs/model"),
        ("file:///abs/model", "file:///abs/model"),
        ("s3://bucket/model", "s3://bucket/model"),
        ("models:/churn@champion", "models:/churn@champion"),
    ],
)
def test_only_relative_paths_are_changed_and_everything_else_is_kept(file: Path, uri: str, stored: str) -> None:
    file.write_text(HEAD + f"spec: {{model: {{uri: '{uri}', trustPickle: true}}}}")
    [given] = read([file])
    expected = stored.replace("{folder}", str(file.parent)).replace("{parent}", str(file.parent.parent))
    assert given.document["spec"]["model"] == {"uri": expected, "trustPickle": True}
    assert given.deployment.model.uri == expected


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB, "has more than 50000 values", id="aliases that stand for billions"),
        pytest.param("a: " + "[" * 5000 + "]" * 5000, "is nested too deeply", id="deep nesting"),
        pytest.param("a: " + "x" * MAX_FILE, f"is longer than {MAX_FILE} bytes", id="a long file"),
        pytest.param("a: &x [*x]", "has more than 50000 values", id="a loop"),
        pytest.param("{1: 2}", "the name 1 is not a text", id="a name that is a number"),
        pytest.param("a: .nan", "has no place in a manifest", id="not a number"),
        pytest.param("a: !!binary aGk=", "has no place in a manifest", id="bytes"),
        pytest.param("a: !!python/object:os.system {}", "could not determine a constructor", id="code"),
        pytest.param("a: \x00", "Cannot read", id="control characters"),
        pytest.param("- 1", "is not a mapping", id="a list"),
    ],
)
def test_what_cannot_be_a_manifest_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read([file])
    assert message in str(caught.value)
    assert "churn.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
