"""What `test_workers` runs: a small server, as parent with `--workers`, and as each of its workers.

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

import uvloop

from seamark_predictor import logs
from seamark_predictor.counters import Counters, ModelInfo, shared_file
from seamark_predictor.http1 import Limits, Request, Server, listener
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
        self._counters = counters

    def handle(self, request: Request) -> None:
        if request.path == "/metrics":
            request.respond(200, b"", self._counters.text())
        else:
            request.run(self._answer(request))

    async def _answer(self, request: Request) -> None:
        started = time.perf_counter()
        if request.path == "/slow":
            await asyncio.sleep(0.3)
        if request.path == "/hang":
            await asyncio.Event().wait()
        self._counters.models[0].answered("v1", 200, time.perf_counter() - started, 1)
        request.respond(200, b"", json.dumps(os.getpid()).encode())


async def serve(app: App, port: int, drain_delay: float) -> None:
    server = Server(app, Limits(body=1000, budget=1000))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server.start(listener("127.0.0.1", port, shared=True, backlog=100))
    await stopping.wait()
    server.is_leaving = True
    await asyncio.sleep(drain_delay)
    await server.stop(3600)


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
    uvloop.run(serve(App(counters), chosen.port, chosen.drain_delay))
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
