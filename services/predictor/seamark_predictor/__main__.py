"""`python -m seamark_predictor`: the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seamark_predictor.server import Address, Settings

__all__ = ["main"]

_BODY_LIMIT = 16 * 1024 * 1024
_QUEUE = 1024
_DEADLINE = 30.0
_MOST_WORKERS = 256
#: Microseconds.
_POLL = 50.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seamark-predictor",
        description="Serves models over the Open Inference Protocol: v1 and v2 by HTTP, v2 by gRPC.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--name", help="the model's name in addresses")
    add(
        "--package",
        metavar="MODEL",
        help="package folder, MLflow folder or model file: a path, http(s)://, s3:// or models:/",
    )
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="in place of --name and --package, as often as there are models",
    )
    add("--digest", metavar="SHA256", help="serve only the package, or bare model, of this digest")
    add("--revision", help="the version in answers (default: <name>-<first 8 of the digest>)")
    add("--monitor", metavar="SOCKET", help="unix socket of the monitor (default: no monitor)")
    add(
        "--contract",
        choices=("observe", "reject"),
        default="observe",
        help="reject: answer 422 to rows that break the contract (default: observe)",
    )
    add("--trust-pickle", action="store_true", help="load pickles (.joblib, .pkl), which can run any code")
    add("--host", default="127.0.0.1", help="default: 127.0.0.1")
    add("--port", type=int, default=8080, help="default: 8080")
    add("--grpc-port", type=int, metavar="PORT", help="listen for gRPC too (default: no)")
    add(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="processes that share the port, or auto: one for each core (default: 1)",
    )
    add(
        "--deadline",
        type=float,
        default=_DEADLINE,
        metavar="SECONDS",
        help=f"answer 504 to what waited and ran for so long (default: {_DEADLINE:g})",
    )
    add(
        "--queue",
        type=int,
        default=_QUEUE,
        metavar="REQUESTS",
        help=f"requests that may wait in a worker; others get 503 (default: {_QUEUE})",
    )
    add(
        "--cache",
        type=int,
        default=0,
        metavar="BYTES",
        help="keep answers of rows that may come again, in each worker (default: 0, no cache)",
    )
    add(
        "--drain-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="after SIGTERM, serve on for so long while /readyz answers 503 (default: 0)",
    )
    add(
        "--poll",
        type=float,
        default=_POLL,
        metavar="MICROSECONDS",
        help=f"look so long for the next request before sleeping, where that pays (default: {_POLL:g}; 0: never)",
    )
    add("--body-limit", type=int, default=_BODY_LIMIT, help=f"bytes (default: {_BODY_LIMIT})")
    add("--worker", metavar="PLACE", help=argparse.SUPPRESS)
    return parser


def _workers(text: str) -> int:
    """0 for auto."""
    if text == "auto":
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number from 1 to {_MOST_WORKERS}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT; leaves with status 0, or 2 and one line for what the user can mend."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    options = parser.parse_args(given)
    if bool(options.model) == bool(options.name or options.package):
        parser.error("say either --name and --package, or --model")
    if not options.model and not (options.name and options.package):
        parser.error("--name and --package belong together")
    # Until it serves there is nothing to drain. As a container's first process it would otherwise not hear the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    from seamark.errors import UserError
    from seamark_predictor import logs

    logs.configure()
    status, line = 0, ""
    try:
        status, line = _serve(options, given)
    except UserError as error:
        status, line = 2, str(error)
    except SystemExit:
        pass
    except BaseException:
        logs.failure("failed")
        status = 1
    finally:
        if status and line:
            _complain(" ".join(line.split()))
        sys.stderr.flush()
        # At once: a model may still run in a thread, which would be waited for, and gRPC has threads of its own.
        os._exit(status)


def _complain(line: str) -> None:
    from seamark_predictor import termination

    print(line, file=sys.stderr)  # noqa: T201  # the one line a command line owes
    if os.environ.get(termination.VARIABLE):
        termination.write(Path(os.environ[termination.VARIABLE]), line)


def _serve(options: argparse.Namespace, given: Sequence[str]) -> tuple[int, str]:
    """Exit status, and what to say where it is not 0; raises `UserError`."""
    from seamark.errors import UserError
    from seamark_predictor import workers

    place = workers.attach(options.worker) if options.worker else None
    # Only now: it takes a second, which --help should not, and a worker is to end with its parent from the start.
    from seamark_predictor import server

    if place is not None:
        try:
            server.serve(_settings(options), place)
        except UserError as error:
            # The parent says it, once for all workers.
            place.failed(str(error))
            return 2, ""
        return 0, ""
    count = options.workers or workers.cores()
    settings = _settings(options)
    server.check(settings)
    with server.fetched(settings.models) as models:
        if count > 1:
            return _supervise(given, models, count, settings.drain_delay)
        server.serve(replace(settings, models=models))
    return 0, ""


def _supervise(given: Sequence[str], models: Sequence[Address], count: int, delay: float) -> tuple[int, str]:
    from seamark_predictor import counters, server, workers

    # The last word counts: the paths of what was fetched take the place of where it came from.
    placed = [f"--model={model.name}={model.source}" for model in models]
    kept = _without(given, ("--model", "--name", "--package"))
    times = workers.Times(drain=delay + server.DRAIN + server.FLUSH + 1)
    command = [sys.executable, "-m", "seamark_predictor", *kept, *placed]
    return workers.supervise(command, count, counters.shared_file(), times)


def _without(given: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments but those of these options, however they are written."""
    kept = []
    rest = iter(given)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name in options:
            if not equals:
                next(rest, None)
            continue
        kept.append(argument)
    return kept


def _settings(options: argparse.Namespace) -> Settings:
    from seamark_predictor.batcher import Limits
    from seamark_predictor.served import Options
    from seamark_predictor.server import Settings

    return Settings(
        models=tuple(_models(options)),
        digest=options.digest,
        revision=options.revision,
        monitor=options.monitor,
        reject=options.contract == "reject",
        trust_pickle=options.trust_pickle,
        host=options.host,
        port=options.port,
        grpc_port=options.grpc_port,
        body_limit=options.body_limit,
        drain_delay=options.drain_delay,
        poll=options.poll / 1e6,
        options=Options(options.deadline, Limits(requests=options.queue), cache_bytes=options.cache),
    )


def _models(options: argparse.Namespace) -> list[Address]:
    from seamark.errors import UserError
    from seamark_predictor.server import Address

    if not options.model:
        return [Address(options.name, options.package)]
    found = []
    for text in options.model:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise UserError(f"Cannot use --model {text!r}: it is not NAME=MODEL")
        found.append(Address(name, source))
    return found


if __name__ == "__main__":
    main()
