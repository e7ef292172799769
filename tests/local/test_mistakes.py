"""`seamark up` with a mistake that the user can mend: one line, exit status 2, nothing left running."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytestmark = [pytest.mark.slow]

Manifest = dict[str, Any]


def missing_folder(folder: Path, document: Manifest) -> str:
    shutil.rmtree(folder / "model")
    return "spec.model.uri: Cannot read model package {folder}/model: there is no such folder"


def altered_model(folder: Path, document: Manifest) -> str:
    with (folder / "model" / "model.onnx").open("ab") as file:
        file.write(b"x")
    return "spec.model.uri: Cannot read model package {folder}/model: model.onnx has SHA-256 "


def truncated_manifest(folder: Path, document: Manifest) -> str:
    path = folder / "model" / "seamark.json"
    path.write_bytes(path.read_bytes()[:200])
    return "spec.model.uri: Cannot read model package {folder}/model: seamark.json: "


def folder_as_model_file(folder: Path, document: Manifest) -> str:
    (folder / "model" / "model.onnx").unlink()
    (folder / "model" / "model.onnx").mkdir()
    return "spec.model.uri: Cannot read model package {folder}/model: model.onnx: "


def unknown_field(folder: Path, document: Manifest) -> str:
    document["spec"]["rollout"]["step"] = []
    return "scanner.yaml: document 1: spec.rollout.step: unknown field; allowed here: "


def wrong_weight(folder: Path, document: Manifest) -> str:
    document["spec"]["rollout"]["steps"] = [{"weight": 20}, {"weight": 140}]
    return "scanner.yaml: document 1: spec.rollout.steps[1].weight: 140 is not between 0 and 100"


def bad_second_document(folder: Path, document: Manifest) -> str:
    other = json.loads(json.dumps(document))
    other["metadata"]["name"] = "Other"
    (folder / "scanner.yaml").write_text(yaml.safe_dump_all([document, other]))
    return "scanner.yaml: document 2: metadata.name: "


def not_yaml(folder: Path, document: Manifest) -> str:
    (folder / "scanner.yaml").write_text("spec: {model: [\n\tno tabs}\n")
    return "Cannot read {folder}/scanner.yaml: line 2: "


def not_text(folder: Path, document: Manifest) -> str:
    (folder / "scanner.yaml").write_bytes(b"\xff\xfe\x00\x01" * 50)
    return "{folder}/scanner.yaml: document 1: manifest: "


def state_is_damaged(folder: Path, document: Manifest) -> str:
    (folder / "home").mkdir()
    (folder / "home" / "state.db").write_bytes(b"no database" * 1000)
    return "Cannot run seamark up: {folder}/home/state.db: file is not a database"


def home_is_a_file(folder: Path, document: Manifest) -> str:
    (folder / "home").touch()
    return "Cannot make the Seamark home {folder}/home: "


MISTAKES = (
    missing_folder,
    altered_model,
    truncated_manifest,
    folder_as_model_file,
    unknown_field,
    wrong_weight,
    bad_second_document,
    not_yaml,
    not_text,
    state_is_damaged,
    home_is_a_file,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seamark_up(folder: Path, port: int) -> subprocess.Popen[str]:
    files = ["-f", str(folder / "scanner.yaml"), "--home", str(folder / "home")]
    command = [sys.executable, "-m", "seamark_local.cli", "up", *files, "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def prepare(folder: Path, packages: Path, manifest: Manifest, mistake: Callable[[Path, Manifest], str]) -> str:
    """A folder with a model, a manifest and the mistake; returns what will be said."""
    shutil.copytree(packages / "v1", folder / "model")
    document = json.loads(json.dumps(manifest))
    document["spec"]["model"]["uri"] = str(folder / "model")
    expected = mistake(folder, document)
    if not (folder / "scanner.yaml").exists():
        (folder / "scanner.yaml").write_text(yaml.safe_dump(document))
    return expected.replace("{folder}", str(folder))


def none(folder: Path, document: Manifest) -> str:
    return ""


def test_each_mistake_is_one_line_and_starts_nothing(
    tmp_path: Path, packages: Path, manifest: Manifest, processes_of: Callable[[Path], list[psutil.Process]]
) -> None:
    """All at the same time, for speed, and one with no mistake but a port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = {
            mistake.__name__: prepare(tmp_path / mistake.__name__, packages, manifest, mistake)
            for mistake in (*MISTAKES, none)
        }
        expected["none"] = f"Cannot listen on 127.0.0.1:{port}: address already in use; choose another with --port"
        started = {name: seamark_up(tmp_path / name, port if name == "none" else free_port()) for name in expected}
        said = {name: (*child.communicate(timeout=60), child.returncode) for name, child in started.items()}
    assert processes_of(tmp_path) == []
    for name, (output, error, status) in said.items():
        assert (name, status, output, error.count("\n")) == (name, 2, "", 1), error
        assert expected[name] in error


def test_a_home_on_a_full_disk_is_one_line_and_starts_nothing(
    small_disk: Path, packages: Path, manifest: Manifest, processes_of: Callable[[Path], list[psutil.Process]]
) -> None:
    folder = small_disk.parent / "work"
    prepare(folder, packages, manifest, none)
    (folder / "home").symlink_to(small_disk)
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        for piece in (2**20, 2**16, 2**12):
            with contextlib.suppress(OSError):
                file.write(bytes(piece))
    child = seamark_up(folder, free_port())
    said, error = child.communicate(timeout=60)
    assert (child.returncode, said) == (2, "")
    assert error == f"Cannot write {folder}/home/lock: No space left on device\n"
    assert processes_of(folder) == []
