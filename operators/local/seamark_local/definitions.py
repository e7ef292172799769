"""Which processes a deployment needs, as definitions for the supervisor.

Names: `predictor-<revision>-<replica>`, `monitor-<revision>-<replica>` and `trainer-<job>`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seamark.actions import StartRetraining
from seamark.spec import ModelDeployment
from seamark_local.home import Home
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served

__all__ = [
    "Surroundings",
    "feeder",
    "jobs",
    "monitor_name",
    "port",
    "predictor_name",
    "sending_to",
    "serving",
    "sockets_folder",
    "spool_name",
    "spool_owner",
    "spools_folder",
    "trained_folder",
    "trainer",
    "trainer_name",
]

#: Bytes of a unix socket's path that every system takes.
SOCKET_PATH = 100
SOCKET_NAME = "{:.16}.sock"
STOP_AFTER = 10.0


def predictor_name(revision: str, replica: int) -> str:
    return f"predictor-{revision}-{replica}"


def monitor_name(revision: str, replica: int) -> str:
    return f"monitor-{revision}-{replica}"


def trainer_name(job: str) -> str:
    return f"trainer-{job}"


def spool_name(monitor: str) -> str:
    """The name of the spool, and at the collector, of the monitor of this process name."""
    return monitor.removeprefix("monitor-")


def spool_owner(spool: str) -> str:
    """The process name of the monitor that has this spool."""
    return f"monitor-{spool}"


def feeder(monitor: str) -> str:
    """The process name of the predictor that writes to the monitor of this process name."""
    return f"predictor-{spool_name(monitor)}"


def spools_folder(home: Home) -> Path:
    return home.root / "spool"


def trained_folder(home: Home) -> Path:
    """What the training Jobs make, each in a folder of the Job's name."""
    return home.packages / "trained"


def sockets_folder(home: Home, store: Store) -> Path:
    """A private folder for unix sockets: HOME/run/sockets, or a temporary one when HOME's own path is too long."""
    folder = home.run / "sockets"
    if len(str(folder).encode()) + 1 + len(SOCKET_NAME.format("0" * 64)) <= SOCKET_PATH:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    remembered = Path(store.fact("sockets") or "/nonexistent")
    if remembered.is_dir() and not remembered.is_symlink() and remembered.stat().st_mode & 0o077 == 0:
        return remembered
    folder = Path(tempfile.mkdtemp(prefix="seamark-"))
    store.set_fact("sockets", str(folder))
    return folder


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the processes of a home share: folders, and the collector's port (0 while unknown)."""

    home: Home
    sockets: Path
    collector: int


def serving(around: Surroundings, spec: ModelDeployment, revision: str, served: Served, package: Path) -> list[Process]:
    """A predictor and a monitor for each replica; the monitors wait until the collector's port is known."""
    result = []
    for replica in range(served.replicas):
        source = f"{revision}-{replica}"
        socket = around.sockets / SOCKET_NAME.format(hashlib.sha256(source.encode()).hexdigest())
        result.append(_predictor(spec, revision, replica, package, socket))
        if around.collector:
            result.append(_monitor(around, spec, revision, replica, package, socket))
    return result


def _predictor(spec: ModelDeployment, revision: str, replica: int, package: Path, socket: Path) -> Process:
    options = {
        "--name": spec.name,
        "--package": package,
        "--revision": revision,
        "--monitor": socket,
        "--contract": spec.monitoring.contract,
        "--port": "{port}",
    }
    trust = ("--trust-pickle",) if spec.model.trust_pickle else ()
    argv = (*_argv("seamark_predictor", options), *trust)
    return Process(predictor_name(revision, replica), argv, ready="/readyz", stop_after=STOP_AFTER)


def _monitor(
    around: Surroundings, spec: ModelDeployment, revision: str, replica: int, package: Path, socket: Path
) -> Process:
    source = f"{revision}-{replica}"
    options = {
        "--package": package,
        "--namespace": spec.namespace,
        "--deployment": spec.name,
        "--revision": revision,
        "--source": source,
        "--socket": socket,
        "--collector": _collector(around.collector),
        "--spool": spools_folder(around.home) / source,
        "--port": "{port}",
    }
    argv = _argv("seamark_monitor", options)
    return Process(monitor_name(revision, replica), argv, ready="/readyz", stop_after=STOP_AFTER)


def _collector(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def sending_to(collector: int, monitor: Process) -> Process:
    """The same monitor, which sends to the collector at this port."""
    at = monitor.argv.index("--collector") + 1
    return replace(monitor, argv=(*monitor.argv[:at], _collector(collector), *monitor.argv[at + 1 :]))


def _argv(module: str, options: Mapping[str, object]) -> tuple[str, ...]:
    words = [str(word) for option in options.items() for word in option]
    return (sys.executable, "-m", module, *words)


def trainer(home: Home, spec: ModelDeployment, action: StartRetraining, champion: Path) -> Process:
    """The retraining Job. `champion` is the folder of the champion's package."""
    env = {
        "SEAMARK_JOB": action.job,
        "SEAMARK_NAMESPACE": spec.namespace,
        "SEAMARK_DEPLOYMENT": spec.name,
        "SEAMARK_DATA": str(home.data),
        "SEAMARK_DATA_SINCE": repr(action.since),
        "SEAMARK_CHAMPION_PACKAGE": str(champion),
        "SEAMARK_OUTPUT": str(trained_folder(home) / action.job),
        "SEAMARK_CONFIG": json.dumps(dict(action.config)),
    }
    return Process(
        trainer_name(action.job),
        (sys.executable, "-m", "seamark_trainer"),
        env=env,
        kind="job",
        deadline=spec.retraining.deadline,
        retries=spec.retraining.retries,
        stop_after=STOP_AFTER,
    )


def jobs(desired: Iterable[Process], deployment: str | None = None) -> dict[str, Process]:
    """The desired training Jobs by Job name, of one deployment or of all."""
    return {
        process.env["SEAMARK_JOB"]: process
        for process in desired
        if "SEAMARK_JOB" in process.env and deployment in (None, process.env["SEAMARK_DEPLOYMENT"])
    }


def port(statuses: Mapping[str, Status], name: str) -> int:
    """The port a process has or had; 0 while it has none."""
    return statuses[name].port if name in statuses else 0
