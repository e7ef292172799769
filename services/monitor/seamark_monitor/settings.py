"""What the command line says."""

from __future__ import annotations

import argparse
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seamark.errors import UserError

__all__ = ["MIN_SPOOL_LIMIT", "Settings", "parse"]

MIN_SPOOL_LIMIT = 64 * 1024
#: What the kernel takes as the path of a unix socket, its closing zero left out.
_LONGEST_SOCKET_PATH = 107
#: Seconds of --wait and --last-delivery: a day and an hour are more than any start or end takes.
_LONGEST_WAIT, _LONGEST_DELIVERY = 86_400.0, 3_600.0
_TOKEN = re.compile(r"[\x21-\x7e]{0,4096}")


@dataclass(frozen=True, slots=True)
class Settings:
    """spool_limit: bytes on disk. namespace, deployment and revision are the labels of every metric.

    wait: seconds for the package to appear. last_delivery: seconds, see `seamark_monitor.service`. token: what the
    collector asks for, or "".
    """

    package: Path
    namespace: str
    deployment: str
    revision: str
    source: str
    socket: Path
    collector: str
    spool: Path
    spool_limit: int
    wait: float
    last_delivery: float
    host: str
    port: int
    token: str = field(default="", repr=False)


def parse(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or `UserError` for a value that cannot be used."""
    settings = Settings(**vars(_parser().parse_args(arguments)), token=_token(environment))
    if settings.spool_limit < MIN_SPOOL_LIMIT:
        raise UserError(
            f"Cannot use --spool-limit: {settings.spool_limit} bytes are less than the smallest, {MIN_SPOOL_LIMIT}"
        )
    if not 1 <= len(settings.source) <= 200:
        raise UserError(f"Cannot use --source: it has {len(settings.source)} characters; 1 to 200 are allowed")
    if len(bytes(settings.socket)) > _LONGEST_SOCKET_PATH:
        raise UserError(f"Cannot listen on {settings.socket}: the path is longer than {_LONGEST_SOCKET_PATH} bytes")
    if not 0 <= settings.port <= 65535:
        raise UserError(f"Cannot listen on port {settings.port}: a port is between 0 and 65535")
    if not settings.collector.startswith(("http://", "https://")):
        raise UserError(f"Cannot use --collector: {settings.collector!r} does not begin with http:// or https://")
    _is_within("--wait", settings.wait, _LONGEST_WAIT)
    _is_within("--last-delivery", settings.last_delivery, _LONGEST_DELIVERY)
    return settings


def _is_within(name: str, seconds: float, most: float) -> None:
    if not 0 <= seconds <= most:
        raise UserError(f"Cannot use {name}: {seconds:g} is not between 0 and {most:g} seconds")


def _token(environment: Mapping[str, str]) -> str:
    """Never shown, not even where it is wrong."""
    token = environment.get("SEAMARK_TOKEN", "").strip()
    if not _TOKEN.fullmatch(token):
        raise UserError("Cannot use SEAMARK_TOKEN: it holds other than printable ASCII characters, or over 4096")
    return token


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamark-monitor",
        description="Counts a predictor's predictions and spools them to the collector.",
        epilog="The environment variable SEAMARK_TOKEN holds the token that the collector asks for, if it does.",
    )
    parser.add_argument("--package", type=Path, required=True, help="folder of the model package")
    parser.add_argument("--namespace", default="default", help="label of every metric (default: default)")
    parser.add_argument("--deployment", required=True, help="label of every metric")
    parser.add_argument("--revision", required=True, help="label of every metric")
    parser.add_argument(
        "--source", default=socket.gethostname(), help="this monitor's name at the collector (default: the host's)"
    )
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on for the predictor")
    parser.add_argument("--collector", required=True, help="address of the collector, as http://127.0.0.1:9020")
    parser.add_argument("--spool", type=Path, required=True, help="folder of predictions not yet collected")
    parser.add_argument("--spool-limit", type=int, default=256 * 1024 * 1024, help="bytes (default: 268435456)")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds to wait for a package that is not there yet (default: 0)"
    )
    parser.add_argument(
        "--last-delivery",
        type=float,
        default=2.0,
        help="after SIGTERM, seconds to go on while a predictor sends, and again to deliver (default: 2)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=9010, help="default: 9010")
    return parser
