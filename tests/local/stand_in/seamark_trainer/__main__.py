"""`python -m seamark_trainer`: the Job `...-retrain-N` does what the entry N of `standIn` in SEAMARK_CONFIG names."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = Path(os.environ["SEAMARK_OUTPUT"])
RESULT = Path(os.environ["SEAMARK_TERMINATION_LOG"])


def hang() -> None:
    """Deaf to SIGTERM, and not alone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.run(["/bin/sleep", "600"], check=False)
    time.sleep(600)


def die() -> None:
    """As when the system runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def garbage() -> None:
    RESULT.write_bytes(b"\xff\x00 not a result " * 10_000)


def wrong_digest() -> None:
    _answer(_package(), "0" * 64)


def damaged() -> None:
    """The model file is cut off after its digest was taken."""
    folder = _package()
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    _answer(folder, folder.name)


def _package() -> Path:
    folder = OUTPUT / "made"
    shutil.copytree(os.environ["SEAMARK_CHAMPION_PACKAGE"], folder, dirs_exist_ok=True)
    return folder


def _answer(folder: Path, digest: str) -> None:
    RESULT.write_text(json.dumps({"package": folder.as_uri(), "digest": digest, "version": "made", "rows": 1}))


def real() -> None:
    sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(__file__).parents[1]]
    del sys.modules["seamark_trainer"]
    runpy.run_module("seamark_trainer", run_name="__main__", alter_sys=True)


KINDS = {kind.__name__: kind for kind in (hang, die, garbage, wrong_digest, damaged)}


def main() -> None:
    number = int(os.environ["SEAMARK_JOB"].rpartition("-")[2])
    named = json.loads(os.environ["SEAMARK_CONFIG"]).get("standIn", {})
    KINDS.get(named.get(str(number), ""), real)()


if __name__ == "__main__":
    main()
