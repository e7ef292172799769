"""The sidecar as in production: a real monitor, and a collector that takes its batches."""

from __future__ import annotations

import re
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.serving.processes import Process, free_port, start

__all__ = ["Monitor"]

_SAMPLE = r"^{}\{{[^}}]*\}} ([0-9.e+]+)$"
_ROWS, _WAITING = (
    re.compile(_SAMPLE.format(n), re.MULTILINE) for n in ("seamark_predictions_total", "seamark_log_spool_bytes")
)
#: Seconds for the socket to appear, and for the work to be done; and between looks.
_READY, _SETTLE, _PAUSE = 30.0, 30.0, 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Monitor:
    """The monitor's process, the collector's, and the folder they write to."""

    process: Process
    collector: Process
    socket: Path
    port: int
    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def start(cls, package: Path, core: int, logs: Path, *, yields: bool) -> Monitor:
        """Raises `TimeoutError` where it does not begin to listen. yields: to all others on the core."""
        folder = tempfile.TemporaryDirectory(prefix="bench-monitor-")
        collector_port, port = free_port(), free_port()
        path = Path(folder.name) / "socket"
        collector = [sys.executable, "-m", "benchmarks.serving.sink", str(collector_port)]
        arguments = [
            *("--package", str(package), "--deployment", "bench", "--revision", "bench-1"),
            *("--socket", str(path), "--spool", str(Path(folder.name) / "spool"), "--port", str(port)),
            *("--collector", f"http://127.0.0.1:{collector_port}", "--last-delivery", "0"),
        ]
        begin = partial(start, cores=(core,), yields=yields)
        monitor = cls(
            begin([sys.executable, "-m", "seamark_monitor", *arguments], log=logs / "monitor.log"),
            begin(collector, log=logs / "sink.log"),
            path,
            port,
            folder,
        )
        deadline = time.monotonic() + _READY
        while not path.exists():
            if time.monotonic() > deadline or monitor.process.has_ended():
                words = monitor.process.last_words()
                monitor.stop()
                raise TimeoutError(f"Cannot start the monitor: {words}")
            time.sleep(0.01)
        return monitor

    def settled_count(self) -> float:
        """The rows it counted, once the number stands still and all of them are delivered."""
        deadline = time.monotonic() + _SETTLE
        last = -1.0
        while True:
            count, waiting = self._state()
            if (count == last and not waiting) or time.monotonic() > deadline:
                return count
            last = count
            time.sleep(_PAUSE)

    def _state(self) -> tuple[float, float]:
        """(rows counted, bytes not yet delivered)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        rows, waiting = _ROWS.search(text), _WAITING.search(text)
        return float(rows[1] if rows else 0), float(waiting[1] if waiting else 0)

    def stop(self) -> None:
        self.process.stop()
        self.collector.stop()
        self.folder.cleanup()
