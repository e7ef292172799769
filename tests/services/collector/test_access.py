"""Every route but two wants a token, the right one, and says which mistake it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from fastapi.routing import APIRoute

from seamark.errors import InvalidInput
from seamark.tokens import sign
from seamark_collector.access import Access, check_scope
from seamark_collector.app import OPEN, make_app
from seamark_collector.secret import SecretFile

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
FEEDBACK = "feedback-token-16"
NOW = 1_790_000_000.0


@pytest.fixture
def access(tmp_path: Path) -> Access:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    (tmp_path / "feedback").write_text(FEEDBACK + "\n")
    return Access(SecretFile(tmp_path / "key", 32), SecretFile(tmp_path / "feedback", 16), lambda: NOW)


Ask = Callable[[httpx.AsyncClient], Awaitable[Any]]


def ask(root: Path, access: Access, asked: Ask) -> Any:
    async def run() -> Any:
        app = make_app(str(root), access)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
                return await asked(client)

    return asyncio.run(run())


def routes(root: Path, access: Access) -> list[tuple[str, str]]:
    found = make_app(str(root), access).routes
    assert all(isinstance(route, APIRoute) for route in found)
    return [(method, route.path) for route in found if isinstance(route, APIRoute) for method in sorted(route.methods)]


def test_every_route_but_two_refuses_without_a_token_and_with_a_strangers(tmp_path: Path, access: Access) -> None:
    everything = routes(tmp_path, access)
    assert {path for _, path in everything} > OPEN == {"/healthz", "/readyz"}
    strangers = ("", f"Bearer {sign(OTHER_KEY, 'read/default/m')}")

    async def statuses(client: httpx.AsyncClient) -> set[tuple[str, int, str]]:
        answers = set()
        for method, path in everything:
            for header in strangers:
                address = path.format(namespace="default", deployment="m", kind="predictions")
                answer = await client.request(method, address, headers={"authorization": header})
                answers.add((path, answer.status_code, answer.headers.get("www-authenticate", "")))
        return answers

    expected = {(path, 200, "") if path in OPEN else (path, 401, "Bearer") for _, path in everything}
    assert ask(tmp_path, access, statuses) == expected


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("write/default/m", 200),
        ("write/default/other", 403),
        ("write/other/m", 403),
        ("read/default/m", 403),
    ],
)
def test_a_batch_needs_the_token_of_its_own_namespace_and_deployment(
    tmp_path: Path, access: Access, records: SimpleNamespace, held: str, status: int
) -> None:
    body = msgspec.msgpack.encode(records.batch())

    async def post(client: httpx.AsyncClient) -> httpx.Response:
        headers = {"content-type": "application/msgpack", "authorization": f"Bearer {sign(KEY, held)}"}
        return await client.post("/v1/batches", content=body, headers=headers)

    answer = ask(tmp_path / "log", access, post)
    assert answer.status_code == status
    if status == 403:
        assert answer.json() == {"error": f"Cannot allow write/default/m: the token is for {held}"}
        assert not (tmp_path / "log" / "predictions").exists()


@pytest.mark.parametrize("path", ["/v1/log/default/m", "/v1/export/default/m/predictions"])
@pytest.mark.parametrize(
    ("held", "status"),
    [("read/default/m", 404), ("read/default/other", 403), ("read/other/m", 403), ("write/default/m", 403)],
)
def test_reading_needs_the_token_of_that_log(tmp_path: Path, access: Access, path: str, held: str, status: int) -> None:
    async def get(client: httpx.AsyncClient) -> int:
        return (await client.get(path, headers={"authorization": f"Bearer {sign(KEY, held)}"})).status_code

    assert ask(tmp_path, access, get) == status


@pytest.mark.parametrize(
    ("token", "status"),
    [(FEEDBACK, 200), (FEEDBACK + "x", 401), (FEEDBACK[:-1], 401), ("\u00e9" * 16, 401)],
)
def test_feedback_needs_its_own_token(tmp_path: Path, access: Access, token: str, status: int) -> None:
    async def post(client: httpx.AsyncClient) -> int:
        document = {"deployment": "m", "labels": [{"prediction_id": "a", "label": 1}]}
        headers = {"authorization": f"bearer {token}".encode("latin-1")}
        return (await client.post("/v1/feedback", json=document, headers=headers)).status_code

    assert ask(tmp_path, access, post) == status


def test_a_body_is_not_read_before_the_header_is_checked(tmp_path: Path, access: Access) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async def post(client: httpx.AsyncClient) -> list[int]:
        paths = ("/v1/batches", "/v1/feedback")
        return [(await client.post(path, content=never())).status_code for path in paths]

    assert ask(tmp_path, access, post) == [401, 401]


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ("", "the request has no header"),
        ("Bearer", "the request has no header"),
        ("Basic abc", "the request has no header"),
        ("Bearer x", "the token is not valid here"),
        (f"Bearer {sign(KEY, 'read/default/m', int(NOW))}", "the token is not valid here, or no longer"),
        (f"Bearer {sign(OTHER_KEY, 'read/default/m')}", "the token is not valid here"),
        (f"Bearer {sign(KEY, 'read/default/m')}x", "the token is not valid here"),
    ],
)
def test_a_token_that_says_nothing_is_401_with_the_cause(access: Access, header: str, cause: str) -> None:
    with pytest.raises(InvalidInput, match=cause) as error:
        access.scope(header)
    assert error.value.status == 401


@pytest.mark.parametrize("expires", [0, int(NOW) + 1])
def test_a_token_holds_until_it_expires(access: Access, expires: int) -> None:
    assert access.scope(f"bearer  {sign(KEY, 'read/default/m', expires)} ") == "read/default/m"


def test_without_the_options_everything_is_open() -> None:
    access = Access()
    assert access.scope("") is None
    access.check_feedback("")
    check_scope(None, "read/default/m")
    assert access.problem == ""


def test_a_key_that_changes_lets_the_new_tokens_in_and_the_old_ones_not(access: Access, tmp_path: Path) -> None:
    old, new = (f"Bearer {sign(key, 'read/default/m')}" for key in (KEY, OTHER_KEY))
    assert access.scope(old) == "read/default/m"
    (tmp_path / "new").write_bytes(OTHER_KEY)
    (tmp_path / "new").rename(tmp_path / "key")
    assert access.scope(new) == "read/default/m"
    with pytest.raises(InvalidInput):
        access.scope(old)


def test_a_key_that_is_gone_refuses_for_now_and_unready_says_why(access: Access, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()

    async def get(client: httpx.AsyncClient) -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {sign(KEY, 'read/default/m')}"}
        return [await client.get(path, headers=headers) for path in ("/v1/log/default/m", "/readyz", "/healthz")]

    log, ready, alive = ask(tmp_path, access, get)
    assert (log.status_code, ready.status_code, alive.status_code) == (503, 503, 200)
    assert log.json() == ready.json() == {"error": f"Cannot read {tmp_path}/key: no such file or directory"}
