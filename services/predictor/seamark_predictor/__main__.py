"""`python -m seamark_predictor`: the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

_BODY_LIMIT = 16 * 1024 * 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamark-predictor", description="Serves one model package over the Open Inference Protocol, v1 and v2."
    )
    parser.add_argument("--name", required=True, help="the model's name in addresses")
    parser.add_argument("--package", type=Path, required=True, help="folder of the model package")
    parser.add_argument("--digest", metavar="SHA256", help="serve this package only: the SHA-256 of its seamark.json")
    parser.add_argument("--revision", help="the version in answers (default: <name>-<first 8 of the digest>)")
    parser.add_argument("--monitor", metavar="SOCKET", help="unix socket of the monitor (default: no monitor)")
    parser.add_argument(
        "--contract",
        choices=("observe", "reject"),
        default="observe",
        help="reject: answer 422 to rows that break the contract (default: observe)",
    )
    parser.add_argument("--trust-pickle", action="store_true", help="load joblib files, which can run any code")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080")
    parser.add_argument(
        "--drain-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="after SIGTERM, serve on for so long while /readyz answers 503 (default: 0)",
    )
    parser.add_argument("--body-limit", type=int, default=_BODY_LIMIT, help=f"bytes (default: {_BODY_LIMIT})")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT; leaves with status 0, or 2 and one line for what the user can mend."""
    options = _parser().parse_args(arguments)
    # Until it serves there is nothing to drain. As a container's first process it would otherwise not hear the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    # Only now: loading the model's libraries takes a second, and --help should not.
    from seamark.errors import UserError
    from seamark_predictor import logs, server, termination

    logs.configure()
    settings = server.Settings(
        name=options.name,
        package=options.package,
        digest=options.digest,
        revision=options.revision,
        monitor=options.monitor,
        reject=options.contract == "reject",
        trust_pickle=options.trust_pickle,
        host=options.host,
        port=options.port,
        body_limit=options.body_limit,
        drain_delay=options.drain_delay,
    )
    try:
        server.serve(settings)
    except UserError as error:
        line = " ".join(str(error).split())
        print(line, file=sys.stderr)  # noqa: T201  # the one line a command line owes
        if os.environ.get(termination.VARIABLE):
            termination.write(Path(os.environ[termination.VARIABLE]), line)
        sys.exit(2)
    sys.stderr.flush()
    server.leave(0)


if __name__ == "__main__":
    main()
