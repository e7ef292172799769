"""What `test_workers` runs: a small server on granian, as parent with `--workers`, and as each of its workers.

GET /pid answers the worker's process, /slow the same a moment later, /hang nothing ever, /metrics the counters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from seamark_predictor import logs
from seamark_predictor.counters import Counters, ModelInfo, shared_file
from seamark_predictor.workers import Times, Worker, attach, supervise


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worker")
    parser.add_argument("--drain", type=float, default=10.0)
    parser.add_argument("--drain-delay", type=float, default=0.0)
    parser.add_argument("--steady", type=float, default=30.0)
    #: A folder: while `fail` is in it workers fail to load, with `crash` they crash; `hold` holds up worker 1.
    parser.add_argument("--folder", type=Path, required=True)
    return parser.parse_args()


def load(worker: Worker, folder: Path) -> None:
    if (folder / "fail").exists():
        worker.failed("Cannot load the model: the test wants it so")
        sys.exit(2)
    if (folder / "crash").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"loaded-{worker.index}").touch()
    while worker.index == 1 and (folder / "hold").exists():
        time.sleep(0.01)


class App:
    def __init__(self, counters: Counters) -> None:
        self.is_leaving = False
        self._counters = counters

    async def __call__(self, scope: Any, proto: Any) -> None:
        headers = [("connection", "close")] if self.is_leaving else []
        if scope.path == "/metrics":
            proto.response_bytes(200, headers, self._counters.text())
            return
        started = time.perf_counter()
        if scope.path == "/slow":
            await asyncio.sleep(0.3)
        if scope.path == "/hang":
            await asyncio.Event().wait()
        headers = [("connection", "close")] if self.is_leaving else []
        proto.response_bytes(200, headers, json.dumps(os.getpid()).encode())
        self._counters.models[0].answered("v1", 200, time.perf_counter() - started, 1)


async def serve(app: App, port: int, drain_delay: float) -> None:
    server = Server(
        app, port=port, interface=Interfaces.RSGI, http=HTTPModes.http1, websockets=False, log_enabled=False
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    serving = asyncio.ensure_future(server.serve())
    await stopping.wait()
    app.is_leaving = True
    await asyncio.sleep(drain_delay)
    server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
    await serving


def main() -> None:
    chosen = options()
    logs.configure()
    if chosen.worker is None:
        times = Times(drain=chosen.drain, again_first=0.05, steady=chosen.steady)
        status, line = supervise([sys.executable, *sys.argv], chosen.workers, shared_file(), times)
        if line:
            print(line, file=sys.stderr)  # noqa: T201  # the one line a command line owes
        sys.exit(status)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    worker = attach(chosen.worker)
    load(worker, chosen.folder)
    counters = Counters([ModelInfo("m", "v", "p", "d")], file=worker.counters, workers=worker.count, index=worker.index)
    worker.loaded()
    asyncio.run(serve(App(counters), chosen.port, chosen.drain_delay))
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
