"""Model packages' manifests and reference profiles, from folders or from monitors, checked against their digests."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from seamark.errors import InvalidPackage, SeamarkError, Unavailable
from seamark.package import Manifest, parse_manifest
from seamark.profile import Profile, parse_profile
from seamark_analyzer.fetch import get, make_client
from seamark_analyzer.settings import RevisionSource

__all__ = ["Package", "Packages", "read_package"]

#: Bytes of one file; ten thousand features of twelve bins need less.
LIMIT = 64 * 2**20
#: Seconds for one file to arrive, and for the first answer to wait for it, so that a quick one is no trouble.
TIMEOUT = 10.0
PATIENCE = 1.0
#: Seconds between two attempts to fetch a package: at first, and at most.
FIRST_DELAY = 1.0
LONGEST_DELAY = 15.0
#: Seconds that an idle connection to a monitor is used again: shorter than the monitor's own limit.
KEPT_ALIVE = 2.0
#: Monitors asked in one attempt; the next asks the next ones.
MOST_ASKED = 3
#: Packages fetched at the same time; each may hold two files in memory.
MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Package:
    manifest: Manifest
    profile: Profile


def read_package(folder: Path, digest: str | None = None) -> Package:
    """The package in `folder`, of this digest if one is given, or `InvalidPackage` saying why it cannot be used."""
    return _checked(str(folder), _read(folder / "seamark.json"), _read(folder / "profile.json"), digest)


def _checked(place: str, manifest: bytes, profile: bytes, digest: str | None) -> Package:
    """place: where the files came from, for messages."""
    if digest is not None:
        _digest_matches(f"{place}/seamark.json", manifest, digest, "the settings say")
    parsed = parse_manifest(manifest)
    _digest_matches(f"{place}/profile.json", profile, parsed.profile_sha256, "seamark.json says")
    return Package(parsed, parse_profile(profile))


def _digest_matches(name: str, content: bytes, wanted: str, who: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise InvalidPackage(f"Cannot use {name}: its SHA-256 is {found}, {who} {wanted}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise InvalidPackage(f"Cannot read {path}: {error.strerror}") from error
    if len(content) > LIMIT:
        raise InvalidPackage(f"Cannot read {path}: it is longer than {LIMIT} bytes")
    return content


@dataclass(slots=True)
class _Attempt:
    """The latest attempt to fetch a package. begun, again: when it began, when the next may (monotonic seconds)."""

    task: asyncio.Task[Package]
    begun: float
    failures: int
    again: float = math.inf


class Packages:
    """All models' packages, each read or fetched once and kept while some settings name it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._client = make_client(MOST_AT_ONCE, KEPT_ALIVE)
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._held: dict[tuple[str, str | None], Package] = {}
        self._attempts: dict[str, _Attempt] = {}

    async def get(self, source: RevisionSource) -> Package:
        """The package; raises `InvalidPackage`, or `Unavailable` while it cannot be had. Soon answers either way."""
        key = _key(source)
        if key not in self._held:
            if source.package:
                self._held[key] = await asyncio.to_thread(read_package, Path(source.package), source.digest)
            else:
                self._held[key] = await self._fetched(source)
        return self._held[key]

    def keep(self, sources: Iterable[RevisionSource]) -> None:
        """Forget all packages but these."""
        keys = {_key(source) for source in sources}
        self._held = {key: package for key, package in self._held.items() if key in keys}
        for digest in [digest for digest in self._attempts if ("", digest) not in keys]:
            self._attempts.pop(digest).task.cancel()

    async def close(self) -> None:
        tasks = [attempt.task for attempt in self._attempts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _fetched(self, source: RevisionSource) -> Package:
        digest = source.digest or ""
        if not source.targets:
            raise Unavailable(f"Cannot fetch package {digest[:12]}: no monitor that has it is known")
        attempt = self._attempts.get(digest)
        if attempt is None or self._clock() >= attempt.again:
            attempt = self._begin(digest, source.targets, attempt.failures if attempt else 0)
        if self._clock() < attempt.begun + PATIENCE:
            await asyncio.wait({attempt.task}, timeout=PATIENCE)
        if not attempt.task.done():
            raise Unavailable(f"Cannot use package {digest[:12]} yet: it is being fetched")
        if attempt.task.cancelled():
            raise Unavailable(f"Cannot use package {digest[:12]}: it is no longer asked for")
        try:
            package = attempt.task.result()
        except SeamarkError as error:
            raise Unavailable(f"Cannot fetch package {digest[:12]}: {error}") from error
        self._attempts.pop(digest, None)
        return package

    def _begin(self, digest: str, targets: tuple[str, ...], failures: int) -> _Attempt:
        task = asyncio.create_task(self._fetch(digest, _turned(targets, failures * MOST_ASKED)))
        attempt = self._attempts[digest] = _Attempt(task, self._clock(), failures)
        task.add_done_callback(lambda done: self._settle(attempt, done))
        return attempt

    def _settle(self, attempt: _Attempt, done: asyncio.Task[Package]) -> None:
        if done.cancelled() or done.exception() is None:
            return
        attempt.again = self._clock() + min(FIRST_DELAY * 2**attempt.failures, LONGEST_DELAY)
        attempt.failures += 1

    async def _fetch(self, digest: str, targets: tuple[str, ...]) -> Package:
        """From the first target that has it; raises the last one's `SeamarkError`."""
        for number, target in enumerate(targets[:MOST_ASKED], 1):
            try:
                return await self._fetch_from(target, digest)
            except SeamarkError:
                if number == min(len(targets), MOST_ASKED):
                    raise
        raise AssertionError("there was no target")

    async def _fetch_from(self, target: str, digest: str) -> Package:
        try:
            place = str(httpx.URL(target).join("/package"))
        except httpx.InvalidURL as error:
            raise Unavailable(f"Cannot read {target}: {error}") from error
        async with self._slots:
            manifest = await self._file(f"{place}/seamark.json")
            profile = await self._file(f"{place}/profile.json")
            return await asyncio.to_thread(_checked, place, manifest, profile, digest)

    async def _file(self, url: str) -> bytes:
        try:
            answer = await get(self._client, url, limit=LIMIT, seconds=TIMEOUT)
        except Unavailable as error:
            raise Unavailable(f"Cannot read {url}: {error}") from error
        if answer.status != 200:
            raise Unavailable(f"Cannot read {url}: it answered {answer.status}")
        return answer.body


def _key(source: RevisionSource) -> tuple[str, str | None]:
    return source.package, source.digest


def _turned(targets: tuple[str, ...], by: int) -> tuple[str, ...]:
    start = by % len(targets)
    return targets[start:] + targets[:start]
