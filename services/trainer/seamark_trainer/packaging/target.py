"""The folder a package goes to: checked before any work, and replaced only where that was asked for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seamark.errors import Conflict

__all__ = ["check", "making_room"]


def check(folder: Path, *, force: bool) -> None:
    """Raises `Conflict` where `folder` holds something, unless it is a package and `force` says to replace it."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise Conflict(f"Cannot write package {folder}: it is not a folder")
    if not any(folder.iterdir()):
        return
    if not (folder / "seamark.json").is_file():
        raise Conflict(f"Cannot write package {folder}: it exists already and is not a package")
    if not force:
        raise Conflict(f"Cannot write package {folder}: it exists already; --force replaces it")


@contextmanager
def making_room(folder: Path, *, force: bool) -> Iterator[None]:
    """While the new package is written, the one to be replaced stands aside; it comes back if that fails."""
    check(folder, force=force)
    if not folder.exists():
        yield
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)) / "replaced"
    folder.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(folder)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)
