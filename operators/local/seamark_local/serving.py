"""`seamark serve`: becomes a predictor, and leaves somebody behind who says when it is ready."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from seamark.errors import Conflict, UserError
from seamark_local.model_name import model_name
from seamark_local.ports import bind_error

__all__ = ["Options", "command", "models_of", "serve"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Options:
    """models: (name, path or address) of each. more: words of the predictor's own command line."""

    models: tuple[tuple[str, str], ...]
    host: str
    port: int
    grpc_port: int | None
    workers: str
    trust_pickle: bool
    more: tuple[str, ...] = ()


def models_of(one: str | None, name: str | None, several: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(name, path or address) of each model: of the one given, or of `several` NAME=MODEL. Raises `UserError`."""
    if (one is None) == (not several):
        raise UserError("Cannot serve: give either PACKAGE_OR_MODEL or --model NAME=MODEL, once or several times")
    if several and name is not None:
        raise UserError("Cannot use --name with --model: it names its model itself")
    if one is not None:
        return ((_checked(name) if name is not None else model_name(one), one),)
    found: dict[str, str] = {}
    for text in several:
        key, sign, uri = text.partition("=")
        if not sign or not uri:
            raise UserError(f"Cannot use --model {text!r}: NAME=MODEL is needed")
        if _checked(key) in found:
            raise UserError(f"Cannot use --model {text!r}: two models have the name {key}")
        found[key] = uri
    return tuple(found.items())


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"Cannot use the name {name!r}: 1 to 128 letters, digits, dots, hyphens and underscores are allowed, "
            "the first a letter or digit"
        )
    return name


def command(options: Options) -> list[str]:
    """The predictor's command line."""
    words = [sys.executable, "-m", "seamark_predictor"]
    if len(options.models) == 1:
        ((name, uri),) = options.models
        words += [f"--name={name}", f"--package={uri}"]
    else:
        words += [f"--model={name}={uri}" for name, uri in options.models]
    given = {
        "--host": options.host,
        "--port": options.port,
        "--grpc-port": options.grpc_port,
        "--workers": options.workers,
    }
    words += [f"{option}={value}" for option, value in given.items() if value is not None]
    return [*words, *["--trust-pickle"] * options.trust_pickle, *options.more]


def serve(options: Options) -> NoReturn:
    """Raises `UserError` where it cannot begin; afterwards this process is the predictor."""
    if options.more and not options.more[0].startswith("-"):
        raise UserError(f"Cannot serve {options.more[0]!r} as well: several models are named by --model NAME=MODEL")
    for port in (options.port, options.grpc_port):
        # Whoever has the port would else be taken for ours as soon as it answers.
        cause = bind_error(options.host, port) if port else None
        if cause:
            raise Conflict(f"Cannot listen on {options.host}:{port}: {cause}")
    _leave_announcer(options)
    words = command(options)
    os.execv(words[0], words)  # noqa: S606  # no shell is what is wanted


def _leave_announcer(options: Options) -> None:
    """A process of its own, and nobody's child: the predictor must not meet a child that it did not start."""
    predictor = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # From here on nothing may return into the caller's code.
    try:
        if not os.fork():
            from seamark_local.announcing import announce

            announce(options, os.pidfd_open(predictor))
    finally:
        os._exit(0)
