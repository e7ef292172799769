"""Scenarios on the cluster in KUBECONFIG, asserted from outside: answers, objects, Prometheus.

`make e2e` runs them: first those that share the platform, two at a time, then those marked `alone`. The platform is
installed by Helm, and removed at the end of a run that is not divided among workers; each scenario has a namespace of
its own. SEAMARK_E2E_TAG is the images' tag; SEAMARK_E2E_KEEP=1 leaves the platform installed for the next run.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import monitoring, packages
from harness.cluster import Cluster, Document, until
from harness.monitoring import Prometheus
from harness.users import Platform, Users

from seamark_local.demo import data
from seamark_local.demo.story import replay
from seamark_local.demo.traffic import Draw

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "seamark-system"
TAG = os.environ.get("SEAMARK_E2E_TAG", "dev")
IMAGES = (
    os.environ.get("SEAMARK_E2E_PROMETHEUS", "prom/prometheus:v2.42.0"),
    os.environ.get("SEAMARK_E2E_ALERTMANAGER", "prom/alertmanager:v0.25.0"),
)
CLAIM = "models"
#: The name of this worker of pytest-xdist; None where one process runs everything.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def helm(*arguments: str, seconds: float = 300) -> str:
    done = subprocess.run(["helm", *arguments], text=True, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def install(*options: str) -> None:
    """Installs or upgrades Seamark, and what an uninstall has left behind, too: Helm takes that as it is."""
    values = ("--set", f"image.tag={TAG}", "--set", "collector.persistence.size=1Gi")
    values += ("--set", f"alertmanager.url=http://alertmanager.{monitoring.NAMESPACE}:9093", *options)
    release = ("seamark", str(ROOT / "charts" / "seamark"), "-n", SYSTEM, "--create-namespace", *values)
    helm("upgrade", "--install", *release, "--wait", "--timeout", "180s")
    manifest = helm("get", "manifest", "seamark", "-n", SYSTEM)
    Cluster().kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)


# --- how they are run


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: stops the platform or measures it, so nothing else may run beside it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if WORKER is not None:
        for item in items:
            if item.get_closest_marker("alone"):
                item.add_marker(pytest.mark.skip(reason="needs the platform for itself: run it without -n"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured: the lines that good scenarios printed."""
    printed = [(report.nodeid, report.capstdout) for report in terminalreporter.getreports("passed")]
    lines = [(name, line) for name, text in printed for line in text.splitlines()]
    if lines:
        terminalreporter.section("measured")
    for name, line in lines:
        terminalreporter.write_line(f"{name.rpartition('::')[2]}: {line}")


@contextlib.contextmanager
def first_of_all(place: Path) -> Iterator[bool]:
    """One worker after the other; whether nobody came through here before. place: a folder that all workers share."""
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = place / "done"
        yield not done.exists()
        done.touch()


# --- what they share


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.close()


@pytest.fixture(scope="session")
def world() -> data.World:
    return data.load()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, world: data.World) -> Path:
    folder = tmp_path_factory.mktemp("models")
    packages.make(folder, world)
    return folder


@pytest.fixture(scope="session")
def platform(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Seamark by Helm, with Prometheus and Alertmanager beside it. Workers leave it to the run after them."""
    own = tmp_path_factory.getbasetemp()
    with first_of_all(own.parent if WORKER else own) as is_first:
        if is_first:
            install_platform(cluster)
    yield Platform(
        cluster.gateway(),
        cluster.reach(SYSTEM, "seamark-collector", 8081),
        cluster.secret("seamark", "feedbackToken", SYSTEM),
    )
    if not WORKER and not os.environ.get("SEAMARK_E2E_KEEP"):
        helm("uninstall", "seamark", "-n", SYSTEM, "--wait")
        cluster.kubectl("delete", "namespace", SYSTEM, monitoring.NAMESPACE, "--wait=false")


def install_platform(cluster: Cluster) -> None:
    for namespace in (SYSTEM, monitoring.NAMESPACE):
        found = cluster.find("namespace", namespace, "")
        if found and found["metadata"].get("deletionTimestamp"):
            cluster.wait_for(f"namespace/{namespace}", "delete", "", 180)
    install()
    token = cluster.secret("seamark", "alertToken", SYSTEM)
    rules = sorted((ROOT / "charts" / "seamark" / "files" / "rules").glob("*.yaml"))
    cluster.apply(*monitoring.documents(rules, SYSTEM, token, IMAGES))
    for name in ("prometheus", "alertmanager"):
        cluster.wait_for(f"deployment/{name}", "condition=Available", monitoring.NAMESPACE, 180)


@pytest.fixture(scope="session")
def reinstall() -> Callable[..., None]:
    """Installs or upgrades the platform, with further options of Helm."""
    return install


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster, platform: Platform) -> Prometheus:
    return Prometheus(cluster.reach(monitoring.NAMESPACE, "prometheus", 9090))


@dataclass
class Scene:
    """One namespace with the models on a claim, and short ways to say what scenarios say."""

    cluster: Cluster
    platform: Platform
    world: data.World
    namespace: str
    name: str = "scanner"

    def manifest(self, package: str = "good", **spec: Any) -> Document:
        """A ModelDeployment that decides quickly; `spec` replaces whole parts of it."""
        document: Document = {
            "apiVersion": "seamark.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "model": {"uri": f"pvc://{CLAIM}/{package}"},
                "rollout": {
                    "steps": [{"shadow": {"for": "5s"}}, {"weight": 20}, {"hold": {"for": "5s"}}],
                    "gates": [{"metric": "errorRate", "margin": 0.05}],
                    "progressDeadline": "3m",
                },
                "monitoring": {"window": "20s", "interval": "2s"},
            },
        }
        return document | {"spec": document["spec"] | copy.deepcopy(spec)}

    def apply(self, document: Document) -> None:
        self.cluster.apply(document)

    def serve(self, document: Document) -> str:
        """Applies the manifest of a first model and waits until it is Ready; returns the champion's name."""
        self.apply(document)
        try:
            self.cluster.wait_for(f"md/{self.name}", "condition=Ready", self.namespace, 180)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from error
        return str(self.status()["champion"])

    def put(self, document: Document, package: str) -> None:
        """The same manifest with another model."""
        document["spec"]["model"]["uri"] = f"pvc://{CLAIM}/{package}"
        self.apply(document)

    @property
    def host(self) -> str:
        return f"{self.name}-{self.namespace}.example.com"

    def users(self, draw: Draw | None = None, rate: float = 40.0, headers: dict[str, str] | None = None) -> Users:
        draw = draw or replay(self.world, self.world.live)
        return Users(self.platform, self.namespace, self.name, self.host, draw, rate, headers)

    # --- what is seen

    def status(self) -> Document:
        return self.cluster.status(self.name, self.namespace)

    def story(self) -> str:
        return self.cluster.story(self.name, self.namespace)

    def until(self, happened: Callable[[], Any], seconds: float = 120) -> Any:
        return until(happened, seconds, self.story)

    def event(self, reason: str, text: str = "") -> Document | None:
        """An event with that reason whose message has that text; by kubectl."""
        found = self.cluster.events(self.name, self.namespace, reason)
        return next((one for one in found if text in one["message"]), None)

    def challenger(self) -> str:
        return str(self.until(lambda: self.status().get("challenger")))

    def annotate(self, text: str) -> None:
        self.cluster.kubectl(
            *("annotate", "md", self.name, "-n", self.namespace, f"seamark.dev/command={text}", "--overwrite")
        )


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, cluster: Cluster, platform: Platform, world: data.World, models: Path
) -> Iterator[Scene]:
    """A fresh namespace named after the test, with the models on the claim `models`."""
    words = re.findall(r"[a-z0-9]+", request.node.name.removeprefix("test_"))
    # KServe's host names leave 43 characters for a namespace and a deployment's name together.
    mark = hashlib.sha256(request.node.name.encode()).hexdigest()[:4]
    name = f"e2e-{'-'.join(words)[:20].strip('-')}-{mark}"
    if request.node.get_closest_marker("alone"):
        until(lambda: not cluster.unfinished(), 180, lambda: f"still there: {cluster.unfinished()}")
    with cluster.namespace(name) as namespace:
        fill(cluster, namespace, models)
        yield Scene(cluster, platform, world, namespace)


#: A volume that was used before may bear what another scenario has left.
UNPACK = """
import os, shutil, sys, tarfile
for entry in os.scandir("/mnt/claim"):
    shutil.rmtree(entry, ignore_errors=True) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall("/mnt/claim")
"""


def fill(cluster: Cluster, namespace: str, models: Path) -> None:
    """Puts the folder's packages on a new claim, with a pod that may do nothing but write there."""
    cluster.offer_volumes()
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        _filler(namespace),
    )
    try:
        cluster.wait_for("pod/filler", "condition=Ready", namespace, 120)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{cluster.kubectl('get', 'pods,pvc,pv', '-n', namespace)}") from error
    cluster.mark_volume(CLAIM, namespace)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for package in sorted(models.iterdir()):
            tar.add(package, arcname=package.name)
    command = ["kubectl", "exec", "-i", "-n", namespace, "filler", "--", "python", "-c", UNPACK]
    done = subprocess.run(command, input=archive.getvalue(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    cluster.kubectl("delete", "pod", "filler", "-n", namespace, "--wait=false", "--grace-period=0", "--force")


def _filler(namespace: str) -> Document:
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "filler",
        "image": f"seamark/predictor:{TAG}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.pause()"],
        "securityContext": security,
        "volumeMounts": [{"name": "claim", "mountPath": "/mnt/claim"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filler", "namespace": namespace},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }
