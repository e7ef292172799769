"""Packages come whole and of the right digest, from folders or monitors, once each; none holds a tick up for long."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from seamark.errors import InvalidPackage, SeamarkError, Unavailable
from seamark_analyzer import packages as module
from seamark_analyzer.packages import Packages
from seamark_analyzer.settings import RevisionSource

T = TypeVar("T")


def digest_of(folder: str) -> str:
    return hashlib.sha256((Path(folder) / "seamark.json").read_bytes()).hexdigest()


def fetched(folder: str, *monitors: Any) -> RevisionSource:
    """As an operator's watch list names a package: by digest, to be had from its monitors."""
    return RevisionSource(digest=digest_of(folder), targets=tuple(monitor.url for monitor in monitors))


def with_packages(use: Callable[[Packages], Awaitable[T]], clock: Callable[[], float] | None = None) -> T:
    async def run() -> T:
        packages = Packages(clock) if clock else Packages()
        try:
            return await use(packages)
        finally:
            await packages.close()

    return asyncio.run(run())


def problem_of(source: RevisionSource, kind: type[SeamarkError]) -> str:
    async def use(packages: Packages) -> str:
        with pytest.raises(kind) as caught:
            await packages.get(source)
        return str(caught.value)

    return with_packages(use)


def test_a_folder_is_read_once(world: Any) -> None:
    folder = world.package("v1")

    async def use(packages: Packages) -> None:
        first = await packages.get(RevisionSource(folder))
        assert first.manifest.version == "1"
        assert await packages.get(RevisionSource(folder)) is first
        assert await packages.get(RevisionSource(folder, digest_of(folder))) is not first  # that digest was not checked

    with_packages(use)


def test_a_folder_of_another_digest_is_refused(world: Any) -> None:
    folder = world.package("v1")
    assert problem_of(RevisionSource(folder, "0" * 64), InvalidPackage) == (
        f"Cannot use {folder}/seamark.json: its SHA-256 is {digest_of(folder)}, the settings say {'0' * 64}"
    )


def test_a_monitor_gives_the_package_once_for_all_models(world: Any) -> None:
    folder = world.package("v1")
    monitor = world.monitor("m-1", package=folder)

    async def use(packages: Packages) -> None:
        first, second = await asyncio.gather(*(packages.get(fetched(folder, monitor)) for _ in range(2)))
        assert first is second
        assert first.profile == world.profile

    with_packages(use)
    assert monitor.packages_served == 2  # two files


def test_an_address_with_a_mark_is_asked_without_it(world: Any) -> None:
    folder = world.package("v1")
    monitor = world.monitor("m-1", package=folder)
    source = RevisionSource(digest=digest_of(folder), targets=(f"{monitor.url}?x=1#pod-1",))
    assert with_packages(lambda packages: packages.get(source)).profile == world.profile


def test_the_first_monitor_that_has_it_is_enough(world: Any) -> None:
    folder, other = world.package("v1"), world.package("v2")
    wrong, bare, good = (world.monitor("m-1", package=one) for one in (other, "", folder))
    assert with_packages(lambda packages: packages.get(fetched(folder, wrong, bare, good))).manifest.version == "1"


def test_a_manifest_of_another_digest_is_refused(world: Any) -> None:
    folder, other = world.package("v1"), world.package("v2")
    source = fetched(folder, world.monitor("m-1", package=other))
    problem = problem_of(source, Unavailable)
    assert problem.startswith(f"Cannot fetch package {digest_of(folder)[:12]}: Cannot use http://127.0.0.1:")
    assert f"its SHA-256 is {digest_of(other)}, the settings say {digest_of(folder)}" in problem


def test_an_altered_profile_is_refused(world: Any) -> None:
    folder = world.package("v1")
    source = fetched(folder, world.monitor("m-1", package=folder))
    profile = Path(folder) / "profile.json"
    profile.write_bytes(profile.read_bytes().replace(b"4000", b"4001"))
    problem = problem_of(source, Unavailable)
    assert "/package/profile.json: its SHA-256 is" in problem
    assert "seamark.json says" in problem


def test_a_file_over_the_limit_is_not_read_to_its_end(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1000)
    folder = world.package("v1")
    problem = problem_of(fetched(folder, world.monitor("m-1", package=folder)), Unavailable)
    assert problem.endswith("/package/profile.json: its body is longer than 1000 bytes")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/metrics", "http://[::bad/metrics"])
def test_a_monitor_that_cannot_be_reached_is_named(url: str) -> None:
    problem = problem_of(RevisionSource(digest="a" * 64, targets=(url,)), Unavailable)
    assert problem.startswith("Cannot fetch package aaaaaaaaaaaa: Cannot read http://")


def test_without_a_monitor_there_is_nobody_to_ask() -> None:
    problem = problem_of(RevisionSource(digest="a" * 64), Unavailable)
    assert problem == "Cannot fetch package aaaaaaaaaaaa: no monitor that has it is known"


def test_attempts_wait_longer_and_longer_and_ask_others(world: Any) -> None:
    """Four silent monitors come first; the fifth has it."""
    folder = world.package("v1")
    bare = [world.monitor("m-1") for _ in range(4)]
    good = world.monitor("m-1", package=folder)
    source = fetched(folder, *bare, good)
    now = 0.0

    async def use(packages: Packages) -> None:
        nonlocal now
        for _ in range(3):  # asked in vain, and then not again before its time
            with pytest.raises(Unavailable):
                await packages.get(source)
        assert good.packages_served == 0
        now = module.FIRST_DELAY - 0.01
        with pytest.raises(Unavailable):
            await packages.get(source)
        now = module.FIRST_DELAY
        assert (await packages.get(source)).manifest.version == "1"

    with_packages(use, lambda: now)
    assert good.packages_served == 2


def test_the_longest_wait_is_bounded() -> None:
    now = 0.0
    source = RevisionSource(digest="a" * 64, targets=("http://127.0.0.1:1/metrics",))

    async def use(packages: Packages) -> float:
        nonlocal now
        for _ in range(12):
            with pytest.raises(Unavailable):
                await packages.get(source)
            attempt = packages._attempts["a" * 64]
            waited = attempt.again - now
            now = attempt.again
        return waited

    assert with_packages(use, lambda: now) == module.LONGEST_DELAY


def test_a_slow_monitor_does_not_hold_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        problem = problem_of(RevisionSource(digest="a" * 64, targets=(url,)), Unavailable)
    assert problem == "Cannot use package aaaaaaaaaaaa yet: it is being fetched"


def test_what_no_settings_name_is_forgotten(world: Any) -> None:
    folder, other = world.package("v1"), world.package("v2")
    one, two = world.monitor("m-1", package=folder), world.monitor("m-2", package=other)

    async def use(packages: Packages) -> None:
        kept, gone = fetched(folder, one), fetched(other, two)
        first = await packages.get(kept)
        await packages.get(gone)
        with pytest.raises(Unavailable):
            await packages.get(RevisionSource(digest="a" * 64, targets=("http://127.0.0.1:1/metrics",)))
        packages.keep([RevisionSource(digest=kept.digest, targets=("http://elsewhere:9010/metrics",))])
        assert (len(packages._held), packages._attempts) == (1, {})
        assert await packages.get(kept) is first

    with_packages(use)
