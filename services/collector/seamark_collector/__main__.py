"""`python -m seamark_collector --data ROOT`: serve until told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from seamark.errors import UserError
from seamark.tokens import MIN_KEY
from seamark_collector.access import MIN_FEEDBACK_TOKEN, Access
from seamark_collector.secret import SecretFile

__all__ = ["main"]

MAX_CONNECTIONS = 512


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 after a stop by signal, 2 for a mistake the user can mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    try:
        return _serve(options.data, options.host, options.port, _access(options.key_file, options.feedback_token_file))
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="seamark_collector", description="Keep the prediction log and its labels.")
    parser.add_argument("--data", required=True, metavar="ROOT", help="folder or object store address of the log")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"key of the tokens that batches and reading need, at least {MIN_KEY} bytes (default: both are open)",
    )
    parser.add_argument(
        "--feedback-token-file",
        type=Path,
        metavar="FILE",
        help=f"the token that feedback needs, at least {MIN_FEEDBACK_TOKEN} bytes (default: it is open)",
    )
    return parser


def _access(key: Path | None, feedback: Path | None) -> Access:
    access = Access(
        SecretFile(key, MIN_KEY) if key else None, SecretFile(feedback, MIN_FEEDBACK_TOKEN) if feedback else None
    )
    if access.problem:
        raise UserError(access.problem)
    if key and not feedback:
        logging.warning("event=feedback_open reason='there is a --key-file and no --feedback-token-file'")
    return access


def _serve(root: str, host: str, port: int, access: Access) -> int:
    _check_root(root)
    listener = _listen(host, port)
    # Imported late, so that --help and mistakes answer at once.
    import uvicorn

    from seamark_collector.app import make_app

    logging.info("event=listening host=%s port=%d data=%s", *listener.getsockname()[:2], root)
    config = uvicorn.Config(
        make_app(root, access),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
    )
    # uvicorn raises the signal again after draining; without a handler that would end the process with it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _check_root(root: str) -> None:
    if "://" not in root and Path(root).exists() and not Path(root).is_dir():
        raise UserError(f"Cannot use {root} for the log: it is not a folder")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(f"Cannot listen on {host}:{port}: {reason.lower()}") from error


if __name__ == "__main__":
    sys.exit(main())
