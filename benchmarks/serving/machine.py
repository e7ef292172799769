"""What was measured on what: the machine and all versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serving import environments

__all__ = ["describe"]

_OURS = (
    "granian",
    "httptools",
    "numpy",
    "onnxruntime",
    "orjson",
    "scikit-learn",
    "seamark-predictor",
    "seamark-monitor",
)


def describe(generator: str, peers: Iterable[str]) -> dict[str, Any]:
    """JSON. The load averages tell whether the machine was busy before the first server started."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_generator": generator,
        "load_average": os.getloadavg(),
        "commit": _commit(),
        "seamark": {name: version(name) for name in _OURS},
        "peers": {peer: environments.pins(peer) for peer in dict.fromkeys(peers) if peer},
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _commit() -> str:
    """With `-dirty` where files were changed since; "" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
