"""KServe's model server around joblib.load and predict, which is what its sklearn runtime is.

That runtime is not on PyPI; the server, its protocols, logs and metrics are, and they are all but two lines of it.
Usage: app.py FOLDER PORT quiet|logging
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
from kserve import Model, ModelServer, logging
from kserve.utils.utils import get_predict_input, get_predict_response


class Sklearn(Model):
    def __init__(self, folder: Path) -> None:
        super().__init__("bench")
        self._folder = folder

    def load(self) -> bool:
        self._model = joblib.load(self._folder / "model.joblib")
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002  # KServe's signature
        return get_predict_response(payload, self._model.predict(get_predict_input(payload)), self.name)


def _quiet() -> None:
    """No request is logged: neither by KServe, nor as a warning about a class of FastAPI's that it uses."""
    warnings.simplefilter("ignore")
    for logger in logging.KSERVE_LOG_CONFIG["loggers"].values():
        logger["level"] = "WARNING"


if __name__ == "__main__":
    _, folder, port, logs = sys.argv
    if logs == "quiet":
        _quiet()
    logging.configure_logging()
    model = Sklearn(Path(folder))
    model.load()
    ModelServer(http_port=int(port), workers=1, enable_grpc=False, enable_latency_logging=logs != "quiet").start(
        [model]
    )
