"""One bounded GET of JSON from a service in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import aiohttp
import msgspec

from seamark.errors import Unavailable

__all__ = ["Fetcher"]

_T = TypeVar("_T")


class Fetcher:
    """Keeps the connections to one service. No proxy of the environment is used, and no redirect is followed.

    timeout: seconds for a whole answer; limit: its bytes at most.
    """

    def __init__(self, base: str, timeout: float, limit: int) -> None:
        self._base = base.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, path: str, kind: type[_T], params: Mapping[str, str] | None = None, token: str | None = None
    ) -> _T:
        """The answer as `kind`. Raises `Unavailable`: no answer in time, a status other than 200, or unreadable."""
        try:
            return msgspec.json.decode(await self._content(path, params, token), type=kind)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            cause = str(error) or type(error).__name__
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            cause = f"unreadable: {error}"
        raise Unavailable(f"Cannot read {self._base}{path}: {cause[:300]}")

    async def _content(self, path: str, params: Mapping[str, str] | None, token: str | None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._open().get(
            self._base + path, params=params, headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise aiohttp.ClientError(f"status {response.status}")
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._limit:
                    raise aiohttp.ClientError(f"more than {self._limit} bytes")
            return bytes(content)

    def _open(self) -> aiohttp.ClientSession:
        """Made at the first use: a session belongs to the loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        return self._session
