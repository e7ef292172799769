"""FastAPI, uvicorn and scikit-learn, as a tutorial writes it. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    instances: list[list[float]]


class Answer(BaseModel):
    predictions: list[int]


def application(folder: Path) -> FastAPI:
    model = joblib.load(folder / "model.joblib")
    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> Answer:
        return Answer(predictions=model.predict(np.asarray(request.instances)).tolist())

    return app


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), port=int(sys.argv[2]), access_log=False, log_level="warning")
