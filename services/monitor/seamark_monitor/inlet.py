"""The unix socket that the predictor writes to: length-prefixed MessagePack frames, from several senders at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from seamark.errors import Conflict
from seamark.records import Frame
from seamark_monitor import logs
from seamark_monitor.drops import Drops

__all__ = ["LONGEST_FRAME", "Inlet"]

LONGEST_FRAME = 16 * 1024 * 1024
#: Senders connected at a time.
_MOST_CONNECTIONS = 128
#: Frames longer than this are read one at a time, other senders of such wait: what bounds the memory.
_LARGE_FRAME = 256 * 1024
#: Seconds for a frame that began to arrive whole.
_FRAME_TIMEOUT = 30.0
#: When draining: seconds of silence that mean everything is read, and seconds at most.
_SILENCE, _LONGEST_DRAIN = 0.1, 1.0

_decoder = msgspec.msgpack.Decoder(Frame)


class Inlet:
    """Listens from `start` to `drain`; `take` gets every frame. A bad message closes its connection and is counted."""

    def __init__(self, path: Path, take: Callable[[Frame], None], drops: Drops) -> None:
        self._path = path
        self._take = take
        self._drops = drops
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._large = asyncio.Lock()
        self._frames = 0

    @property
    def listening(self) -> bool:
        return self._server is not None

    @property
    def connected(self) -> bool:
        """Whether a sender is there."""
        return bool(self._connections)

    async def start(self) -> None:
        """Raises `Conflict` where something else holds the path."""
        try:
            _remove_stale(self._path)
            self._server = await asyncio.start_unix_server(self._connected, self._path)
            self._path.chmod(0o660)
        except OSError as error:
            raise Conflict(f"Cannot listen on {self._path}: {error.strerror or error}") from error

    async def drain(self) -> None:
        """Takes no new connection, reads what was sent, and closes."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_DRAIN):
                await self._silence()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _silence(self) -> None:
        seen = -1
        while seen != self._frames:
            seen = self._frames
            await asyncio.sleep(_SILENCE)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._bad(f"there are {_MOST_CONNECTIONS} connections already")
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._read(reader)
        except (ConnectionError, TimeoutError) as error:
            logs.event("connection_lost", error=error or type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Frame after frame, until the sender goes or sends what is none."""
        while True:
            try:
                length = int.from_bytes(await reader.readexactly(4))
                if not 0 < length <= LONGEST_FRAME:
                    self._bad(f"it claims {length} bytes; 1 to {LONGEST_FRAME} are allowed")
                    return
                async with self._large if length > _LARGE_FRAME else contextlib.nullcontext():
                    async with asyncio.timeout(_FRAME_TIMEOUT):
                        frame = _decoder.decode(await reader.readexactly(length))
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    self._bad("the connection ended inside it")
                return
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._bad(str(error))
                return
            self._frames += 1
            self._take(frame)

    def _bad(self, cause: str) -> None:
        logs.event("frame_bad", cause=cause)
        self._drops.add("bad_frame")


def _remove_stale(path: Path) -> None:
    """A socket file outlives its process; only one that nobody listens on is removed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"Cannot listen on {path}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, TimeoutError):
            path.unlink()
            return
    raise Conflict(f"Cannot listen on {path}: another process listens on it")
