"""The page at `/docs`: one file that reads `/openapi.json` in the browser and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["CONTENT_TYPE", "Page", "page"]

CONTENT_TYPE = "text/html; charset=utf-8"

_POLICY = (
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """headers: name and value, the content security policy among them."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


@cache
def page() -> Page:
    """The page; the browser runs its own script and style and no others, and asks only this server."""
    text = files(__package__).joinpath("docs.html").read_text("utf-8")
    inline = {f"{kind}-src '{_hash(content)}'" for kind, content in _INLINE.findall(text)}
    policy = "; ".join(("default-src 'none'", *sorted(inline), *_POLICY))
    headers = (
        ("content-type", CONTENT_TYPE),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    )
    return Page(headers, text.encode())


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
