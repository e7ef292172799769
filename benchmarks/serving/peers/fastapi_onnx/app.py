"""FastAPI at its fastest: orjson on the raw body, ONNX Runtime, no validation. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response


def application(folder: Path) -> FastAPI:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float32)
        labels, scores = session.run(None, {"X": rows})
        content = orjson.dumps({"predictions": labels, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), port=int(sys.argv[2]), access_log=False, log_level="warning")
