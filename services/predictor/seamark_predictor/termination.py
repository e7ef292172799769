"""The termination message: where Kubernetes reads why a container ended."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT", "VARIABLE", "write"]

#: Where the kubelet puts the file, unless the container says otherwise.
DEFAULT = Path("/dev/termination-log")
#: The environment variable that names the file.
VARIABLE = "SEAMARK_TERMINATION_LOG"


def write(path: Path, line: str) -> bool:
    """Leaves `line` as the whole content of the file; False where that cannot be done, which never raises."""
    try:
        path.write_text(f"{line}\n", encoding="utf-8", errors="replace")
    except OSError:
        return False
    return True
