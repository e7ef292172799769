"""Models of an MLflow registry: `models:/NAME/VERSION` and `models:/NAME@ALIAS` at `MLFLOW_TRACKING_URI`.

MLflow itself does it, in a process of its own: it takes 200 MB and 3 s to import, and its requests cannot be ended.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from seamark.errors import InvalidPackage
from seamark_predictor.sources.address import shown, without_secrets
from seamark_predictor.sources.limits import Budget, Limits

__all__ = ["download"]

_NAMED = re.compile(r"models:/+[^/@]+(/\d+|@[^/@]+)")
_PAUSE = 0.1
#: Bytes of what the process says; its last line is why it failed.
_LONGEST = 16_384
#: Nobody is told what is loaded, no progress is drawn, and nothing it writes down is run.
_SETTINGS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


def download(uri: str, into: Path, limits: Limits) -> None:
    """Puts the model's folder into the folder; raises `InvalidPackage`."""
    budget = Budget(limits, shown(uri))
    if not _NAMED.fullmatch(uri):
        raise InvalidPackage(f"Cannot fetch {budget.what}: models:/NAME/VERSION or models:/NAME@ALIAS is needed")
    if find_spec("mlflow") is None:
        raise InvalidPackage(
            f"Cannot fetch {budget.what}: mlflow is not installed; pip install 'seamark-predictor[mlflow]'"
        )
    model = into / "model"
    model.mkdir()
    with tempfile.TemporaryFile() as said:
        # A session of its own, so that helpers which MLflow starts end with it.
        process = subprocess.Popen(
            [sys.executable, "-m", "seamark_predictor.sources.registry_client", uri, str(model)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=os.environ | _SETTINGS,
            start_new_session=True,
        )
        try:
            _watch(process, model, budget)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            raise InvalidPackage(f"Cannot fetch {budget.what}: {_last_line(said.fileno())}")
    # MLflow writes down where it came from; the digest is that of the folder as it was registered.
    (model / "registered_model_meta").unlink(missing_ok=True)
    if not any(model.iterdir()):
        raise InvalidPackage(f"Cannot fetch {budget.what}: it holds no file")


def _watch(process: subprocess.Popen[bytes], model: Path, budget: Budget) -> None:
    """Until the process ends, or takes more than it may."""
    while process.poll() is None:
        _is_within(model, budget)
        time.sleep(_PAUSE)
    _is_within(model, budget)


def _is_within(model: Path, budget: Budget) -> None:
    """A new count each time: what is there grows."""
    now = Budget(budget.limits, budget.what)
    for folder, _, names in os.walk(model):
        for name in names:
            now.file()
            # MLflow downloads beside the place and moves.
            with suppress(FileNotFoundError):
                now.take(os.lstat(os.path.join(folder, name)).st_size)  # noqa: PTH118  # as os.walk gives it
    budget.take(0)


def _last_line(number: int) -> str:
    size = os.fstat(number).st_size
    text = os.pread(number, _LONGEST, max(0, size - _LONGEST)).decode("utf-8", "replace").strip()
    return without_secrets(text.rpartition("\n")[2]) if text else "mlflow says nothing"
