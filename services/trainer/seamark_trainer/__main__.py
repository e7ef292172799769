"""`python -m seamark_trainer`: one retraining. Inputs are environment variables, see `--help`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seamark.errors import UserError
from seamark_trainer import environment, result

__all__ = ["main"]

log = logging.getLogger("seamark_trainer")

USAGE = """usage: python -m seamark_trainer

Retrain one model from its log. Inputs are environment variables:

  SEAMARK_JOB               name of this job; also the version and folder of the package
  SEAMARK_NAMESPACE         namespace of the deployment
  SEAMARK_DEPLOYMENT        name of the deployment
  SEAMARK_DATA              root of the prediction log, or the collector's http: address
  SEAMARK_TOKEN             what the collector asks for (default none)
  SEAMARK_DATA_SINCE        use predictions from here on (Unix seconds)
  SEAMARK_CHAMPION_PACKAGE  folder of the champion's package
  SEAMARK_OUTPUT            folder to put the package's folder in
  SEAMARK_CONFIG            JSON: candidates, seed, minRows, maxRows (default {})
  SEAMARK_TERMINATION_LOG   file for the result (default /dev/termination-log)

Exit status: 0 with a package, 1 if these rows make none, 2 if a variable is wrong.
To make a first package from a CSV file: python -m seamark_trainer.initial --help
"""


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments in (["-h"], ["--help"]):
        print(USAGE, end="")  # noqa: T201  # asked for
        return 0
    if arguments:
        print(f"Cannot retrain: {arguments[0]!r} is not understood; see --help", file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
        return 2
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    status, answer = _run(os.environ)
    if "error" in answer:
        print(answer["error"], file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
    try:
        result.write(Path(os.environ.get("SEAMARK_TERMINATION_LOG") or "/dev/termination-log"), answer)
    except OSError as error:
        print(f"Cannot write the result: {error}", file=sys.stderr)  # noqa: T201  # the contract: one line on standard error
        return status or 1
    return status


def _run(variables: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    try:
        job = environment.parse(variables)
    except UserError as error:
        return 2, {"error": str(error)}
    _use_one_thread()
    try:
        from seamark_trainer.retraining import retrain

        return 0, retrain(job)
    except UserError as error:
        return 1, {"error": str(error)}
    # Whatever else goes wrong must still leave a result that says so.
    except Exception as error:
        log.exception("event=failed job=%s", job.name)
        return 1, {"error": f"Cannot retrain {job.deployment}: {type(error).__name__}: {error}"}


def _use_one_thread() -> None:
    """Serving shares the machine; the numeric libraries read these when they are first imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


if __name__ == "__main__":
    sys.exit(main())
