"""Processes pinned to cores: started, measured with all their children, and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Process", "free_port", "start"]

#: Seconds that a process gets to end after SIGTERM, before it is killed.
_GRACE = 15
#: One thread each: a server has one core, and more threads than that only wait for each other.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
}


def free_port(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody listens on: some servers take the next ones, too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + count < 65535 and all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start(
    command: list[str],
    *,
    cores: Iterable[int],
    log: Path,
    environment: Mapping[str, str] | None = None,
    yields: bool = False,
) -> Process:
    """Starts the command on these cores only; what it says goes to `log`. yields: to all others on its cores."""
    log.parent.mkdir(parents=True, exist_ok=True)
    names = ",".join(map(str, cores))
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["/usr/bin/env", *(("chrt", "--idle", "0") if yields else ()), "taskset", "-c", names, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            # Not a session of its own: the kernel shares a core out among sessions first, then among processes.
            process_group=0,
        )
    return Process(child, log)


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A started process and what it starts."""

    child: subprocess.Popen[bytes]
    log: Path

    def has_ended(self) -> bool:
        return self.child.poll() is not None

    def last_words(self) -> str:
        """The end of its log, on one line."""
        return " ".join(self.log.read_text(errors="replace").split())[-400:]

    def cpu_seconds(self) -> float:
        """What all its living processes have used so far."""
        total = 0.0
        for process in self._tree():
            with suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system
        return total

    def memory(self) -> int:
        """Bytes (PSS: shared pages are divided among those who share them) of all its processes."""
        total = 0
        for process in self._tree():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def stop(self) -> None:
        """Ends it and all that it started, gently first."""
        tree = self._tree()
        if not self.has_ended():
            self.child.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(_GRACE)
        for process in tree:
            # psutil knows a process by its start too, so a number that was given again is left alone.
            with suppress(psutil.Error):
                process.kill()
        self.child.wait()
        psutil.wait_procs(tree, timeout=_GRACE)

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            root = psutil.Process(self.child.pid)
            return [root, *root.children(recursive=True)]
        return []
