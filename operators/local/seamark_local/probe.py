"""Asking a child over HTTP whether it is ready, and what follows from its answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from seamark_local.ports import LOOPBACK

__all__ = ["Answer", "Health", "ask"]

#: Seconds for one answer: generous, because everything shares a laptop's cores.
PATIENCE = 2.0
MAX_ANSWER = 4096
MAX_WORDS = 300
#: Failures in a row after which a process that was ready no longer counts as ready.
FAILURES = 3
#: Seconds without any answer after which a process hangs and is restarted; longer while it starts.
SILENT_LIMIT = 30.0
START_LIMIT = 60.0
#: Seconds of saying "not ready" after which a restart is tried.
UNREADY_LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status, and what the body of a refusal says in one line."""

    status: int
    text: str = ""

    @property
    def ready(self) -> bool:
        return self.status == 200


async def ask(port: int, path: str, host: str = LOOPBACK) -> Answer | None:
    """The answer of the server, or None when it gives none that can be read in time."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _get(host, port, path)
    except (OSError, ValueError, IndexError, EOFError, TimeoutError):
        return None


async def _get(host: str, port: int, path: str) -> Answer:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        return Answer(status, "" if status == 200 else _words(await _body(reader)))
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    while (await reader.readline()).strip():
        continue
    content = b""
    while len(content) < MAX_ANSWER and (piece := await reader.read(MAX_ANSWER - len(content))):
        content += piece
    return content


def _words(body: bytes) -> str:
    """What a person is told: the error of a JSON body, else its first line."""
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    return (error if isinstance(error, str) else text).partition("\n")[0][:MAX_WORDS]


class Health:
    """What the answers of one process add up to. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.ready = False
        self.message = ""
        self._was_ready = False
        self._failures = 0
        self._ready_at = now
        self._answered_at = now
        self._answered = False

    @property
    def was_ready(self) -> bool:
        return self._was_ready

    def record(self, now: float, answer: Answer | None) -> None:
        if answer:
            self._answered = True
            self._answered_at = now
        if answer and answer.ready:
            self.ready, self.message = True, ""
            self._was_ready = True
            self._failures = 0
            self._ready_at = now
            return
        self._failures += 1
        if self.ready and self._failures < FAILURES:
            return
        self.ready = False
        if answer:
            self.message = answer.text or f"answers {answer.status}"
        elif self._was_ready:
            self.message = "does not answer"

    def hangs(self, now: float) -> str:
        """Why the process should be restarted, or ""."""
        silent = SILENT_LIMIT if self._answered else START_LIMIT
        if now - self._answered_at > silent:
            return f"no answer for {silent:g} s"
        if now - self._ready_at > UNREADY_LIMIT:
            return f"not ready for {UNREADY_LIMIT:g} s: {self.message}"
        return ""
