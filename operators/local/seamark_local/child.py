"""One child process: a session of its own that dies with the supervisor, whatever kills it.

Linux only: parent-death signal, process descriptors, /proc.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["MARK", "Child", "end_strays", "ended_text"]

#: Environment variable that marks every process of a home, so that strays can be found.
MARK = "SEAMARK_SUPERVISED_BY"
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> Callable[[], None]:
    """What a new child does before it becomes the program: ask to be killed when its parent's main thread ends."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the request; then nobody will send the signal.
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Child:
    """A running process, leader of its own group. `exited` gets the exit status; below zero: minus the signal.

    Made in the event loop's thread, which must be the main one. When the leader ends its whole group is killed.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Raises OSError when the program cannot be started."""
        loop = asyncio.get_running_loop()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Safe: the supervisor has one thread.
                preexec_fn=_die_with(os.getpid()),
            )
        self.pid = self._popen.pid
        self.exited: asyncio.Future[int] = loop.create_future()
        self._descriptor = os.pidfd_open(self.pid)
        loop.add_reader(self._descriptor, self._collect)

    def _collect(self) -> None:
        # Before the leader is waited for: until then its pid, and so the group's number, cannot be used again.
        self._signal_group(signal.SIGKILL)
        status = self._popen.wait()
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if not self.exited.done():
            self.exited.set_result(status)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def terminate(self) -> None:
        if not self.exited.done():
            # Not Popen.send_signal: it may wait for the leader, too early for `_collect`.
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if not self.exited.done():
            self._signal_group(signal.SIGKILL)

    async def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL to the group after `grace` seconds; returns when the process is gone."""
        self.terminate()
        await asyncio.wait({self.exited}, timeout=grace)
        self.kill()
        await asyncio.wait({self.exited})


def ended_text(status: int) -> str:
    """The exit status in words: `exit status 1`, `killed by SIGKILL`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def end_strays(root: Path) -> list[int]:
    """Kill what an earlier supervisor of this home left behind; call it while holding the lock. Returns the pids.

    A child dies with its supervisor, but a child's own child may not.
    """
    mark = f"{MARK}={root}".encode()
    strays = [pid for pid in _pids() if pid != os.getpid() and mark in _environment(pid)]
    for pid in strays:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return strays


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
