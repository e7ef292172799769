"""The life of one desired process, from start to start: a service for ever, a job until it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seamark_local import logs, ports, probe
from seamark_local.backoff import Backoff
from seamark_local.child import MARK, Child, ended_text
from seamark_local.home import Home
from seamark_local.store import Process, Status

__all__ = ["FINISHED", "TERMINATION_LOG", "Runner"]

TERMINATION_LOG = "SEAMARK_TERMINATION_LOG"
#: Bytes of a termination message that are read, as a kubelet does.
MAX_RESULT = 4096
#: Phases that a job does not leave.
FINISHED = frozenset({"succeeded", "failed", "stopped"})
USER_ERROR = 2
PROBE_UNTIL_READY = 0.2
PROBE_WHEN_READY = 1.0
#: Seconds a process that hangs gets to end by itself.
HUNG_GRACE = 2.0
INTERRUPTED = "interrupted; starts again with the next seamark up"


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one attempt went. exit_status None: it could not be started; forced: the supervisor ended it."""

    exit_status: int | None
    message: str
    lived: float = 0.0
    was_ready: bool = False
    forced: bool = False


class Runner:
    """Keeps `status` true to what happens; `changed` is called after each change.

    before: the status that an earlier runner of this name left: its port is used again, and a job's restarts go on.
    taken: the ports of the other processes.
    """

    def __init__(
        self,
        process: Process,
        home: Home,
        before: Status | None = None,
        changed: Callable[[], None] = lambda: None,
        taken: Callable[[], Container[int]] = tuple,
    ) -> None:
        self.process = process
        self._home = home
        self._changed = changed
        self._taken = taken
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._port = process.port or (before.port if before else 0)
        self._log = home.log_of(process.name)
        self._result = home.result_of(process.name)
        interrupted = before is not None and process.kind == "job" and before.started > 0
        restarts = before.restarts + 1 if before and interrupted else 0
        self.status = Status(process.name, "starting", restarts=restarts, log=str(self._log))

    def start(self) -> None:
        self._task = asyncio.create_task(self._serve() if self.process.kind == "service" else self._do_job())

    def check(self) -> None:
        """Raises what the runner failed with: a bug, never the child's failure."""
        if self._task and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def stop(self, grace: float, *, resumable: bool = False) -> None:
        """End the process. A job that had not finished is `stopped`, or, when `resumable`, left to start again."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._child:
            await self._child.stop(grace)
        if self.process.kind == "service" or self.status.phase in FINISHED:
            return
        if resumable:
            self._set(phase="starting", pid=0, message=INTERRUPTED)
            return
        self._set(phase="stopped", pid=0, finished=time.time(), message="stopped before it ended")

    def kill(self) -> None:
        if self._child:
            self._child.kill()

    def _set(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        self._changed()

    # --- a service

    async def _serve(self) -> None:
        backoff = Backoff()
        while True:
            ended = await self._attempt(self._until_hung)
            if not ended.was_ready:
                self._port = self.process.port
            killed = ended.exit_status == -signal.SIGKILL and not ended.forced
            delay = backoff.delay(ended.lived, user_error=ended.exit_status == USER_ERROR, killed=killed)
            await self._pause(ended, delay)

    async def _pause(self, ended: _Ended, delay: float) -> None:
        phase = "backoff" if delay else "starting"
        self._set(phase=phase, pid=0, exit_status=ended.exit_status, message=ended.message)
        await asyncio.sleep(delay)
        self._set(restarts=self.status.restarts + 1)

    async def _until_hung(self, child: Child, health: probe.Health) -> str:
        """Keeps the phase; returns why the process must be restarted."""
        if not self.process.ready:
            self._set(phase="ready", message="")
            await asyncio.wait({child.exited})
            return ""
        self._set(phase="running")
        while not child.exited.done():
            answer = await probe.ask(self._port, self.process.ready)
            health.record(time.monotonic(), answer)
            self._show(health)
            if cause := health.hangs(time.monotonic()):
                return cause
            await asyncio.sleep(PROBE_WHEN_READY if health.ready else PROBE_UNTIL_READY)
        return ""

    def _show(self, health: probe.Health) -> None:
        phase = "ready" if health.ready else "running"
        # Until it is ready, what ended the attempt before is worth more than silence.
        message = "" if health.ready else health.message or self.status.message
        if (phase, message) != (self.status.phase, self.status.message):
            self._set(phase=phase, message=message)

    # --- a job

    async def _do_job(self) -> None:
        backoff = Backoff()
        while True:
            _clear(self._result)
            ended = await self._attempt(self._until_deadline)
            if ended.exit_status == 0 and not ended.forced:
                return self._finish("succeeded", ended)
            if ended.forced or self.status.restarts >= self.process.retries:
                return self._finish("failed", ended)
            await self._pause(ended, backoff.delay(ended.lived))

    async def _until_deadline(self, child: Child, _: probe.Health) -> str:
        self._set(phase="running")
        done, _pending = await asyncio.wait({child.exited}, timeout=self.process.deadline)
        return "" if done else f"deadline of {self.process.deadline:g} s exceeded"

    def _finish(self, phase: str, ended: _Ended) -> None:
        message = "" if phase == "succeeded" else ended.message
        status = {"exit_status": ended.exit_status, "message": message, "result": _read_result(self._result)}
        self._set(phase=phase, pid=0, finished=time.time(), **status)

    # --- one attempt

    async def _attempt(self, watch: Callable[[Child, probe.Health], Any]) -> _Ended:
        """Start the program and wait until it ends, or until `watch` returns why it must be ended."""
        began, start = time.monotonic(), logs.size(self._log)
        try:
            self._port = self._port_to_use()
            self._child = child = Child(self._argv(), self._env(), self._log)
        except OSError as error:
            text = f"Cannot start {self.process.argv[0]}: {error.strerror or error}"
            return _Ended(None, text)
        self._set(phase="starting", pid=child.pid, port=self._port, started=time.time(), exit_status=None)
        health = probe.Health(began)
        cause = await self._watch(child, watch(child, health))
        if cause:
            await child.stop(HUNG_GRACE)
        # Waited for by `wait` everywhere: awaiting the future itself would cancel it together with this task.
        await asyncio.wait({child.exited})
        self._child = None
        message = cause or self._why(child.exited.result(), start)
        lived = time.monotonic() - began
        return _Ended(child.exited.result(), message, lived, health.was_ready, forced=bool(cause))

    async def _watch(self, child: Child, watching: Any) -> str:
        """What `watching` returned, or "" when the child ended before."""
        watcher = asyncio.ensure_future(watching)
        try:
            await asyncio.wait({watcher, child.exited}, return_when=asyncio.FIRST_COMPLETED)
            return str(watcher.result()) if watcher.done() and not child.exited.done() else ""
        finally:
            watcher.cancel()

    def _why(self, exit_status: int, start: int) -> str:
        # Who is killed by a signal had no last word: the last line is about something else.
        said = logs.last_line(self._log, start) if exit_status > 0 else ""
        if exit_status == USER_ERROR and said:
            return said
        return f"{ended_text(exit_status)}: {said}" if said else ended_text(exit_status)

    def _port_to_use(self) -> int:
        if self.process.port:
            return self.process.port
        if not any("{port}" in part for part in (*self.process.argv, *self.process.env.values())):
            return 0
        return self._port if self._port and ports.is_free(self._port) else ports.free_port(avoid=self._taken())

    def _argv(self) -> list[str]:
        return [part.replace("{port}", str(self._port)) for part in self.process.argv]

    def _env(self) -> Mapping[str, str]:
        own = {key: value.replace("{port}", str(self._port)) for key, value in self.process.env.items()}
        # Unbuffered: the last words of a process that is killed must be in its log.
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **own, MARK: str(self._home.root)}
        if self.process.kind == "job":
            env[TERMINATION_LOG] = str(self._result)
        return env


def _clear(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _read_result(path: Path) -> str:
    """A job's termination message; "" when it wrote none. Whatever the job left there, this neither waits nor fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, MAX_RESULT).decode(errors="replace")
    finally:
        os.close(descriptor)
