"""The log through a collector: `GET /v1/export/...`, an Arrow stream."""

from __future__ import annotations

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlencode

import pyarrow as pa

from seamark.errors import Unavailable, UserError
from seamark_trainer.source import Kind

__all__ = ["Collector"]

log = logging.getLogger(__name__)

#: Seconds without a byte.
TIMEOUT = 60.0
#: Seconds to wait before each further attempt, about a minute in all.
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: Answers that another attempt may change.
_LATER = (429, 502, 503, 504)
_CONTENT_TYPE = "application/vnd.apache.arrow.stream"
_LONGEST_REASON = 500


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token elsewhere."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


#: Environment proxies are for the world outside; the collector is next door.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


class Collector:
    """A `Source`. The token goes nowhere but into the request's header."""

    def __init__(self, address: str, namespace: str, deployment: str, token: str) -> None:
        self._address = address.rstrip("/")
        self._deployment = f"{namespace}/{deployment}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def read(
        self, kind: Kind, names: Sequence[str], since: datetime, reduce: Callable[[pa.RecordBatchReader], pa.Table]
    ) -> tuple[pa.Table, int]:
        """See `Source`. A collector that is away or busy is asked again for about a minute."""
        query = urlencode({"columns": ",".join(names), "since": repr(since.timestamp())})
        address = f"{self._address}/v1/export/{self._deployment}/{kind}"
        for wait in (*WAITS, None):
            try:
                return self._once(f"{address}?{query}", reduce)
            except Unavailable as error:
                if wait is None:
                    raise UserError(f"cannot read {address}: {error}") from error
                log.warning("event=export_unavailable address=%s wait=%g error=%r", address, wait, str(error))
                time.sleep(wait)
            except UserError as error:
                raise UserError(f"cannot read {address}: {error}") from error
        raise AssertionError("the last attempt returns or raises")

    def _once(self, address: str, reduce: Callable[[pa.RecordBatchReader], pa.Table]) -> tuple[pa.Table, int]:
        """`Unavailable` where another attempt may help."""
        request = urllib.request.Request(address, headers=self._headers)  # noqa: S310  # http: and https: only, see environment
        try:
            with _opener.open(request, timeout=TIMEOUT) as response:
                version, body = _version(response), _Body(response)
                with pa.ipc.open_stream(pa.PythonFile(body, "r")) as rows:
                    found = reduce(rows)
                if not body.is_whole:
                    raise Unavailable("the answer ended early")
                return found, version
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(_shown(error)) from error
        except pa.ArrowInvalid as error:
            raise UserError(f"the answer is no Arrow stream: {_shown(error)}") from error


class _Body:
    """What Arrow needs of a file, and what it does not check: that a stream which ends was ended."""

    closed = False
    _END = b"\xff\xff\xff\xff\0\0\0\0"

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._last = b""

    def read(self, size: int) -> bytes:
        content = self._response.read(size)
        if len(content) < size and self._response.length:
            raise http.client.IncompleteRead(content, self._response.length)
        self._last = (self._last + content[-len(self._END) :])[-len(self._END) :]
        return content

    @property
    def is_whole(self) -> bool:
        return self._last == self._END


def _version(response: http.client.HTTPResponse) -> int:
    kind = response.headers.get_content_type()
    if kind != _CONTENT_TYPE:
        raise UserError(f"the answer's type is {kind[:80]!r}, not {_CONTENT_TYPE}")
    try:
        return int(response.headers.get("x-seamark-version", ""))
    except ValueError:
        raise UserError("the answer does not tell the table's version") from None


def _refusal(error: urllib.error.HTTPError) -> UserError | Unavailable:
    with error:
        reason = f"status {error.code}: {_reason(error)}"
    return Unavailable(reason) if error.code in _LATER else UserError(reason)


def _reason(response: urllib.error.HTTPError) -> str:
    """What the collector says, or the beginning of what somebody else does."""
    try:
        text = response.read(64 * 1024).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return _shown(error)
    try:
        return str(cast(dict[str, Any], json.loads(text))["error"])[:_LONGEST_REASON]
    except (ValueError, RecursionError, KeyError, TypeError):
        return " ".join(text.split())[:_LONGEST_REASON]


def _shown(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
