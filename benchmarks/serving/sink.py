"""A collector that keeps nothing, so that the monitor delivers as in production: `python -m ...sink PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

__all__ = ["main"]


async def _take(_: Any, proto: Any) -> None:
    await proto()
    proto.response_bytes(200, [("content-type", "application/json")], b"{}")


def main() -> None:
    """Serves until it is killed."""
    server = Server(
        _take,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
