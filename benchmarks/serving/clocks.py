"""Who used the processors: the server, its monitor, or programs that have no part in the benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
from benchmarks.serving.monitors import Monitor
from benchmarks.serving.processes import Process

__all__ = ["Clocks"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """CPU seconds: of all the machine's cores, and of the processes that are measured."""

    machine: float
    server: float
    monitor: float
    collector: float

    @classmethod
    def read(cls, server: Process, monitor: Monitor | None) -> Clocks:
        return cls(
            _machine_seconds(),
            server.cpu_seconds(),
            monitor.process.cpu_seconds() if monitor else 0.0,
            monitor.collector.cpu_seconds() if monitor else 0.0,
        )

    def since(self, before: Clocks) -> Clocks:
        """What was used between the two readings."""
        return Clocks(
            self.machine - before.machine,
            self.server - before.server,
            self.monitor - before.monitor,
            self.collector - before.collector,
        )

    def foreign(self, generator: float, seconds: float) -> float:
        """Cores that anything else kept busy, on average."""
        return max(0.0, (self.machine - self.server - self.monitor - self.collector - generator) / seconds)


def _machine_seconds() -> float:
    """CPU seconds that programs have used on all cores since the machine started; interrupts left out."""
    used = psutil.cpu_times()
    return float(used.user + used.nice + used.system + getattr(used, "steal", 0.0))
