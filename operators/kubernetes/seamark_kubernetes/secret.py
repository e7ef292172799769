"""A bearer token in a file, read at every use: the kubelet replaces the file when the Secret changes."""

from __future__ import annotations

from pathlib import Path

from seamark.errors import Unavailable

__all__ = ["read_token"]

#: Bytes of a token file.
LIMIT = 4096


def read_token(path: Path) -> str:
    """The token without surrounding white space. Raises `Unavailable` when there is none to read now."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
        token = content.decode("ascii").strip()
    except OSError as error:
        raise Unavailable(f"Cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unavailable(f"Cannot read {path}: it is not ASCII") from error
    if not token or len(content) > LIMIT or not token.isprintable():
        raise Unavailable(f"Cannot use {path}: it holds no single token of 1 to {LIMIT} printable characters")
    return token
