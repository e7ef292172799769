"""A package appears whole or not at all, and is never changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from seamark.errors import Conflict, InvalidPackage
from seamark_trainer import package
from seamark_trainer.package import Package


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(champion: Package, folder: Path) -> Package:
    model = (champion.folder / champion.manifest.model.file).read_bytes()
    return package.write(folder, champion.manifest, model, champion.profile, "# card\n")


def test_what_is_written_is_read(champion: Package, tmp_path: Path) -> None:
    made = write(champion, tmp_path / "deep" / "v1")
    assert package.read(made.folder) == made
    assert made.digest == hashlib.sha256((made.folder / "seamark.json").read_bytes()).hexdigest() == champion.digest
    assert names(made.folder) == ["card.md", "model.onnx", "profile.json", "seamark.json"]
    assert names(made.folder.parent) == ["v1"]
    assert made.folder.stat().st_mode & 0o777 == 0o755


def test_a_package_that_is_there_is_left_alone(champion: Package, tmp_path: Path) -> None:
    made = write(champion, tmp_path / "v1")
    with pytest.raises(Conflict, match="it exists already"):
        write(champion, tmp_path / "v1")
    assert package.read(made.folder) == made
    assert names(tmp_path) == ["v1"]


def test_a_failure_leaves_nothing(champion: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(package.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write(champion, tmp_path / "v1")
    assert names(tmp_path) == []


def test_a_manifest_for_another_model_is_refused(champion: Package, tmp_path: Path) -> None:
    with pytest.raises(InvalidPackage, match=r"another digest of model\.onnx"):
        package.write(tmp_path / "v1", champion.manifest, b"another", champion.profile)
    assert names(tmp_path) == []


def test_a_missing_or_altered_package_is_refused(champion: Package, tmp_path: Path) -> None:
    with pytest.raises(InvalidPackage, match=r"seamark\.json: no such file or directory"):
        package.read(tmp_path / "v1")
    made = write(champion, tmp_path / "v1")
    (made.folder / "profile.json").write_bytes(replace(made.profile, rows=1).to_json())
    with pytest.raises(InvalidPackage, match=r"profile\.json is not the one"):
        package.read(made.folder)
    (made.folder / "seamark.json").write_text("{")
    with pytest.raises(InvalidPackage, match=r"Cannot read seamark\.json"):
        package.read(made.folder)
