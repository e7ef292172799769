"""A package is checked whole and named by its digest, quickly and without loading anything; what is odd is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamark_predictor import inspect as module
from seamark_predictor import termination
from seamark_predictor.inspect import main


@pytest.fixture
def package(cancer_packages: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(cancer_packages["onnx"], tmp_path / "package"))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., tuple[int, dict[str, str]]]:
    """Inspects a folder; answers the exit status and what was written."""

    def look(folder: Path) -> tuple[int, dict[str, str]]:
        output = tmp_path / "output"
        status = main([str(folder), "--output", str(output)])
        content = output.read_text()
        assert content.endswith("\n")
        assert content.count("\n") == 1
        return status, json.loads(content)

    return look


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edit(package: Path, **fields: Any) -> None:
    """Changes fields of seamark.json."""
    path = package / "seamark.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("form", ["onnx", "skops", "joblib"])
def test_a_good_package_is_named(cancer_packages: dict[str, Path], look: Any, form: str) -> None:
    folder = cancer_packages[form]
    digest = digest_of(folder / "seamark.json")
    assert look(folder) == (0, {"digest": digest, "version": "1", "format": form, "name": "cancer"})


def test_links_inside_the_folder_are_as_good_as_files(package: Path, look: Any) -> None:
    """A mounted ConfigMap or Secret is made of such links."""
    inner = package / "..data"
    inner.mkdir()
    (package / "profile.json").rename(inner / "profile.json")
    (package / "profile.json").symlink_to("..data/profile.json")
    assert look(package)[0] == 0


def test_a_folder_may_be_reached_by_a_link(package: Path, look: Any) -> None:
    latest = package.parent / "latest"
    latest.symlink_to("package")
    assert look(latest)[0] == 0


def a_link_out(package: Path) -> str:
    (package / "model.onnx").rename(package.parent / "model.onnx")
    (package / "model.onnx").symlink_to("../model.onnx")
    return "Cannot read model.onnx: it is a link out of the package's folder"


def a_link_to_another_package(package: Path) -> str:
    """Its name begins as the folder's does."""
    other = package.with_name(package.name + "-2")
    other.mkdir()
    (package / "profile.json").rename(other / "profile.json")
    (package / "profile.json").symlink_to(other / "profile.json")
    return "Cannot read profile.json: it is a link out of the package's folder"


def a_loop_of_links(package: Path) -> str:
    (package / "seamark.json").unlink()
    (package / "seamark.json").symlink_to("seamark.json")
    return "Cannot read seamark.json: "


def a_broken_link(package: Path) -> str:
    (package / "contract.json").symlink_to("nowhere")
    return "Cannot read contract.json: No such file or directory"


def a_pipe(package: Path) -> str:
    (package / "model.onnx").unlink()
    os.mkfifo(package / "model.onnx")
    return "Cannot read model.onnx: it is not a regular file"


def a_folder(package: Path) -> str:
    (package / "profile.json").unlink()
    (package / "profile.json").mkdir()
    return "Cannot read profile.json: it is not a regular file"


def a_missing_file(package: Path) -> str:
    (package / "seamark.json").unlink()
    return "Cannot read seamark.json: No such file or directory"


def no_folder(package: Path) -> str:
    shutil.rmtree(package)
    return f"Cannot read package {package}: No such file or directory"


def a_file_as_folder(package: Path) -> str:
    no_folder(package)
    package.write_text("")
    return f"Cannot read package {package}: it is not a folder"


def an_altered_model(package: Path) -> str:
    model = package / "model.onnx"
    wanted = digest_of(model)
    model.write_bytes(model.read_bytes() + b"x")
    return f"Cannot use model.onnx: its SHA-256 is {digest_of(model)}, seamark.json says {wanted}"


def an_altered_profile(package: Path) -> str:
    profile = package / "profile.json"
    profile.write_bytes(profile.read_bytes() + b" ")
    return f"Cannot use profile.json: its SHA-256 is {digest_of(profile)}, seamark.json says "


def no_json(package: Path) -> str:
    (package / "seamark.json").write_bytes(b"\xff{")
    return "Cannot read seamark.json: "


def deep_json(package: Path) -> str:
    (package / "seamark.json").write_bytes(b"[" * 200_000)
    return "Cannot read seamark.json: "


def a_model_outside(package: Path) -> str:
    edit(package, model={"file": "../model.onnx", "format": "onnx", "sha256": "0" * 64})
    return "Cannot read seamark.json: model.file is '../model.onnx', not a plain file name inside the package"


SPOILED = [
    a_link_out,
    a_link_to_another_package,
    a_loop_of_links,
    a_broken_link,
    a_pipe,
    a_folder,
    a_missing_file,
    no_folder,
    a_file_as_folder,
    an_altered_model,
    an_altered_profile,
    no_json,
    deep_json,
    a_model_outside,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_used_is_said(package: Path, look: Any, spoil: Callable[[Path], str]) -> None:
    said = spoil(package)
    status, answer = look(package)
    assert status == 2
    assert list(answer) == ["error"]
    assert answer["error"].startswith(said)


@pytest.mark.parametrize("spare", [0, -1], ids=["just fits", "one byte too many"])
def test_json_is_bounded_over_all_files(package: Path, look: Any, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    (package / "contract.json").write_text("{}")
    used = sum(path.stat().st_size for path in package.glob("*.json"))
    monkeypatch.setattr(module, "_MOST_JSON", used + spare)
    status, answer = look(package)
    assert status == (2 if spare else 0)
    if spare:
        assert answer["error"] == f"Cannot read contract.json: the package has more than {used - 1} bytes of JSON"


def test_long_texts_are_cut_so_that_the_line_stays_whole(package: Path, look: Any) -> None:
    edit(package, version="\U0001f600" * 5000, name="\x01" * 5000)
    status, answer = look(package)
    assert (status, answer["version"], answer["name"]) == (0, "\U0001f600" * 200, "\x01" * 200)
    assert len((package.parent / "output").read_bytes()) <= 4096


def test_a_long_error_is_one_line_of_bounded_length(package: Path, look: Any) -> None:
    deep = package.parent.joinpath("\n\n", *(letter * 200 for letter in "abcdefg"))
    status, answer = look(deep)
    assert (status, len(answer["error"])) == (2, 1000)


def test_a_lone_surrogate_does_no_harm(package: Path, look: Any) -> None:
    edit(package, version="\ud800")
    status, answer = look(package)
    assert (status, answer["version"]) == (0, "?")


def test_the_termination_log_is_taken_where_there_is_one(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = package.parent / "termination-log"
    monkeypatch.setattr(termination, "DEFAULT", log)
    assert main([str(package)]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1"
    assert not log.exists()
    log.touch()
    assert main([str(package)]) == 0
    assert json.loads(log.read_text())["version"] == "1"
    assert capsys.readouterr().out == ""


def test_an_output_that_cannot_be_written_is_a_failure_with_the_line_on_standard_output(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = package.parent / "nowhere" / "output"
    assert main([str(package), "--output", str(output)]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["version"] == "1"
    assert shown.err == f"Cannot write {output}\n"


def test_nothing_beyond_the_standard_library_and_the_core_is_imported(package: Path) -> None:
    """It runs wherever a digest is needed: starting must cost little."""
    command = [sys.executable, "-X", "importtime", "-m", "seamark_predictor.inspect", str(package)]
    shown = subprocess.run([*command, "--output", str(package.parent / "out")], capture_output=True, text=True)
    assert shown.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert {"seamark", "seamark_predictor"} <= imported
    foreign = {"numpy", "scipy", "msgspec", "orjson", "granian", "onnxruntime", "sklearn", "joblib", "skops", "asyncio"}
    assert not imported & foreign
