"""What is measured: every server, how it is started and which protocols it speaks; and the cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CASES", "MODELS", "SERVERS", "Case", "Server", "choose"]

MODELS = ("logistic", "forest", "large")
#: Those that every server is measured with. The large forest leaves the load generator little to do.
_COMMON = ("logistic", "forest")


@dataclass(frozen=True, slots=True)
class Server:
    """A way to start a server.

    kind: ours, peer, or ceiling: what a fast HTTP server does with nothing around it. environment: the folder
    under `peers` with its packages and `app.py`, or "" for the project's own environment. arguments: what follows
    `python`; {folder} is the model's, {port} and {socket} (the monitor's) are given at the start. package: the
    folder within {folder} that it serves, for the monitor to read too. workers: processes that serve, each with a core
    of its own. needs: an option the program must know, else the server is left out.
    """

    name: str
    kind: str
    title: str
    wires: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: str = ""
    models: tuple[str, ...] = _COMMON
    package: str = ""
    monitored: bool = False
    workers: int = 1
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """rows in each request, over `connections` at once."""

    model: str
    rows: int
    connections: int

    def __str__(self) -> str:
        return f"{self.model}:{self.rows}x{self.connections}"


CASES = (
    Case("logistic", 1, 32),
    Case("logistic", 1, 1),
    Case("logistic", 100, 32),
    Case("logistic", 100, 1),
    Case("forest", 1, 32),
    Case("forest", 1, 1),
    Case("forest", 100, 32),
    Case("large", 100, 32),
)


def _seamark(
    name: str,
    title: str,
    package: str,
    *,
    monitored: bool = True,
    workers: int = 1,
    models: tuple[str, ...] = _COMMON,
) -> Server:
    arguments = ["-m", "seamark_predictor", "--name", "bench", "--port", "{port}"]
    arguments += ["--package", f"{{folder}}/{package}"]
    if monitored:
        arguments += ["--monitor", "{socket}"]
    if workers > 1:
        arguments += ["--workers", str(workers)]
    return Server(
        name,
        "ours",
        title,
        ("v1", "v2", "v2-binary"),
        tuple(arguments),
        models=models,
        package=package,
        monitored=monitored,
        workers=workers,
        needs="--workers" if workers > 1 else "",
    )


def _peer(environment: str, title: str, *wires: str, name: str = "", options: tuple[str, ...] = ()) -> Server:
    arguments = ("{peer}/app.py", "{folder}", "{port}", *options)
    return Server(name or environment, "peer", title, wires, arguments, environment)


def _ceiling(work: str, title: str, wire: str, models: tuple[str, ...]) -> Server:
    arguments = ("-m", "benchmarks.serving.ceiling", work, "{folder}", "{port}")
    return Server(f"ceiling-{work}", "ceiling", title, (wire,), arguments, models=models)


_ALL = (
    _ceiling("echo", "granian, the body unread", "echo", ("logistic",)),
    _ceiling("parse", "granian, orjson", "echo", ("logistic",)),
    _ceiling("onnx", "granian, orjson, ONNX Runtime", "instances", _COMMON),
    _ceiling("own", "Seamark's HTTP, orjson, ONNX Runtime", "instances", _COMMON),
    _seamark("seamark", "Seamark, ONNX, monitored", "onnx"),
    _seamark("seamark-unmonitored", "Seamark, ONNX, no monitor", "onnx", monitored=False, models=MODELS),
    _seamark("seamark-native", "Seamark, scikit-learn, monitored", "skops"),
    _seamark(
        "seamark-2-workers",
        "Seamark, ONNX, 2 workers, no monitor",
        "onnx",
        monitored=False,
        workers=2,
        models=("large",),
    ),
    _peer("kserve", "KServe, as it ships", "v1", "v2", options=("logging",)),
    _peer("kserve", "KServe, logs off", "v1", "v2", name="kserve-quiet", options=("quiet",)),
    _peer("mlserver", "MLServer", "v2"),
    _peer("bentoml", "BentoML", "instances"),
    _peer("litserve", "LitServe", "instances"),
    _peer("ray", "Ray Serve", "instances"),
    _peer("mlflow", "MLflow", "inputs"),
    _peer("pytriton", "Triton, by PyTriton", "v2"),
    _peer("fastapi", "FastAPI, scikit-learn", "instances"),
    _peer("fastapi_onnx", "FastAPI, orjson, ONNX Runtime", "instances"),
)
SERVERS: Mapping[str, Server] = MappingProxyType({server.name: server for server in _ALL})


def choose(names: Iterable[str], cases: Iterable[str]) -> tuple[list[Server], list[Case]]:
    """The servers and cases of these names, in catalogue order; none means all. Raises `ValueError`."""
    wanted, models = set(names), {str(case): case for case in CASES}
    chosen = set(cases)
    kinds = {server.kind for server in _ALL}
    for unknown in wanted - SERVERS.keys() - kinds:
        raise ValueError(f"Cannot measure {unknown!r}: allowed: {', '.join([*sorted(kinds), *SERVERS])}")
    for unknown in chosen - models.keys():
        raise ValueError(f"Cannot measure {unknown!r}: allowed: {', '.join(models)}")
    servers = [s for s in _ALL if not wanted or s.name in wanted or s.kind in wanted]
    return servers, [case for name, case in models.items() if not chosen or name in chosen]
