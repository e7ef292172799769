"""The result is small, whole, and written wherever the platform wants it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seamark_trainer import result


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_written_by_rename(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_text("older")
    before = path.stat().st_ino
    result.write(path, {"error": "x"})
    assert json.loads(path.read_text()) == {"error": "x"}
    assert path.stat().st_ino != before
    assert names(tmp_path) == ["result"]


def test_it_is_written_in_place_where_a_rename_is_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise OSError("Device or resource busy")

    path = tmp_path / "result"
    monkeypatch.setattr(Path, "replace", fail)
    result.write(path, {"error": "x"})
    assert json.loads(path.read_text()) == {"error": "x"}
    assert names(tmp_path) == ["result"]


FULL = {"package": "file:///p", "digest": "d", "version": "v", "rows": 1, "dataVersion": "predictions@1,labels@1"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({**FULL, "metrics": {"accuracy": 1.0}}, {*FULL, "metrics"}),
        ({**FULL, "metrics": {f"m{i}": 0.1 for i in range(1000)}}, set(FULL)),
        ({**FULL, "version": "v" * 5000}, {"package", "digest"}),
        ({"error": "x" * 5000}, {"error"}),
        ({"error": "\u00e4" * 5000}, {"error"}),
    ],
)
def test_what_is_needed_most_is_kept_when_there_is_no_room(given: dict[str, Any], kept: set[str]) -> None:
    content = result.encode(given)
    assert len(content) <= result.MAX_BYTES
    assert set(json.loads(content)) == kept
