"""LitServe with one worker and no batching. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import litserve
import numpy as np


class Bench(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        self._model = joblib.load(Path(sys.argv[1]) / "model.joblib")

    # LitServe takes an annotation as the type to validate; without one it reads the JSON as it comes.
    def decode_request(self, request, **_: Any) -> Any:
        return np.asarray(request["instances"])

    def predict(self, x: Any, **_: Any) -> Any:
        return self._model.predict(x)

    def encode_response(self, output: Any, **_: Any) -> Any:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Bench(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
