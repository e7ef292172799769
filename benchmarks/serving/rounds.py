"""Rounds over all servers: start one, check it, measure its cases, stop it, go on to the next."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import environments, wrk
from benchmarks.serving.catalogue import Case, Server
from benchmarks.serving.clients import AnswerError, Client
from benchmarks.serving.clocks import Clocks
from benchmarks.serving.figures import Key, Measurement
from benchmarks.serving.models import SavedModel
from benchmarks.serving.monitors import Monitor
from benchmarks.serving.processes import Process, free_port, start
from benchmarks.serving.wires import WIRES

__all__ = ["Cores", "Plan", "Run"]

#: Seconds for a server to answer correctly after it was started.
_START = 120.0
#: Ports in a row that a server may take.
_PORTS = 4


@dataclass(frozen=True, slots=True)
class Cores:
    """servers: one for each worker. The load generator may share its core with the monitor or a second worker."""

    servers: tuple[int, ...]
    load: int
    monitor: int


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds, warm_up: of each run of the load generator. root: where environments, logs and bodies are."""

    servers: list[Server]
    cases: list[Case]
    rounds: int
    seconds: int
    warm_up: int
    cores: Cores
    root: Path


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """A server that answers. start: seconds that took."""

    server: Server
    process: Process
    monitor: Monitor | None
    port: int
    start: float


@dataclass(slots=True, eq=False)
class Run:
    """failures: "server model" -> what went wrong; such a server is measured no further for that model."""

    plan: Plan
    models: dict[str, SavedModel]
    say: Callable[[str], None]
    measurements: list[Measurement] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def go(self) -> None:
        """All rounds; each begins with another server, so that none always follows the same one."""
        for number in range(1, self.plan.rounds + 1):
            for model in self.models:
                cases = [case for case in self.plan.cases if case.model == model]
                for server in self._order(number):
                    if cases and model in server.models:
                        self._visit(number, server, cases)

    def _order(self, number: int) -> list[Server]:
        servers = self.plan.servers
        first = (number - 1) * len(servers) // self.plan.rounds
        return servers[first:] + servers[:first]

    def _visit(self, number: int, server: Server, cases: list[Case]) -> None:
        """Measures the cases of one server, which are all of one model."""
        name = f"{server.name} {cases[0].model}"
        if name in self.failures:
            return
        try:
            with ExitStack() as stack:
                running = self._start(server, self.models[cases[0].model], stack)
                for measurement in self._measure(number, running, cases):
                    self.measurements.append(measurement)
                    self.say(f"round {number}: {_told(measurement)}")
        except (AnswerError, wrk.LoadError, OSError) as error:
            self.failures[name] = str(error)
            self.say(f"round {number}: {name} FAILED: {error}")

    def _start(self, server: Server, model: SavedModel, stack: ExitStack) -> _Running:
        """Up to the first correct answer, and all other answers checked."""
        monitor = None
        if server.monitored:
            cores = self.plan.cores
            # A load generator that has to wait for its core measures its own waiting.
            yields = cores.monitor == cores.load
            monitor = Monitor.start(
                model.folder / server.package, cores.monitor, self.plan.root / "logs", yields=yields
            )
            stack.callback(monitor.stop)
        port = free_port(_PORTS)
        began = time.perf_counter()
        process = self._launch(server, model, port, monitor)
        stack.callback(process.stop)
        try:
            clients = [Client(port, WIRES[wire], model) for wire in server.wires]
            clients[0].wait(process.has_ended, _START)
            took = time.perf_counter() - began
            for client in clients:
                client.check_all()
        except AnswerError as error:
            raise AnswerError(f"{error}; its log ends: {process.last_words()}") from error
        return _Running(server, process, monitor, port, took)

    def _launch(self, server: Server, model: SavedModel, port: int, monitor: Monitor | None) -> Process:
        interpreter = environments.python(server.environment, self.plan.root / "venvs")
        values = {
            "folder": str(model.folder),
            "peer": str(environments.PEERS / server.environment),
            "port": str(port),
            "socket": str(monitor.socket if monitor else ""),
        }
        return start(
            [str(interpreter), *(argument.format(**values) for argument in server.arguments)],
            cores=self.plan.cores.servers[: server.workers],
            log=self.plan.root / "logs" / f"{server.name}.log",
            # Some servers start programs of their environment by name.
            environment={"PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"},
        )

    def _measure(self, number: int, running: _Running, cases: list[Case]) -> Iterator[Measurement]:
        for case in cases:
            for wire in running.server.wires:
                if wire != "v2-binary" or case.rows > 1:
                    yield self._load(number, running, case, wire)

    def _load(self, number: int, running: _Running, case: Case, name: str) -> Measurement:
        plan, wire, model = self.plan, WIRES[name], self.models[case.model]
        request = wire.write(model.numbers[: case.rows])
        body = plan.root / "bodies" / f"{case.model}-{name}-{case.rows}"
        body.parent.mkdir(parents=True, exist_ok=True)
        body.write_bytes(request.body)

        def load(seconds: int) -> wrk.Load:
            url = f"http://127.0.0.1:{running.port}{wire.path}"
            core = plan.cores.load
            return wrk.load(url, body, request.headers, connections=case.connections, seconds=seconds, core=core)

        monitor = running.monitor
        load(plan.warm_up)
        counted = monitor.settled_count() if monitor else 0.0
        before = Clocks.read(running.process, running.monitor)
        result = load(plan.seconds)
        used = Clocks.read(running.process, running.monitor).since(before)
        watched = None
        sidecar_cpu = 0.0
        if monitor:
            # wrk leaves without the last answers, so that the monitor may have counted a few more.
            watched = min(1.0, (monitor.settled_count() - counted) / (result.requests * case.rows))
            # With what it still had to do when the load had ended.
            sidecar_cpu = Clocks.read(running.process, monitor).monitor - before.monitor
        Client(running.port, wire, model).check(0, case.rows)
        return Measurement(
            key=Key(running.server.name, case.model, name, case.rows, case.connections),
            round=number,
            requests=result.requests,
            seconds=result.seconds,
            p50=result.p50,
            p99=result.p99,
            cpu=used.server,
            sidecar_cpu=sidecar_cpu,
            foreign=used.foreign(result.busy * result.seconds, result.seconds),
            memory=running.process.memory(),
            sidecar_memory=monitor.process.memory() if monitor else 0,
            start=running.start,
            busy=result.busy,
            watched=watched,
        )


def _told(m: Measurement) -> str:
    watched = "" if m.watched is None else f", {m.watched:.1%} watched"
    return f"{m.key}: {m.requests / m.seconds:,.0f} requests/s, p99 {m.p99 * 1e3:.2f} ms{watched}"
