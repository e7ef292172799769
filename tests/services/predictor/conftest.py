"""Packages, dataplanes and processes for the predictor's tests."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io as skops

from seamark.errors import InvalidInput
from seamark.package import CATEGORY, NUMBER, Feature, Manifest, ModelFile, Schema
from seamark.profile import build
from seamark.records import Prediction
from seamark_predictor import formats
from seamark_predictor.counters import Counters
from seamark_predictor.dataplane import Dataplane
from seamark_predictor.explain import Explainer
from seamark_predictor.http1 import Request
from seamark_predictor.package import read
from seamark_predictor.plane import AnyPlane
from seamark_predictor.rest import Rest
from seamark_predictor.served import Options, Served, info

# gRPC's clients in tests would otherwise abort children of this process that are about to become other programs.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

CANCER = load_breast_cancer()
CANCER_NAMES = tuple(str(name) for name in CANCER.feature_names)


def write_package(
    folder: Path,
    model: bytes,
    form: str,
    schema: Schema,
    numbers: np.ndarray[Any, Any],
    categories: list[list[str | None]],
    outputs: np.ndarray[Any, Any],
) -> Path:
    """A package folder, as a trainer writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = build(schema, numbers, categories, outputs, None).to_json()
    file = f"model.{form}"
    manifest = Manifest(
        name="cancer",
        version="1",
        model=ModelFile(file, form, hashlib.sha256(model).hexdigest()),
        schema=schema,
        profile_sha256=hashlib.sha256(profile).hexdigest(),
    )
    (folder / file).write_bytes(model)
    (folder / "profile.json").write_bytes(profile)
    (folder / "seamark.json").write_bytes(manifest.to_json())
    return folder


def cancer_schema(nullable: bool = False) -> Schema:
    return Schema("binary", tuple(Feature(name, NUMBER, nullable) for name in CANCER_NAMES), (0, 1))


def cancer_outputs(model: Any) -> np.ndarray[Any, Any]:
    return np.column_stack([model.predict(CANCER.data), model.predict_proba(CANCER.data)[:, 1]]).astype(float)


def dump(model: Any, form: str) -> bytes:
    """The bytes of a model file."""
    if form == "skops":
        return skops.dumps(model)
    if form == "joblib":
        file = io.BytesIO()
        joblib.dump(model, file)
        return file.getvalue()
    from skl2onnx import to_onnx

    options = {id(model): {"zipmap": False}}
    return to_onnx(model, CANCER.data[:1].astype(np.float32), options=options).SerializeToString()


@pytest.fixture(scope="session")
def logistic() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(CANCER.data, CANCER.target)


@pytest.fixture(scope="session")
def nullable_forest() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=10).fit(CANCER.data, CANCER.target)


@pytest.fixture(scope="session")
def cancer_packages(tmp_path_factory: pytest.TempPathFactory, logistic: Pipeline) -> dict[str, Path]:
    """The same logistic regression in every format."""
    root = tmp_path_factory.mktemp("cancer")
    return {
        form: write_package(
            root / form, dump(logistic, form), form, cancer_schema(), CANCER.data, [], cancer_outputs(logistic)
        )
        for form in ("skops", "onnx", "joblib")
    }


@pytest.fixture(scope="session")
def nullable_package(tmp_path_factory: pytest.TempPathFactory, nullable_forest: Any) -> Path:
    folder = tmp_path_factory.mktemp("nullable")
    return write_package(
        folder,
        dump(nullable_forest, "skops"),
        "skops",
        cancer_schema(nullable=True),
        CANCER.data,
        [],
        cancer_outputs(nullable_forest),
    )


MIXED = Schema(
    "multiclass",
    (Feature("age"), Feature("land", CATEGORY), Feature("size"), Feature("colour", CATEGORY)),
    ("high", "low", "mid"),
)


@pytest.fixture(scope="session")
def mixed_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers and texts in turn, three classes that are texts."""
    random = np.random.default_rng(7)
    numbers = random.normal([40, 2], [10, 1], (200, 2))
    lands = random.choice(["br", "de", "日本"], 200).tolist()
    colours = random.choice(["red", "blue"], 200).tolist()
    x = np.empty((200, 4), dtype=object)
    x[:, 0], x[:, 1], x[:, 2], x[:, 3] = numbers[:, 0], lands, numbers[:, 1], colours
    y = np.where(numbers[:, 0] < 35, "low", np.where(numbers[:, 0] < 45, "mid", "high"))
    columns = ColumnTransformer([("texts", OneHotEncoder(), [1, 3]), ("numbers", StandardScaler(), [0, 2])])
    model = make_pipeline(columns, LogisticRegression()).fit(x, y)
    outputs = np.column_stack([np.searchsorted(["high", "low", "mid"], model.predict(x)), np.ones(200)]).astype(float)
    folder = tmp_path_factory.mktemp("mixed")
    return write_package(folder, dump(model, "skops"), "skops", MIXED, numbers, [lands, colours], outputs)


@pytest.fixture(scope="session")
def regression_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = CANCER.data[:, :2]
    model = LinearRegression().fit(x, CANCER.data[:, 2])
    schema = Schema("regression", (Feature("a"), Feature("b")))
    outputs = model.predict(x).reshape(-1, 1)
    return write_package(tmp_path_factory.mktemp("regression"), dump(model, "skops"), "skops", schema, x, [], outputs)


@pytest.fixture(scope="session")
def tensors_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare model of numbers and texts by row, `x` and `t`, and of two whole numbers, `k`; it answers `<name>_out`."""
    from onnx import TensorProto, helper

    kinds = [("x", TensorProto.FLOAT, ["n", 3]), ("k", TensorProto.INT64, [2]), ("t", TensorProto.STRING, ["n", 1])]
    inputs = [helper.make_tensor_value_info(*kind) for kind in kinds]
    outputs = [helper.make_tensor_value_info(f"{name}_out", kind, shape) for name, kind, shape in kinds]
    operators = {"x": "Neg", "k": "Neg", "t": "Identity"}
    nodes = [helper.make_node(operator, [name], [f"{name}_out"]) for name, operator in operators.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path_factory.mktemp("tensors") / "tensors.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def open_plane(folder: Path, *, reject: bool = False, trust_pickle: bool = False) -> Dataplane:
    content = read(folder)
    model = formats.load(content, trust_pickle=trust_pickle)
    plane = Dataplane(content, model, name="cancer", revision="cancer-1", reject=reject)
    plane.warm_up()
    return plane


@pytest.fixture(scope="session")
def cancer_plane(cancer_packages: dict[str, Path]) -> Dataplane:
    return open_plane(cancer_packages["skops"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{condition} was not true within {seconds} s"
        time.sleep(0.01)


@dataclass
class Predictor:
    """A predictor as a real process. package: of the model `cancer`, or several by the models' names."""

    package: Path | dict[str, Path]
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    log: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.package, dict):
            models = [part for name, path in self.package.items() for part in ("--model", f"{name}={path}")]
        else:
            models = ["--name", "cancer", "--package", str(self.package)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "seamark_predictor", *models, "--port", str(self.port), *self.arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def wait_ready(self) -> Predictor:
        def ready() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            try:
                return self.client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, 30)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit status; what it logged is in `log`."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        self.log = self.process.communicate(timeout=20)[1]
        self.client.close()
        return self.process.returncode


@pytest.fixture
def start() -> Iterator[Callable[..., Predictor]]:
    """Starts predictors that end with the test."""
    started: list[Predictor] = []

    def begin(package: Path | dict[str, Path], *arguments: str, port: int | None = None) -> Predictor:
        started.append(Predictor(package, arguments, port or free_port()))
        return started[-1]

    yield begin
    for predictor in started:
        if predictor.process.poll() is None:
            predictor.process.kill()
            predictor.finish()


class Answer:
    """What the application sent back, in process."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def json(self) -> Any:
        return json.loads(self.body)


class _Client:
    """In place of the connection: it keeps the answer."""

    def __init__(self, answer: Answer) -> None:
        #: As the server, which counts the bytes it holds.
        self.server = self
        self.held = 0
        self.answered = asyncio.get_running_loop().create_future()
        self._answer = answer

    def respond(self, request: Request, status: int, headers: bytes, body: bytes) -> None:
        lines = headers.decode("latin-1").split("\r\n")
        assert lines.pop() == ""
        self._answer.headers = dict(line.split(": ", 1) for line in lines)
        self._answer.status, self._answer.body = status, body
        self.answered.set_result(None)


class Records(list[Prediction]):
    """A sink that keeps what the monitor would get."""

    def add(self, prediction: Prediction) -> None:
        self.append(prediction)


class App:
    """The REST shell in process, with the records it made."""

    def __init__(
        self,
        plane: AnyPlane,
        body_limit: int = 1 << 20,
        options: Options | None = None,
        explainer: Explainer | None = None,
    ) -> None:
        self.records = Records()
        counters = Counters([info(plane)])
        self.served = Served(plane, self.records, counters.models[0], options, explainer)
        self.rest = Rest([self.served], body_limit, counters)

    def ask(
        self, path: str, body: object = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Answer:
        """POST when there is a body (bytes, or anything JSON), else GET."""
        return asyncio.run(send(self.rest, path, body, headers, method))

    def v2(self, body: object, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("/v2/models/cancer/infer", body, headers)

    def v1(self, body: object, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("/v1/models/cancer:predict", body, headers)


async def send(
    rest: Rest,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
    fault: InvalidInput | None = None,
) -> Answer:
    """One request to the REST shell; see `App.ask`. Where this is cancelled the client has hung up."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer = Answer()
    client = _Client(answer)
    method = method or ("GET" if body is None else "POST")
    request = Request(method, path, {name.lower(): value for name, value in (headers or {}).items()}, content, fault)
    request._connection = client
    rest.handle(request)
    try:
        await client.answered
    except asyncio.CancelledError:
        request._connection = None
        if request.gone is not None:
            request.gone()
        raise
    return answer


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Helpers; test modules cannot import this file."""
    return SimpleNamespace(
        App=App,
        CANCER=CANCER,
        NAMES=CANCER_NAMES,
        MIXED=MIXED,
        Predictor=Predictor,
        cancer_outputs=cancer_outputs,
        cancer_schema=cancer_schema,
        dump=dump,
        free_port=free_port,
        open_plane=open_plane,
        send=send,
        wait_for=wait_for,
        write_package=write_package,
    )
