"""BentoML with one service and one worker. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import joblib
import numpy as np

FOLDER = "BENCH_FOLDER"


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Bench:
    def __init__(self) -> None:
        self._model = joblib.load(Path(os.environ[FOLDER]) / "model.joblib")

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> dict[str, list[int]]:
        return {"predictions": self._model.predict(np.asarray(instances)).tolist()}


if __name__ == "__main__":
    os.environ[FOLDER] = str(Path(sys.argv[1]).resolve())
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    here = Path(__file__).resolve()
    os.chdir(here.parent)
    arguments = ["serve", f"{here.stem}:Bench", "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execvp("bentoml", ["bentoml", *arguments])  # noqa: S606, S607  # no shell; PATH begins with this environment
