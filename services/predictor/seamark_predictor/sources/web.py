"""Models from web servers: a file, or an archive of a folder."""

from __future__ import annotations

import base64
import http.client
import re
import socket
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from seamark.errors import InvalidPackage
from seamark_predictor.sources import archive
from seamark_predictor.sources.address import inside, shown, without_secrets
from seamark_predictor.sources.limits import Budget, Limits

__all__ = ["download"]

_CHUNK = 1024 * 1024
#: Seconds without a byte.
_SILENCE = 30.0
#: Answers that may be others a little later.
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_PORT = re.compile(r":(\d+)?$")


class _Again(Exception):  # noqa: N818  # a fact: this try failed and another may not
    """Why a try failed."""


def download(uri: str, into: Path, limits: Limits) -> None:
    """Puts the file into the folder under its own name, or what is in it if it is an archive."""
    budget = Budget(limits, shown(uri))
    parts = urlsplit(uri)
    name = unquote(parts.path.rstrip("/").rpartition("/")[2])
    if not parts.hostname or not name or "/" in name:
        raise InvalidPackage(f"Cannot fetch {budget.what}: http(s)://HOST/.../FILE is needed")
    budget.file()
    file = inside(into, name, budget.what)
    _fetch(_request(parts), file, budget)
    if archive.is_archive(name):
        archive.unpack(file, into, budget)


def _request(parts: SplitResult) -> Request:
    """User and password go into a header: the client would take them for a part of the host."""
    host = parts.netloc.rpartition("@")[2]
    request = Request(parts._replace(netloc=host, fragment="").geturl())  # noqa: S310  # the scheme is http or https
    # What is stored, as it is stored: the digest is over these bytes.
    request.add_header("Accept-Encoding", "identity")
    request.add_header("User-Agent", "seamark-predictor")
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        # Not sent on to wherever this host redirects.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    return request


def _fetch(request: Request, file: Path, budget: Budget) -> None:
    tried = 0
    while True:
        tried += 1
        try:
            _try(request, file, budget)
            return
        except _Again as error:
            if not budget.pause(tried):
                raise InvalidPackage(f"Cannot fetch {budget.what}: {error} (tried {tried} times)") from error


def _try(request: Request, file: Path, budget: Budget) -> None:
    taken = 0
    try:
        with (
            build_opener(_Redirects).open(request, timeout=min(_SILENCE, max(budget.seconds_left(), 0.1))) as answer,
            file.open("wb") as written,
        ):
            announced = answer.headers.get("Content-Length", "")
            if announced.isdecimal():
                budget.fits(int(announced))
            while chunk := answer.read1(_CHUNK):
                budget.take(len(chunk))
                taken += len(chunk)
                written.write(chunk)
        if announced.isdecimal() and taken != int(announced):
            raise _Again(f"{taken} of {announced} bytes came")
    except HTTPError as error:
        error.close()
        problem = f"the server answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
        if error.code not in _AGAIN:
            raise InvalidPackage(f"Cannot fetch {budget.what}: {problem}") from None
        raise _Again(problem) from None
    except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        budget.give_back(taken)
        raise _Again(_cause(error)) from None
    except _Again:
        budget.give_back(taken)
        raise


def _cause(error: Exception) -> str:
    reason: Any = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return "it did not answer in time"
    if isinstance(reason, socket.gaierror):
        return f"its host is not known ({reason.strerror})"
    return without_secrets(getattr(reason, "strerror", None) or f"{type(reason).__name__}: {reason}")


class _Redirects(HTTPRedirectHandler):
    """Follows to http and https only, and never from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise InvalidPackage(f"Cannot fetch {shown(req.full_url)}: it redirects to {scheme[:20]}; https is needed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
