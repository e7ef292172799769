"""A package is served only in the format the manifest says, and pickles only where the manifest trusts them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from seamark import spec as manifests
from seamark.admission import admit
from seamark.package import MODEL_FORMATS, Feature, Manifest, ModelFile, Schema
from seamark.seen import ModelSeen
from seamark.spec import Model
from seamark.state import State
from seamark_local.cli import app
from seamark_local.gather import Gatherer
from seamark_local.home import Home, make_home
from seamark_local.packages import Packages, local_folder, resolve_model
from seamark_local.store import Manifest as Stored
from seamark_local.store import Store


def make_package(folder: Path, form: str = "onnx") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"model.{form}": b"model", "profile.json": b"{}"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    model = ModelFile(f"model.{form}", form, digests[f"model.{form}"])
    schema = Schema("binary", (Feature("x"),), (0, 1))
    files["seamark.json"] = Manifest("m", "1", model, schema, digests["profile.json"]).to_json()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return hashlib.sha256(files["seamark.json"]).hexdigest()


def document(folder: Path, **model: Any) -> dict[str, Any]:
    return {
        "apiVersion": "seamark.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": str(folder), **model}},
    }


CASES = [
    (form, wish, trusted) for form in MODEL_FORMATS for wish in (None, *MODEL_FORMATS) for trusted in (False, True)
]


@pytest.mark.parametrize(("form", "wish", "trusted"), CASES)
def test_the_format_is_the_manifests_and_a_pickle_is_trusted_or_nothing_is_served(
    tmp_path: Path, form: str, wish: str | None, trusted: bool
) -> None:
    digest = make_package(tmp_path / "p", form)
    seen = resolve_model(str(tmp_path / "p"))
    assert (seen.digest, seen.format) == (digest, form)
    judged = admit(seen, Model(seen.uri, wish, trusted))
    if wish not in (None, form):
        assert judged == ModelSeen(
            seen.uri, error=f"Cannot serve model package {seen.uri}: it is {form}, the manifest says {wish}"
        )
    elif form == "joblib" and not trusted:
        assert judged.digest == ""
        assert "set spec.model.trustPickle to true" in judged.error
    else:
        assert judged == seen


def test_a_package_that_cannot_be_read_says_only_that() -> None:
    seen = resolve_model("/nonexistent")
    assert admit(seen, Model("/nonexistent", "skops")) == seen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


def test_what_the_decision_sees_is_judged_by_the_manifest(tmp_path: Path, home: Home, store: Store) -> None:
    digest = make_package(tmp_path / "p", "joblib")
    gatherer = Gatherer(home, store)
    try:
        for trusted, expected in ((False, ""), (True, digest), (False, "")):
            given = document(tmp_path / "p", trustPickle=trusted)
            seen = gatherer.seen(Stored("m", 1, given), manifests.parse(given), State(), None, 1.0)
            assert seen.model is not None
            assert seen.model.digest == expected
    finally:
        gatherer.close()


MISTAKES = [
    ({"format": "skops"}, "onnx", "the manifest says skops"),
    ({"format": "onnx", "trustPickle": True}, "joblib", "the manifest says onnx"),
    ({}, "joblib", "set spec.model.trustPickle to true to allow it"),
    ({"format": "joblib", "trustPickle": False}, "joblib", "set spec.model.trustPickle to true to allow it"),
]


@pytest.mark.parametrize("command", ["up", "apply", "plan"])
@pytest.mark.parametrize(("model", "form", "cause"), MISTAKES)
def test_a_package_that_is_not_allowed_is_one_line_and_starts_nothing(
    tmp_path: Path, command: str, model: dict[str, Any], form: str, cause: str
) -> None:
    make_package(tmp_path / "p", form)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(document(tmp_path / "p", **model)))
    home = tmp_path / "new"
    result = CliRunner().invoke(app, [command, "-f", str(tmp_path / "m.yaml"), "--home", str(home)])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert f"spec.model.uri: Cannot serve model package {tmp_path / 'p'}: it is {form}, " in line
    assert line.endswith(cause)
    assert not home.exists()


def test_a_trusted_pickle_is_taken_up(tmp_path: Path) -> None:
    make_package(tmp_path / "p", "joblib")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(document(tmp_path / "p", trustPickle=True)))
    result = CliRunner().invoke(app, ["apply", "-f", str(tmp_path / "m.yaml"), "--home", str(tmp_path / "new")])
    assert (result.exit_code, result.stdout) == (0, "m created\n")


# --- beside the format


def test_a_kept_package_has_the_users_contract_and_card(tmp_path: Path, home: Home) -> None:
    digest = make_package(tmp_path / "p")
    for name in ("contract.json", "card.md", "notes.txt"):
        (tmp_path / "p" / name).write_text(name)
    kept = Packages(home.root).keep(str(tmp_path / "p"), digest)
    assert sorted(path.name for path in kept.iterdir()) == [
        *("card.md", "contract.json", "model.onnx", "profile.json", "seamark.json")
    ]


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/models/v1", Path("/models/v1")),
        ("file:///models/v%201", Path("/models/v 1")),
        ("s3://b/m", None),
        ("m", None),
    ],
)
def test_a_uri_names_a_folder_of_this_machine_or_none(uri: str, folder: Path | None) -> None:
    assert local_folder(uri) == folder
