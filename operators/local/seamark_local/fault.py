"""Named points at which a test can kill the operator, so that "killed at every step" can be enumerated.

`SEAMARK_FAULT=route:after:kill` in the environment, or a line with that text in the file HOME/fault, kills the process
with SIGKILL when it reaches that point. A line is removed first, so it works once; the variable works every time.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["POINTS", "point", "points"]

#: One for each action of a decision, then the operator's other writes.
POINTS = (
    "serve",
    "route",
    "start_retraining",
    "stop_retraining",
    "promote",
    "roll_back",
    "retire",
    "notify",
    "record",
    "processes",
    "commit",
    "analyzer",
    "gateway",
)


def points() -> list[str]:
    """Every name that `point` takes: each of POINTS, before and after."""
    return [f"{name}:{when}" for name in POINTS for when in ("before", "after")]


def point(name: str, home: Path) -> None:
    """Die here if asked to. name: `<one of POINTS>:before` or `:after`."""
    if os.environ.get("SEAMARK_FAULT") == f"{name}:kill" or _asked(home / "fault", f"{name}:kill"):
        os.kill(os.getpid(), signal.SIGKILL)


def _asked(path: Path, wanted: str) -> bool:
    try:
        lines = path.read_text().split()
    except OSError:
        return False
    if wanted not in lines:
        return False
    lines.remove(wanted)
    path.write_text("\n".join(lines))
    return True
