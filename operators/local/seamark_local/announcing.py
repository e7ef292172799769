"""Says when a predictor is ready, with a request that was tried."""

from __future__ import annotations

import json
import select
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from math import prod
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from seamark.errors import InvalidPackage
from seamark.profile import parse_profile
from seamark_local.example import MAX_PROFILE, example_row

if TYPE_CHECKING:
    from seamark_local.serving import Options

__all__ = ["announce"]

#: Seconds between two looks, and for one answer.
_INTERVAL = 0.1
_PATIENCE = 10.0
#: Characters of a request that a terminal still takes in one line; a longer one goes to a file.
_LONGEST_LINE = 1500
#: Values of a made-up request.
_MOST_VALUES = 10_000
_LARGEST_ANSWER = 16 * 2**20


def announce(options: Options, predictor: int) -> None:
    """Waits until the predictor is ready and prints what there is; prints nothing if it ends before.

    predictor: its process descriptor.
    """
    server = _Server(options.host, options.port)
    if not _until_ready(server, predictor):
        return
    lines = [line for name, uri in options.models for line in _model_lines(server, name, uri)]
    if options.grpc_port:
        lines.append(f"gRPC: {_reachable(options.host)}:{options.grpc_port}")
    if server.has_pages():
        lines.append(f"All it answers: {server.url}/docs")
    # A reader of our output may have gone, and then nobody wants to know.
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except OSError:
        return


def _until_ready(server: _Server, predictor: int) -> bool:
    while not server.is_ready():
        ended, _, _ = select.select([predictor], [], [], _INTERVAL)
        if ended:
            return False
    return True


def _reachable(host: str) -> str:
    """An address of this machine for one that stands for all; IPv6 in brackets."""
    found = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{found}]" if ":" in found else found


class _Server:
    """The predictor, asked over HTTP."""

    def __init__(self, host: str, port: int) -> None:
        self._host = _reachable(host)
        self._port = port
        self.url = f"http://{self._host}:{port}"

    def is_ready(self) -> bool:
        return self._ask("GET", "/readyz")[0] == 200

    def has_pages(self) -> bool:
        return self._ask("GET", "/docs")[0] == 200

    def metadata(self, name: str) -> dict[str, Any]:
        """Of the model; empty where there is none to be read."""
        status, content = self._ask("GET", f"/v2/models/{name}")
        try:
            found = json.loads(content) if status == 200 else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def answers(self, path: str, body: str) -> bool:
        """To what `curl -d` sends?"""
        return self._ask("POST", path, body)[0] == 200

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """(status, content); status 0 where there was no answer."""
        connection = HTTPConnection(self._host.strip("[]"), self._port, timeout=_PATIENCE)
        headers = {"content-type": "application/x-www-form-urlencoded"} if body else {}
        try:
            connection.request(method, path, None if body is None else body.encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST_ANSWER)
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()


def _model_lines(server: _Server, name: str, uri: str) -> list[str]:
    metadata = server.metadata(name)
    inputs = metadata.get("inputs", [])
    platform = metadata.get("platform", "")
    lines = [f"Serving {name} at {server.url} ({platform}, {len(inputs)} input{'s' * (len(inputs) != 1)}). Try it:"]
    for path, request in _requests(name, uri, metadata):
        body = json.dumps(request)
        if server.answers(path, body):
            return [*lines, f"  curl -s {quote(server.url + path)} -d {_data(name, body)}"]
    return [*lines, f"  curl -s {quote(f'{server.url}/v2/models/{name}')}"]


def _data(name: str, body: str) -> str:
    """The request as curl's -d takes it, for a shell."""
    line = quote(body)
    if len(line) <= _LONGEST_LINE:
        return line
    with tempfile.NamedTemporaryFile("w", prefix=f"seamark-{name}-", suffix=".json", delete=False) as file:
        file.write(f"{body}\n")
    return quote(f"@{file.name}")


def _requests(name: str, uri: str, metadata: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, body) of requests that may work, the likeliest first."""
    v1 = f"/v1/models/{name}:predict"
    row = _typical_row(uri)
    if row:
        yield v1, {"instances": [row]}
    inputs = metadata.get("inputs", [])
    if not inputs or sum(prod(_shape(entry)) for entry in inputs) > _MOST_VALUES:
        return
    is_table = all(entry["shape"] == [-1, 1] for entry in inputs)
    for number in (0, 1):
        if is_table:
            yield v1, {"instances": [[_value(entry, number) for entry in inputs]]}
        else:
            yield f"/v2/models/{name}/infer", {"inputs": [_tensor(entry, number) for entry in inputs]}


def _shape(entry: dict[str, Any]) -> list[int]:
    """One where any size will do."""
    return [max(size, 1) for size in entry["shape"]]


def _tensor(entry: dict[str, Any], number: int) -> dict[str, Any]:
    shape = _shape(entry)
    data = [_value(entry, number)] * prod(shape)
    return {"name": entry["name"], "shape": shape, "datatype": entry["datatype"], "data": data}


def _value(entry: dict[str, Any], number: int) -> str | bool | int:
    """A made-up value of an input's type."""
    kind = entry["datatype"]
    return "" if kind == "BYTES" else bool(number) if kind == "BOOL" else number


def _typical_row(uri: str) -> list[float | str]:
    """Of a package on this machine, from its profile; else empty."""
    try:
        with (Path(uri.removeprefix("file://")) / "profile.json").open("rb") as file:
            return example_row(parse_profile(file.read(MAX_PROFILE)))
    except (OSError, InvalidPackage):
        return []
