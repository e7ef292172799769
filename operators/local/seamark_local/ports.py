"""TCP ports on this machine."""

from __future__ import annotations

import socket
from collections.abc import Container

__all__ = ["LOOPBACK", "bind_error", "free_port", "is_free"]

LOOPBACK = "127.0.0.1"
TRIES = 100


def bind_error(host: str, port: int) -> str | None:
    """Why nobody can listen there now, in the system's words; None when one can.

    SO_REUSEADDR is what servers set: connections of a server that just ended do not make its port taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Two sockets may be bound with SO_REUSEADDR while neither listens.
            probe.listen(1)
    except socket.gaierror:
        return "it is not an IP address"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def is_free(port: int, host: str = LOOPBACK) -> bool:
    return bind_error(host, port) is None


def free_port(avoid: Container[int] = ()) -> int:
    """A port that nobody listens on now and that is not in `avoid`."""
    for _ in range(TRIES):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in avoid:
            return port
    raise OSError("no free port found")
