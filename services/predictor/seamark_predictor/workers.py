"""Several processes that serve on one port, and the parent that looks after them.

Every worker listens on the port itself (SO_REUSEPORT), and the kernel shares new connections out. The parent serves
nothing: it starts workers, starts those again that die, passes signals on, and leaves when they have. A worker is a new
program, not a fork, so that no thread of a model's library is copied half alive. It has one socket to its parent:

    worker -> parent   `loaded`, or `failed <line>` where the user can mend it
    parent -> worker   `go`: all have loaded, listen

So the port opens when all are ready: until then nobody is told that the server is, and no worker gets the others'
share. A worker that is started again later listens as soon as it has loaded. /readyz is each worker's own answer.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from seamark_predictor import logs

__all__ = ["Times", "Worker", "attach", "cores", "supervise"]

_PR_SET_PDEATHSIG = 1
#: A container's CPU limit: microseconds, or `max`, and the period in which it may use them.
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
#: Characters of the one line that a worker may leave with.
_LONGEST_LINE = 4000


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. drain: for workers to leave after a signal, then they are killed.

    again_first, again_last: before a worker that died is started again, doubling. steady: after serving for so long its
    deaths before are forgotten.
    """

    drain: float
    again_first: float = 0.1
    again_last: float = 5.0
    steady: float = 30.0


def cores() -> int:
    """Cores that this process may use: those it is bound to, within the container's CPU limit, rounded up.

    As many workers are the most that pays. The kernel places them; none is bound to a core.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, _, period = _CPU_LIMIT.read_text().partition(" ")
    except OSError:
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, -(-int(quota) // int(period))))


# --- a worker's side


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's place: `index` of `count`, and the descriptor of the counters that all share."""

    index: int
    count: int
    counters: int
    _parent: socket.socket = field(repr=False)

    def loaded(self) -> None:
        """Tells the parent, and returns when the worker may listen."""
        self._parent.sendall(b"loaded")
        if not self._parent.recv(16):
            os._exit(1)  # The parent is gone.

    def failed(self, line: str) -> None:
        """Leaves the line to the parent: with all workers failing alike, it is to be said once."""
        self._parent.sendall(b"failed " + line[:_LONGEST_LINE].encode(errors="replace"))


def attach(place: str) -> Worker:
    """The worker that `place`, an argument made by the parent, is about. From here on it dies with its parent."""
    index, count, parent, channel, counters = map(int, place.split(":"))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before that; then nobody will send the signal.
    if os.getppid() != parent:
        os._exit(1)
    return Worker(index, count, counters, socket.socket(fileno=channel))


# --- the parent's side


@dataclass(slots=True, eq=False)
class _Child:
    index: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    started: float
    has_loaded: bool = False
    line: str = ""


def supervise(command: Sequence[str], count: int, counters: int, times: Times) -> tuple[int, str]:
    """Runs `count` workers until SIGTERM or SIGINT; to be called in the main thread. Returns exit status and line.

    command: starts one worker; `--worker PLACE` for `attach` is added. counters: a descriptor that they inherit.
    The result is 0 and no line after a signal. While no worker serves, one that ends before it has served ends the
    whole: with its status, and its line where it left one.
    """
    supervisor = _Supervisor(command, count, counters, times)
    try:
        return supervisor.run()
    finally:
        supervisor.close()


class _Supervisor:
    def __init__(self, command: Sequence[str], count: int, counters: int, times: Times) -> None:
        self._command = command
        self._count = count
        self._counters = counters
        self._times = times
        self._children: dict[int, _Child] = {}
        self._deaths = [0] * count
        self._again: dict[int, float] = {}
        self._is_open = False
        self._result: tuple[int, str] | None = None
        self._kill_at = 0.0
        self._stop_asked = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()

    def run(self) -> tuple[int, str]:
        self._listen_to_signals()
        for index in range(self._count):
            self._start(index)
        while self._children or self._result is None:
            for key, _ in self._selector.select(self._patience()):
                self._hear(key.data)
            if self._stop_asked and self._result is None:
                logs.event("stopping", workers=len(self._children))
                self._end(0, "")
            self._collect()
            self._keep_time()
        return self._result

    def close(self) -> None:
        """Leaves nothing running."""
        for child in self._children.values():
            child.process.kill()
            child.process.wait()
            child.channel.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    # --- what happens

    def _listen_to_signals(self) -> None:
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        # Without a handler the death of a worker would wake nobody.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def _ask_to_stop(self, *_: object) -> None:
        self._stop_asked = True

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = list(self._again.values()) if self._result is None else [self._kill_at]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _hear(self, child: _Child | None) -> None:
        """A worker's message, or for None that a signal came."""
        if child is None:
            self._wake.recv(4096)
            return
        try:
            said = child.channel.recv(4 * _LONGEST_LINE).decode(errors="replace")
        except OSError:
            said = ""
        if said == "loaded":
            child.has_loaded = True
            self._let_listen(child)
        elif said.startswith("failed "):
            child.line = said.removeprefix("failed ")
        else:
            self._selector.unregister(child.channel)

    def _collect(self) -> None:
        for child in list(self._children.values()):
            status = child.process.poll()
            if status is None:
                continue
            while child.channel.fileno() in self._selector.get_map():
                self._hear(child)
            child.channel.close()
            del self._children[child.index]
            if self._result is None:
                self._died(child, status if status >= 0 else 128 - status)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._result is not None and now >= self._kill_at:
            for child in self._children.values():
                child.process.kill()
        for index in [index for index, when in self._again.items() if when <= now]:
            del self._again[index]
            self._start(index)

    # --- what is done

    def _start(self, index: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = f"{index}:{self._count}:{os.getpid()}:{theirs.fileno()}:{self._counters}"
        with theirs:
            process = subprocess.Popen(
                [*self._command, "--worker", place],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._counters),
            )
        # What is left to read of a worker that died must not be waited for.
        ours.setblocking(False)
        self._children[index] = _Child(index, process, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, self._children[index])

    def _let_listen(self, child: _Child) -> None:
        if self._is_open:
            ready = [child]
        else:
            ready = [each for each in self._children.values() if each.has_loaded]
            self._is_open = len(ready) == self._count
        for each in ready if self._is_open else ():
            # One that has just died is collected next.
            with suppress(OSError):
                each.channel.send(b"go")

    def _died(self, child: _Child, status: int) -> None:
        has_served = self._is_open and child.has_loaded
        others_serve = self._is_open and any(each.has_loaded for each in self._children.values())
        if not has_served and not others_serve:
            self._end(status or 1, child.line or f"Cannot serve: worker {child.index} ended with status {status}")
            return
        if time.monotonic() - child.started > self._times.steady:
            self._deaths[child.index] = 0
        seconds = min(self._times.again_first * 2 ** self._deaths[child.index], self._times.again_last)
        self._deaths[child.index] += 1
        self._again[child.index] = time.monotonic() + seconds
        reason = child.line or "none given"
        logs.event("worker_died", level=40, worker=child.index, status=status, again_in=seconds, reason=reason)

    def _end(self, status: int, line: str) -> None:
        self._result = (status, line)
        self._kill_at = time.monotonic() + self._times.drain
        self._again.clear()
        for child in self._children.values():
            child.process.terminate()
