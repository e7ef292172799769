"""Writes the chart's Grafana dashboards: `python charts/dashboards`. They are committed; a test compares them.

With a folder as argument it writes them there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TID251  # the ban is the core's: this script writes files

from data import DATA
from on_call import ON_CALL
from overview import OVERVIEW
from rendering import rendered

FOLDER = Path(__file__).parents[1] / "seamark" / "files" / "dashboards"


def write(folder: Path) -> None:
    for dashboard in (OVERVIEW, ON_CALL, DATA):
        (folder / f"{dashboard.uid}.json").write_text(json.dumps(rendered(dashboard), indent=2) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
