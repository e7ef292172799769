"""`python -m seamark_analyzer --data ROOT --config FILE|URL`."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from seamark.errors import Conflict, UserError
from seamark_analyzer.analyzer import Analyzer
from seamark_analyzer.app import build_app
from seamark_analyzer.config import open_config
from seamark_analyzer.logs import configure, event
from seamark_analyzer.packages import Packages
from seamark_analyzer.scrape import DirectSource

__all__ = ["main"]

#: Each feature is two series of every model; a thousand is what one Prometheus takes without notice.
MAX_FEATURES = 1000
MOST_FEATURES = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the result is the exit status."""
    options = _parser().parse_args(arguments)
    configure()
    try:
        listener = _listen(options.host, options.port)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    source = DirectSource()
    analyzer = Analyzer(options.data, open_config(options.config), source, Packages(), options.max_features)
    app = build_app(analyzer, source)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    # uvicorn raises the signal again after draining; by then it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    event("listening", host=host, port=port, data=options.data, config=options.config)
    server.run(sockets=[listener])
    event("stopped")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamark-analyzer", description="Turns counters and the prediction log into evidence and drift scores."
    )
    parser.add_argument("--data", required=True, metavar="ROOT", help="root of the prediction log: a folder or a URI")
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE|URL",
        help="which models to watch; JSON, at a path or an http(s) address",
    )
    parser.add_argument(
        "--max-features",
        type=_count,
        default=MAX_FEATURES,
        metavar="N",
        help="features of one model that have gauges (default: %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8083, help="0 takes a free one (default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_FEATURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MOST_FEATURES}")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise Conflict(f"Cannot listen on {host}:{port}: {error}") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
