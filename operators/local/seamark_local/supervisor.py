"""What a kubelet is, on a laptop: makes the processes that the store asks for be the processes that run.

Each tick: read what is desired, start, replace and stop runners to match, report what changed. All of a home's children
belong to the one supervisor; they end with it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence

from seamark_local import logs
from seamark_local.child import end_strays
from seamark_local.home import Home
from seamark_local.runner import FINISHED, Runner
from seamark_local.store import Process, Status, Store

__all__ = ["STOP_ORDER", "Supervisor"]

log = logging.getLogger("seamark.supervisor")

#: Seconds between two looks at the store, and between two looks at the sizes of the logs.
TICK = 0.2
TRIM_INTERVAL = 1.0
#: The fact that keeps the ports, by process, of a supervisor that was stopped.
PORTS = "ports"
#: Who is stopped after whom, by the name up to its first dash; those within brackets together. What sends goes before
#: what receives, so that what is under way arrives: decisions, requests, records, batches. All others (jobs, say) go
#: with the predictors.
STOP_ORDER = (("operator",), ("gateway",), ("predictor",), ("monitor",), ("analyzer", "collector"))
OTHERS = 2
#: Longest that one of these groups may take when everything is stopped, in seconds: ten together.
GROUP_GRACE = 2.0


class Supervisor:
    """Runs in the main thread: a child dies with the thread that made it."""

    def __init__(self, store: Store, home: Home) -> None:
        self._store = store
        self._home = home
        self._runners: dict[str, Runner] = {}
        self._ending: dict[str, tuple[Runner, asyncio.Task[None]]] = {}
        self._finished: set[str] = set()
        self._before: dict[str, Status] = {}
        self._reported: dict[str, Status] = {}
        self._removed: set[str] = set()
        self._wake = asyncio.Event()
        self._trimmed = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then, and after any failure, nothing that it started is left running."""
        self._take_over()
        try:
            while not stop.is_set():
                self._reconcile(self._desired())
                self._report()
                self._trim_logs()
                await self._pause(stop)
        finally:
            await self._stop_all()

    def kill(self) -> None:
        """End every child at once, with no grace."""
        for runner in (*self._runners.values(), *(runner for runner, _ in self._ending.values())):
            runner.kill()

    # --- beginning

    def _take_over(self) -> None:
        """Learn what an earlier supervisor left: ports and jobs to go on with, strays to end."""
        strays = end_strays(self._home.root)
        if strays:
            log.warning("event=strays_killed pids=%s", ",".join(map(str, strays)))
        for name, port in (self._store.fact(PORTS) or {}).items():
            self._before[name] = Status(name, "stopped", port=port)
        for name, status in self._store.statuses().items():
            if status.phase in FINISHED:
                self._finished.add(name)
                continue
            self._before[name] = status
            self._removed.add(name)

    # --- each tick

    def _desired(self) -> list[Process]:
        try:
            return self._store.desired()
        except sqlite3.Error as error:
            log.warning("event=store_unreadable error=%r", str(error))
            return [runner.process for runner in self._runners.values()]

    def _reconcile(self, desired: Sequence[Process]) -> None:
        wanted = {process.name: process for process in desired}
        for name, runner in list(self._runners.items()):
            runner.check()
            if runner.process.kind == "job" and runner.status.phase in FINISHED:
                self._finished.add(name)
            if name not in wanted or _is_replaced(runner, wanted[name]):
                self._end(name)
        for name, process in wanted.items():
            is_done = process.kind == "job" and name in self._finished
            if name not in self._runners and name not in self._ending and not is_done:
                self._begin(process)

    def _begin(self, process: Process) -> None:
        log.info("event=start process=%s", process.name)
        before = self._before.pop(process.name, None)
        runner = Runner(process, self._home, before, self._wake.set, self._ports)
        self._runners[process.name] = runner
        self._removed.discard(process.name)
        runner.start()

    def _end(self, name: str) -> None:
        log.info("event=stop process=%s", name)
        runner = self._runners.pop(name)
        self._ending[name] = (runner, asyncio.create_task(self._ended(name, runner)))

    async def _ended(self, name: str, runner: Runner) -> None:
        await runner.stop(runner.process.stop_after)
        del self._ending[name]
        if runner.process.kind == "job":
            self._finished.add(name)
            self._write([runner.status])
        elif name not in self._runners:
            self._before[name] = runner.status
            self._removed.add(name)
        self._wake.set()

    def _ports(self) -> set[int]:
        return {runner.status.port for runner in self._runners.values()}

    def _report(self) -> None:
        statuses = {name: runner.status for name, runner in self._runners.items()}
        changed = [status for name, status in statuses.items() if self._reported.get(name) != status]
        if self._write(changed):
            self._reported = statuses

    def _write(self, statuses: Sequence[Status]) -> bool:
        """A full disk must not end the supervisor: what is not written now is written later."""
        try:
            if statuses:
                self._store.report(statuses)
            for name in sorted(self._removed):
                self._store.remove_status(name)
        except sqlite3.Error as error:
            log.warning("event=store_unwritable error=%r", str(error))
            return False
        self._removed.clear()
        return True

    def _trim_logs(self) -> None:
        if time.monotonic() - self._trimmed < TRIM_INTERVAL:
            return
        self._trimmed = time.monotonic()
        for name in (*self._runners, *self._ending):
            try:
                logs.trim(self._home.log_of(name))
            except OSError as error:
                log.warning("event=log_untrimmed process=%s error=%r", name, str(error))

    async def _pause(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._wake)]
        await asyncio.wait(waits, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self._wake.clear()

    # --- end

    async def _stop_all(self) -> None:
        log.info("event=stop_all processes=%d", len(self._runners))
        for group in _groups(self._runners.values()):
            await asyncio.gather(*(self._stop_for_now(runner) for runner in group))
        self._keep_ports()
        if self._ending:
            await asyncio.wait([task for _, task in self._ending.values()])
        self._removed |= {name for name, runner in self._runners.items() if runner.process.kind == "service"}
        self._write([runner.status for runner in self._runners.values() if runner.process.kind == "job"])

    def _keep_ports(self) -> None:
        """For the next supervisor, so that nothing which names another's port must be restarted for a new one."""
        try:
            self._store.set_fact(PORTS, {name: runner.status.port for name, runner in self._runners.items()})
        except sqlite3.Error as error:
            log.warning("event=store_unwritable error=%r", str(error))

    async def _stop_for_now(self, runner: Runner) -> None:
        await runner.stop(min(GROUP_GRACE, runner.process.stop_after), resumable=True)


def _is_replaced(runner: Runner, wanted: Process) -> bool:
    """A job is what it was when it started; only a service follows its definition."""
    return wanted != runner.process and wanted.kind == "service"


def _groups(runners: Iterable[Runner]) -> list[list[Runner]]:
    groups: list[list[Runner]] = [[] for _ in STOP_ORDER]
    for runner in runners:
        part = runner.process.name.partition("-")[0]
        rank = next((i for i, parts in enumerate(STOP_ORDER) if part in parts), OTHERS)
        groups[rank].append(runner)
    return groups
