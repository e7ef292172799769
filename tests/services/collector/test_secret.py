"""A secret is what its file holds now: followed when it changes, and not used when it is gone or too short."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamark.errors import Unavailable
from seamark_collector.secret import SecretFile


def test_white_space_around_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b" \n four \n")
    assert SecretFile(tmp_path / "s", 4).read() == b"four"


@pytest.mark.parametrize("swap", ["rename", "symlink", "rewrite"])
def test_a_new_content_is_seen_however_it_got_there(tmp_path: Path, swap: str) -> None:
    path, new = tmp_path / "s", tmp_path / "new"
    (tmp_path / "old").write_bytes(b"first")
    path.symlink_to("old")
    secret = SecretFile(path, 4)
    assert secret.read() == b"first"
    new.write_bytes(b"second")
    if swap == "rename":
        new.rename(tmp_path / "old")
    elif swap == "symlink":
        (tmp_path / "link").symlink_to("new")
        (tmp_path / "link").rename(path)
    else:
        path.write_bytes(b"second")
    assert secret.read() == b"second"


def test_a_file_that_is_gone_or_too_short_is_not_used_and_a_good_one_is_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"good")
    secret = SecretFile(path, 4)
    assert secret.read() == b"good"
    path.unlink()
    with pytest.raises(Unavailable, match=r"^Cannot read .*/s: no such file or directory$"):
        secret.read()
    path.write_bytes(b" bad ")
    with pytest.raises(Unavailable, match=r"^Cannot use .*/s: it has 3 bytes; at least 4 are needed$"):
        secret.read()
    path.write_bytes(b"better")
    assert secret.read() == b"better"
