"""Ray Serve with one replica. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.5})
class Bench:
    def __init__(self, folder: Path) -> None:
        self._model = joblib.load(folder / "model.joblib")

    async def __call__(self, request: Request) -> Any:
        instances = np.asarray((await request.json())["instances"])
        return {"predictions": self._model.predict(instances).tolist()}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        configure_logging=True,
        logging_level=logging.WARNING,
        log_to_driver=False,
        object_store_memory=100 * 1024 * 1024,
    )
    quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])}, logging_config=quiet)
    serve.run(Bench.bind(Path(sys.argv[1]).resolve()), route_prefix="/predict", logging_config=quiet)
    try:
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()
