"""Access tokens: who holds one may do one thing to one deployment's log. HMAC-SHA256 over scope and expiry (RFC 2104).

A token is `<scope>.<expiry>.<signature>`: the scope as `read/default/churn`, the expiry in Unix seconds (0: never), the
signature in URL-safe base64. Its maker and its checker share a key and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

__all__ = ["MIN_KEY", "holds", "sign"]

#: Bytes of a key, at least: as many as the hash gives.
MIN_KEY = 32
_SCOPE = re.compile(r"[a-z0-9/-]{1,200}")
_EXPIRY = re.compile(r"0|[1-9][0-9]{0,11}")


def sign(key: bytes, scope: str, expires: int = 0) -> str:
    """A token for `scope` until `expires` (Unix seconds; 0: for ever). Raises `ValueError` for a short key."""
    if len(key) < MIN_KEY:
        raise ValueError(f"a key of {len(key)} bytes is shorter than {MIN_KEY}")
    if not _SCOPE.fullmatch(scope):
        raise ValueError(f"{scope!r} is not a scope of lower-case letters, digits, dashes and slashes")
    return f"{scope}.{expires}.{_signature(key, scope, str(expires))}"


def holds(key: bytes, token: str, scope: str, now: float) -> bool:
    """Does the token allow `scope` at `now` (Unix seconds)? Takes the same time for every wrong signature."""
    said, _, rest = token.partition(".")
    expiry, _, signature = rest.partition(".")
    if said != scope or not _EXPIRY.fullmatch(expiry):
        return False
    is_right = hmac.compare_digest(signature.encode(errors="replace"), _signature(key, said, expiry).encode())
    return is_right and (expiry == "0" or now < int(expiry))


def _signature(key: bytes, scope: str, expiry: str) -> str:
    digest = hmac.new(key, f"{scope}.{expiry}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
