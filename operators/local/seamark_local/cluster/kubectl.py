"""kubectl as a command: JSON out, bounded time, and errors that say what to mend.

It finds its configuration, credentials and proxies itself, as it does for the person at the keyboard.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamark.errors import Conflict, NotFound, Unavailable, UserError
from seamark_local.cluster.plain import plain

__all__ = ["LIMIT", "Context", "Kubectl", "find_context"]

#: Seconds that one kubectl may take, and that it gives one request; it asks for the kinds first, so there are several.
LIMIT = 15.0
_REQUEST = 10
#: Characters of kubectl's complaint that are passed on.
_COMPLAINT = 500
#: Lines of its client library's log, as `E1121 07:23:34.914964   32513 memcache.go:265] ...`.
_LOG = re.compile(r"[EIWF]\d{4} \d\d:")

#: Signs of what goes on until a person changes something: rights, credentials, a value that is not allowed.
_PEOPLES = ("(Forbidden)", "(Unauthorized)", "(Invalid)", "(BadRequest)", "provide credentials", "getting credentials")


@dataclass(frozen=True, slots=True)
class Context:
    """A context of kubectl's configuration. namespace: its own; kubeconfig: the file; empty for the usual ones."""

    name: str
    namespace: str
    kubeconfig: str = ""


def find_context(name: str, kubeconfig: str = "") -> Context:
    """The context with this name, or the current one for an empty name. Raises `UserError` if there is none.

    The cluster is not asked. Whoever changes the current context later changes nothing for us.
    """
    if kubeconfig and not Path(kubeconfig).exists():
        raise NotFound(f"Cannot find {kubeconfig}: no such file")
    arguments = ["config", "view", "--minify", "--output=json", *_from(kubeconfig)]
    done = _run([*arguments, f"--context={name}"] if name else arguments, LIMIT)
    wanted = f"context {name}" if name else "kubectl's current context"
    where = f" in {kubeconfig}" if kubeconfig else ""
    if done.returncode != 0:
        raise NotFound(f"Cannot find {wanted}{where}: {_complaint(done.stderr)}; see kubectl config get-contexts")
    found = _decoded(done.stdout)
    # A context may leave its namespace out.
    namespace = next((one["context"].get("namespace") for one in found.get("contexts") or []), None)
    return Context(name or str(found.get("current-context", "")), namespace or "default", kubeconfig)


class Kubectl:
    """Runs kubectl in one context.

    Errors: `NotFound`; `Conflict` where an object is no longer as it was; `UserError` where access is refused or the
    kinds are unknown; `Unavailable` for all else, as no answer in time.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._options = (*_from(context.kubeconfig), f"--context={context.name}", f"--request-timeout={_REQUEST}s")

    def read(self, *arguments: str, limit: float = LIMIT) -> dict[str, Any]:
        """The JSON object that kubectl prints, with nothing in it that a terminal would obey. limit: seconds."""
        done = _run([*arguments, "--output=json", *self._options], limit)
        if done.returncode != 0:
            raise self._error(done.stderr)
        return _decoded(done.stdout)

    def _error(self, stderr: str) -> Exception:
        cause, context = _complaint(stderr), self.context.name
        if "(NotFound)" in stderr:
            return NotFound(f"Cannot find it in context {context}: {cause}")
        if "(Conflict)" in stderr:
            return Conflict(f"Cannot change it in context {context}: {cause}")
        if "doesn't have a resource type" in stderr:
            return UserError(f"Cannot find Seamark in context {context}: the cluster does not know ModelDeployments")
        if any(sign in stderr for sign in _PEOPLES):
            return UserError(f"Cannot do this in context {context}: {cause}")
        return Unavailable(f"Cannot reach the cluster of context {context}: {cause}")


def _from(kubeconfig: str) -> tuple[str, ...]:
    return (f"--kubeconfig={kubeconfig}",) if kubeconfig else ()


def _run(arguments: Sequence[str], limit: float) -> subprocess.CompletedProcess[str]:
    program = shutil.which("kubectl")
    if program is None:
        raise UserError("Cannot find kubectl: no folder of PATH has it, and seamark reaches clusters with it")
    # kubectl translates some of its messages.
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            [program, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            # A group of its own: a helper that fetches credentials ends with it, and cannot hold the pipes open.
            start_new_session=True,
        )
    except OSError as error:
        raise UserError(f"Cannot run {program}: {error.strerror or error}") from error
    try:
        stdout, stderr = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise Unavailable(f"Cannot reach the cluster: kubectl did not answer within {limit:.0f} s") from error
    except BaseException:
        _kill(process)
        raise
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _decoded(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Unavailable(f"Cannot read what kubectl printed: {error}") from error
    if not isinstance(found, dict):
        raise Unavailable("Cannot read what kubectl printed: it is no JSON object")
    return dict(plain(found))


def _complaint(stderr: str) -> str:
    """Its last words, without what its library logs before them."""
    said = [line.strip() for line in stderr.splitlines() if line.strip() and not _LOG.match(line)]
    last = re.sub(r"^(error|Error from server \(\w+\)|Error in configuration): ", "", said[-1]) if said else ""
    return str(plain(last))[:_COMPLAINT] or "kubectl failed and did not say why"
