"""One virtual environment for each peer, made by uv from the committed lock of its folder under `peers`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["SetupError", "pins", "prepare", "python"]

PEERS = Path(__file__).with_name("peers")
_SECONDS = 1800


class SetupError(Exception):
    """A peer's environment cannot be made."""


def python(peer: str, root: Path) -> Path:
    """The peer's interpreter, whether or not it is there; this one for the project itself."""
    return root / peer / "bin" / "python" if peer else Path(sys.executable)


def pins(peer: str) -> list[str]:
    """The peer's direct requirements, as `name==version`."""
    lines = (PEERS / peer / "requirements.in").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def prepare(peer: str, root: Path) -> None:
    """Makes the environment, or makes it anew where the lock has changed; raises `SetupError`."""
    lock = PEERS / peer / "requirements.txt"
    state = f"{sys.version}\n{hashlib.sha256(lock.read_bytes()).hexdigest()}\n"
    mark = root / peer / ".installed"
    if mark.is_file() and mark.read_text() == state:
        return
    uv = _uv()
    interpreter = str(python(peer, root))
    _run(peer, [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(root / peer)])
    _run(peer, [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", interpreter, str(lock)])
    mark.write_text(state)


def _uv() -> str:
    """That of `make install`, else the machine's."""
    own = Path(".tools/bin/uv")
    found = str(own.resolve()) if own.is_file() else shutil.which("uv")
    if found is None:
        raise SetupError("Cannot find uv; run make install first")
    return found


def _run(peer: str, command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"Cannot install {peer}: uv did not end within {_SECONDS} seconds") from error
    if ended.returncode:
        raise SetupError(f"Cannot install {peer}: {ended.stderr.strip()[-500:]}")
