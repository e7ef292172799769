"""Named points at which a test can kill the operator, so that "killed at every step" can be enumerated.

`SEAMARK_FAULT=route:after:kill` in the environment kills the process with SIGKILL every time it reaches that point. The
same text as a line of the file that `SEAMARK_FAULT_FILE` names kills once: the line is removed first.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["POINTS", "point", "points"]

#: One for each kind of write that a turn makes, in the order of a turn.
POINTS = (
    "commit",
    "serve",
    "route",
    "start_retraining",
    "stop_retraining",
    "retire",
    "tell",
    "command",
    "report",
)


def points() -> list[str]:
    """Every name that `point` takes: each of POINTS, before and after."""
    return [f"{name}:{when}" for name in POINTS for when in ("before", "after")]


def point(name: str) -> None:
    """Die here if asked to. name: `<one of POINTS>:before` or `:after`."""
    wanted = f"{name}:kill"
    if os.environ.get("SEAMARK_FAULT") == wanted or _asked_once(os.environ.get("SEAMARK_FAULT_FILE", ""), wanted):
        die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    # A container's first process cannot kill itself like that.
    os._exit(128 + signal.SIGKILL)


def _asked_once(file: str, wanted: str) -> bool:
    if not file:
        return False
    path = Path(file)
    try:
        lines = path.read_text().split()
    except OSError:
        return False
    if wanted not in lines:
        return False
    lines.remove(wanted)
    path.write_text("\n".join(lines))
    return True
