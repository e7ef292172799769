"""Where settings come from: a file that is replaced by rename, or an address that is polled.

Either way broken content, or none, leaves the last good settings in force.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from seamark.errors import SeamarkError, Unavailable
from seamark_analyzer.fetch import get, make_client
from seamark_analyzer.settings import Settings, parse_settings

__all__ = ["Config", "ConfigAddress", "ConfigFile", "open_config"]

#: Bytes of the settings; 1000 models of a few replicas need less than one MiB.
LIMIT = 16 * 2**20
#: Seconds for the address to answer.
TIMEOUT = 2.0
#: Seconds an idle connection to the address is used again; a poll comes sooner.
KEPT_ALIVE = 5.0


class Config(Protocol):
    """`settings`: the newest good ones, None until there are any. `problem`: what is wrong now, "" if nothing is."""

    settings: Settings | None
    problem: str

    @property
    def period(self) -> float:
        """Seconds between two looks."""

    async def refresh(self) -> Settings | None:
        """Look again; answers `settings`, the same object where nothing changed."""

    async def close(self) -> None: ...


def open_config(source: str) -> Config:
    """The settings at a path or an http(s) address."""
    return ConfigAddress(source) if source.startswith(("http://", "https://")) else ConfigFile(Path(source))


class ConfigFile:
    """Reads the file again when its inode, size or modification time changes."""

    period = 0.25

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.settings: Settings | None = None
        self.problem = f"Cannot read {path}: it was not looked at yet"

    async def refresh(self) -> Settings | None:
        try:
            self._read_if_changed()
        except (OSError, SeamarkError) as error:
            self.problem = f"Cannot read {self._path}: {_cause(error)}"
            if isinstance(error, OSError):
                self._seen = None
        return self.settings

    def _read_if_changed(self) -> None:
        with self._path.open("rb") as file:
            stat = os.fstat(file.fileno())
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            if stat.st_size > LIMIT:
                raise Unavailable(f"it has {stat.st_size} bytes; allowed: {LIMIT}")
            content = file.read(LIMIT)
        self._seen = seen
        self.settings = parse_settings(content)
        self.problem = ""

    async def close(self) -> None:
        """Nothing is held open."""


def _cause(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


class ConfigAddress:
    """Asks the address; while it answers the same `ETag`, the content is not sent again."""

    period = 1.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = make_client(1, KEPT_ALIVE)
        self._etag = ""
        #: What is wrong with the content that has this ETag.
        self._refused = ""
        self.settings: Settings | None = None
        self.problem = f"Cannot read {url}: it was not asked yet"

    async def refresh(self) -> Settings | None:
        try:
            await self._ask()
        except SeamarkError as error:
            self.problem = f"Cannot read {self._url}: {error}"
        else:
            self.problem = self._refused
        return self.settings

    async def _ask(self) -> None:
        headers = {"accept": "application/json"} | ({"if-none-match": self._etag} if self._etag else {})
        answer = await get(self._client, self._url, limit=LIMIT, seconds=TIMEOUT, headers=headers)
        if answer.status == 304 and self._etag:
            return
        if answer.status != 200:
            raise Unavailable(f"it answered {answer.status}")
        self._etag, self._refused = answer.etag, ""
        try:
            settings = parse_settings(answer.body)
        except SeamarkError as error:
            self._refused = f"Cannot read {self._url}: {error}"
            return
        if settings != self.settings:
            self.settings = settings

    async def close(self) -> None:
        await self._client.aclose()
