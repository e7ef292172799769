"""One HTTP GET, in bounded time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from seamark.errors import Unavailable

__all__ = ["Answer", "get", "make_client"]


@dataclass(frozen=True, slots=True)
class Answer:
    """etag is empty where there is none."""

    status: int
    etag: str
    body: bytes


def make_client(connections: int, kept_alive: float) -> httpx.AsyncClient:
    """A client for addresses inside the installation. kept_alive: seconds that an idle connection is used again."""
    return httpx.AsyncClient(
        trust_env=False,
        limits=httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=kept_alive
        ),
        # identity: a compressed body could be far longer than it looks
        headers={"accept-encoding": "identity"},
    )


async def get(
    client: httpx.AsyncClient, url: str, *, limit: int, seconds: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """The answer, whatever its status, with at most `limit` bytes of body; raises `Unavailable` with the cause."""
    try:
        async with asyncio.timeout(seconds), client.stream("GET", url, headers=headers, timeout=seconds) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    raise Unavailable(f"its body is longer than {limit} bytes")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
        raise Unavailable(str(error) or type(error).__name__) from error
    return Answer(response.status_code, response.headers.get("etag", ""), bytes(body))
