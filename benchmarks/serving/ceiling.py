"""What a fast HTTP server does with nothing around it: `python -m ...ceiling WORK FOLDER PORT`.

WORK is echo (answers a constant), parse (reads the JSON, answers a constant) or onnx (predicts), on granian; or own,
which predicts on the predictor's own HTTP server. It runs in the project's environment, so its orjson and ONNX Runtime
are the predictor's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop
from benchmarks.serving.sink import serve
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

__all__ = ["main"]

_HEADERS = [("content-type", "application/json")]
_CONSTANT = b'{"predictions":[1],"scores":[[0.25,0.75]]}'

Work = Callable[[bytes], bytes]


def _echo(_: bytes) -> bytes:
    return _CONSTANT


def _parse(body: bytes) -> bytes:
    assert orjson.loads(body)["instances"]
    return _CONSTANT


def _onnx(folder: Path) -> Work:
    # Only here: the other two measure a process that never loaded them.
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def predict(body: bytes) -> bytes:
        rows = np.array(orjson.loads(body)["instances"], dtype=np.float32)
        labels, scores = session.run(None, {"X": rows})
        return orjson.dumps({"predictions": labels, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)

    return predict


def _application(work: Work) -> Callable[[Any, Any], Awaitable[None]]:
    async def answer(_: Any, proto: Any) -> None:
        proto.response_bytes(200, _HEADERS, work(await proto()))

    return answer


def main() -> None:
    """Serves until it is killed."""
    name, folder, port = sys.argv[1:]
    work = _onnx(Path(folder)) if name in ("onnx", "own") else {"echo": _echo, "parse": _parse}[name]
    if name == "own":
        uvloop.run(serve(work, int(port)))
        return
    server = Server(
        _application(work),
        address="127.0.0.1",
        port=int(port),
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
