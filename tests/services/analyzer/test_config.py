"""Settings are taken up when they change; broken or missing ones keep the last good ones in force, and are reported."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from seamark_analyzer import config
from seamark_analyzer.config import ConfigAddress, ConfigFile, open_config
from seamark_analyzer.settings import Settings

T = TypeVar("T")


def encode(**fields: Any) -> bytes:
    model = {"window": 3600, "interval": 300, "champion": "m-1", "revisions": {"m-1": {"package": "/p"}}}
    return json.dumps({"models": {"m": {**model, **fields}}}).encode()


def write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def refresh(file: ConfigFile) -> Settings | None:
    return asyncio.run(file.refresh())


def test_the_form_of_the_source_decides_how_it_is_read(tmp_path: Path) -> None:
    assert isinstance(open_config(str(tmp_path / "http")), ConfigFile)
    assert isinstance(open_config("http://operator:8084/v1/watch"), ConfigAddress)
    assert isinstance(open_config("https://operator/v1/watch"), ConfigAddress)


def test_a_file_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    file = ConfigFile(tmp_path / "analyzer.json")
    assert refresh(file) is None
    assert file.problem == f"Cannot read {tmp_path / 'analyzer.json'}: No such file or directory"
    write(tmp_path / "analyzer.json", encode())
    settings = refresh(file)
    assert settings is not None
    assert list(settings.models) == ["m"]
    assert file.problem == ""


def test_a_broken_file_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"
    write(path, encode())
    file = ConfigFile(path)
    good = refresh(file)
    write(path, encode(window=-1))
    assert refresh(file) is good
    assert "window" in file.problem
    assert refresh(file) is good
    assert "window" in file.problem
    path.unlink()
    assert refresh(file) is good
    assert "No such file" in file.problem
    write(path, encode(window=10))
    settings = refresh(file)
    assert settings is not None
    assert settings.models["m"].window == 10
    assert file.problem == ""


def test_a_file_put_back_as_it_was_is_good_again(tmp_path: Path) -> None:
    path = tmp_path / "analyzer.json"
    write(path, encode())
    file = ConfigFile(path)
    refresh(file)
    path.rename(tmp_path / "aside")
    refresh(file)
    assert file.problem
    (tmp_path / "aside").rename(path)
    refresh(file)
    assert file.problem == ""


def with_address(url: str, use: Callable[[ConfigAddress], Awaitable[T]]) -> T:
    async def run() -> T:
        address = ConfigAddress(url)
        try:
            return await use(address)
        finally:
            await address.close()

    return asyncio.run(run())


def test_an_unchanged_address_is_not_sent_again(site: Any) -> None:
    async def use(address: ConfigAddress) -> None:
        site.show(encode(), '"one"')
        first = await address.refresh()
        assert first is not None
        assert await address.refresh() is first
        site.show(encode(window=10), '"two"')
        second = await address.refresh()
        assert second is not None
        assert second.models["m"].window == 10
        assert address.problem == ""

    with_address(site.url, use)
    assert site.asked == [None, '"one"', '"one"']
    assert site.answered == [200, 304, 200]


def test_without_an_etag_the_same_content_is_the_same_settings(site: Any) -> None:
    async def use(address: ConfigAddress) -> None:
        site.show(encode())
        first = await address.refresh()
        assert await address.refresh() is first

    with_address(site.url, use)
    assert site.asked == [None, None]


def test_broken_content_keeps_the_last_good_settings_and_its_problem_stays(site: Any) -> None:
    async def use(address: ConfigAddress) -> None:
        site.show(encode(), '"good"')
        good = await address.refresh()
        site.show(encode(window=-1), '"bad"')
        for _ in range(2):  # the second time it is not even sent
            assert await address.refresh() is good
            assert address.problem.startswith(f"Cannot read {site.url}: $.models.m.window: ")
        site.show(encode(), '"good"')
        assert await address.refresh() is good
        assert address.problem == ""

    with_address(site.url, use)
    assert site.answered == [200, 200, 304, 200]


@pytest.mark.parametrize("status", [304, 404, 500, 503, 302])
def test_another_status_keeps_the_last_good_settings(site: Any, status: int) -> None:
    async def use(address: ConfigAddress) -> None:
        site.status = status
        assert await address.refresh() is None
        assert address.problem == f"Cannot read {site.url}: it answered {status}"
        site.show(encode())
        good = await address.refresh()
        assert good is not None
        site.status = status
        assert await address.refresh() is good
        assert address.problem == f"Cannot read {site.url}: it answered {status}"

    with_address(site.url, use)


def test_content_over_the_limit_is_not_read_to_its_end(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "LIMIT", len(encode()))

    async def use(address: ConfigAddress) -> None:
        site.show(encode())
        good = await address.refresh()
        assert good is not None
        site.show(encode() + b" ")
        assert await address.refresh() is good
        assert address.problem == f"Cannot read {site.url}: its body is longer than {len(encode())} bytes"

    with_address(site.url, use)


def test_an_address_that_is_silent_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/watch"

        async def use(address: ConfigAddress) -> str:
            assert await address.refresh() is None
            return address.problem

        assert with_address(url, use) in [f"Cannot read {url}: {name}" for name in ("TimeoutError", "ReadTimeout")]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1/watch", "http://[::bad/", "http://x:99999999/"])
def test_an_address_nobody_answers_is_a_problem(url: str) -> None:
    async def use(address: ConfigAddress) -> str:
        assert await address.refresh() is None
        return address.problem

    assert with_address(url, use).startswith(f"Cannot read {url}: ")
