"""Triton Inference Server through PyTriton, with its dynamic batching. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if __name__ == "__main__":
    model = joblib.load(Path(sys.argv[1]) / "model.joblib")
    port = int(sys.argv[2])
    # Triton runs Python itself: it must find this interpreter's library before that of another 3.11 on the machine.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))

    @batch
    def infer(input: Any) -> list[Any]:  # noqa: A002  # the tensor's name
        return [model.predict(input).astype(np.int64).reshape(-1, 1)]

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_port=port + 2,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="bench",
            infer_func=infer,
            inputs=[Tensor(name="input", dtype=np.float64, shape=(30,))],
            outputs=[Tensor(name="predict", dtype=np.int64, shape=(1,))],
            config=ModelConfig(max_batch_size=128),
            strict=True,
        )
        triton.serve()
