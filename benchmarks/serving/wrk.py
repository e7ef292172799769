"""The load generator: wrk, with a script that posts a body and prints what it counted."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "LoadError", "load", "parse", "version"]

_SCRIPT = Path(__file__).with_name("post.lua")
#: Seconds over its duration that wrk may take to connect and to end.
_GRACE = 30
_TROUBLES = ("connect", "read", "write", "timeout", "status")


class LoadError(Exception):
    """A run that counts nothing: wrk failed, or an answer did."""


@dataclass(frozen=True, slots=True)
class Load:
    """requests: all answered in `seconds`. p50, p99: seconds of one. busy: wrk's share of its core, 0 to 1."""

    requests: int
    seconds: float
    p50: float
    p99: float
    busy: float


def version() -> str:
    """What wrk calls itself; raises `LoadError` where it is missing."""
    program = shutil.which("wrk")
    if program is None:
        raise LoadError("Cannot find wrk; on Debian and Ubuntu: apt-get install wrk")
    # It has no option for the version alone: asked for it, it shows its usage too, with status 1.
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
    return shown.partition("\n")[0].partition(" Copyright")[0].strip()


def load(url: str, body: Path, headers: Mapping[str, str], *, connections: int, seconds: int, core: int) -> Load:
    """Posts the body for `seconds` over `connections` at once; raises `LoadError`."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["--timeout", "10s", "-s", str(_SCRIPT)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    before = _children_seconds()
    try:
        ended = subprocess.run(
            [*command, url, "--", str(body)], capture_output=True, text=True, check=False, timeout=seconds + _GRACE
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"Cannot load {url}: wrk did not end within {seconds + _GRACE} seconds") from error
    if ended.returncode:
        raise LoadError(f"Cannot load {url}: wrk ended with status {ended.returncode}: {ended.stderr.strip()[:300]}")
    return parse(ended.stdout, _children_seconds() - before)


def parse(output: str, cpu_seconds: float) -> Load:
    """What the script printed as its last line; raises `LoadError` for errors counted, or nothing answered."""
    lines = output.strip().splitlines()
    try:
        counted = json.loads(lines[-1])
        seconds = counted["microseconds"] / 1e6
        result = Load(counted["requests"], seconds, counted["p50"] / 1e6, counted["p99"] / 1e6, cpu_seconds / seconds)
        troubles = {trouble: counted[trouble] for trouble in _TROUBLES if counted[trouble]}
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise LoadError(f"Cannot read wrk's output: {output.strip()[-300:]!r}") from error
    if troubles:
        told = ", ".join(f"{count} by {trouble}" for trouble, count in troubles.items())
        raise LoadError(f"Cannot count the run: of {result.requests} requests failed {told}")
    if not result.requests:
        raise LoadError("Cannot count the run: no request was answered")
    return result


def _children_seconds() -> float:
    """CPU seconds of the children that have ended; while wrk runs, no other child ends."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
