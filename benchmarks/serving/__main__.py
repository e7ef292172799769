"""`python -m benchmarks.serving`: the command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.serving import environments, goals, machine, tables, wrk
from benchmarks.serving.catalogue import CASES, SERVERS, Server, choose
from benchmarks.serving.figures import Measurement, Measurements
from benchmarks.serving.models import save
from benchmarks.serving.rounds import Cores, Plan, Run

__all__ = ["main"]

_ROOT = Path(".bench").resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="Measures model servers side by side, their answers checked first.",
        epilog=f"SERVER: ours, peer, ceiling (all of that kind), {', '.join(SERVERS)}. "
        f"CASE: MODEL:ROWSxCONNECTIONS, {', '.join(map(str, CASES))}.",
    )
    parser.add_argument("--servers", nargs="+", default=[], metavar="SERVER", help="default: all")
    parser.add_argument("--cases", nargs="+", default=[], metavar="CASE", help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (default: 4)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before each measurement (default: 1)")
    parser.add_argument("--server-core", type=int, default=0, help="default: 0")
    parser.add_argument("--load-core", type=int, default=1, help="default: 1")
    parser.add_argument("--monitor-core", type=int, help="default: a free one, else the load generator's")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: .bench/results/TIME.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing; print the tables of a former run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 when a server failed, or 2 and one line for what the user can mend."""
    options = _parser().parse_args(arguments)
    # Also when it is ended from outside, what it started must end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.show:
            return _show(json.loads(options.show.read_text()))
        return _run(options)
    except (ValueError, OSError, wrk.LoadError, environments.SetupError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    servers, cases = choose(options.servers, options.cases)
    if min(options.rounds, options.seconds, options.warm_up) < 1:
        raise ValueError("Cannot measure: --rounds, --seconds and --warm-up must be at least 1")
    cores = _cores(options)
    generator = wrk.version()
    plan = Plan(servers, cases, options.rounds, options.seconds, options.warm_up, cores, _ROOT)
    plan = replace(plan, servers=[server for server in servers if _can_run(server)])
    _make_root()
    models = {name: save(name, _ROOT / "models") for name in dict.fromkeys(case.model for case in cases)}
    run = Run(plan, models, _say)
    for peer in dict.fromkeys(server.environment for server in plan.servers if server.environment):
        _say(f"environment of {peer}")
        environments.prepare(peer, _ROOT / "venvs")
        _prepare_models(peer, run)
    about = machine.describe(generator, [server.environment for server in plan.servers])
    output = options.output or _ROOT / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    try:
        run.go()
    finally:
        # A run that is broken off has measured something, too.
        _write(output, {"about": about, "failures": run.failures, "measurements": list(map(asdict, run.measurements))})
    return _show(json.loads(output.read_text()))


def _write(output: Path, document: dict[str, Any]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    _say(f"written to {output}")


def _make_root() -> None:
    """Its folder ignores itself, so that gigabytes of environments never get into a commit."""
    _ROOT.mkdir(exist_ok=True)
    (_ROOT / ".gitignore").write_text("*\n")


def _cores(options: argparse.Namespace) -> Cores:
    """Servers, load generator and monitor apart from each other as far as there are cores."""
    there = sorted(os.sched_getaffinity(0))
    wanted = {options.server_core, options.load_core, *([] if options.monitor_core is None else [options.monitor_core])}
    if not wanted <= set(there) or options.server_core == options.load_core:
        raise ValueError(f"Cannot use cores {sorted(wanted)}: two different ones of {there} are needed")
    # For the monitor or a second worker: no server has both. Where there is no third core it is the load generator's.
    third = next((core for core in there if core not in wanted), options.load_core)
    monitor = third if options.monitor_core is None else options.monitor_core
    return Cores((options.server_core, third), options.load_core, monitor)


def _can_run(server: Server) -> bool:
    if server.needs:
        command = [sys.executable, *server.arguments[:2], "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        if server.needs not in shown.stdout:
            _say(f"{server.name} left out: the program has no {server.needs}")
            return False
    return True


def _prepare_models(peer: str, run: Run) -> None:
    """Saves the models in the peer's own form, where it has one."""
    script = environments.PEERS / peer / "prepare.py"
    if not script.is_file():
        return
    for model in run.models.values():
        command = [str(environments.python(peer, _ROOT / "venvs")), str(script), str(model.folder)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise environments.SetupError(f"Cannot prepare {peer}: {ended.stderr.strip()[-500:]}")


def _show(document: dict[str, Any]) -> int:
    measurements = Measurements(map(Measurement.from_json, document["measurements"]))
    print(f"\n{tables.figures_tables(measurements)}\n\n{tables.goals_table(goals.read(), measurements)}\n")
    for name, problem in document["failures"].items():
        print(f"FAILED: {name}: {problem}")
    return 1 if document["failures"] else 0


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
