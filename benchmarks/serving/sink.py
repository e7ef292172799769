"""A collector that keeps nothing, so that the monitor delivers as in production: `python -m ...sink PORT`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import uvloop

from seamark_predictor.http1 import Limits, Request, Server, listener

__all__ = ["main", "serve"]

_HEADERS = b"content-type: application/json\r\n"


class _Application:
    def __init__(self, work: Callable[[bytes], bytes]) -> None:
        self._work = work

    def handle(self, request: Request) -> None:
        request.respond(200, _HEADERS, self._work(request.body))


async def serve(work: Callable[[bytes], bytes], port: int) -> None:
    """Answers every body with what `work` makes of it, until the process is killed."""
    server = Server(_Application(work), Limits(body=1 << 28, budget=1 << 29))
    server.start(listener("127.0.0.1", port, shared=False, backlog=1024))
    await asyncio.Event().wait()


def main() -> None:
    """Serves until it is killed."""
    uvloop.run(serve(lambda _: b"{}", int(sys.argv[1])))


if __name__ == "__main__":
    main()
