"""The cluster in KUBECONFIG, by kubectl: as people see it, not as the operator does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["Cluster", "Document", "until"]

Document = dict[str, Any]
#: Label of what scenarios have made.
MARK = "seamark.dev/e2e"
_T = TypeVar("_T")


def until(happened: Callable[[], _T], seconds: float, told: Callable[[], str] = lambda: "", every: float = 0.5) -> _T:
    """Waits for something true and returns it; fails with what is `told` when it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s; {told()}")
        time.sleep(every)
    return found


class Cluster:
    """kubectl with short ways to say things. Everything it makes is in namespaces of its own."""

    def __init__(self) -> None:
        self._forwards: dict[tuple[str, str, int], tuple[str, int]] = {}
        self._processes: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(10)

    # --- kubectl

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, seconds: float = 180) -> str:
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, text=True, capture_output=True, timeout=seconds, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if not done.returncode else done.stderr

    def apply(self, *documents: Document) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def find(self, kind: str, name: str, namespace: str) -> Document | None:
        found = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def get(self, kind: str, name: str, namespace: str) -> Document:
        found = self.find(kind, name, namespace)
        assert found is not None, f"there is no {kind} {namespace}/{name}"
        return found

    def items(self, kind: str, namespace: str, **labels: str) -> list[Document]:
        chosen = [f"{key}={value}" for key, value in labels.items()]
        options = ["-l", ",".join(chosen)] if chosen else []
        return list(json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *options))["items"])

    def names(self, kind: str, namespace: str, selector: str = "") -> set[str]:
        options = ["-l", selector] if selector else []
        found = json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *options))["items"]
        return {item["metadata"]["name"] for item in found}

    def secret(self, name: str, key: str, namespace: str) -> str:
        import base64

        return base64.b64decode(self.get("secret", name, namespace)["data"][key]).decode()

    # --- a ModelDeployment's own words

    def status(self, name: str, namespace: str) -> Document:
        found = self.find("md", name, namespace)
        return dict(found.get("status") or {}) if found else {}

    def condition(self, name: str, namespace: str, kind: str) -> tuple[str, str]:
        """(status, reason); ("", "") while there is none."""
        found = [one for one in self.status(name, namespace).get("conditions") or [] if one["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def events(self, name: str, namespace: str, reason: str = "") -> list[Document]:
        """Events about the ModelDeployment whose reason or kind is `reason`."""
        found = [one for one in self.items("events", namespace) if one["involvedObject"]["name"] == name]
        return [one for one in found if not reason or one["reason"] == reason]

    def story(self, name: str, namespace: str) -> str:
        """Everything to know when a scenario fails."""
        status = {key: value for key, value in self.status(name, namespace).items() if key != "conditions"}
        events = [f"{one['reason']}: {one['message'][:150]}" for one in self.events(name, namespace)]
        pods = self.kubectl("get", "pods,isvc,jobs,httproute", "-n", namespace, check=False)
        return f"status {json.dumps(status)}\nevents {events}\n{pods}"

    # --- reaching Services

    def reach(self, namespace: str, service: str, port: int) -> tuple[str, int]:
        """An address of the Service from this machine: its own where that works, else a forwarded port."""
        key = (namespace, service, port)
        if key not in self._forwards:
            address = self.get("service", service, namespace)["spec"]["clusterIP"]
            self._forwards[key] = (address, port) if _answers(address, port) else self._forward(*key)
        return self._forwards[key]

    def _forward(self, namespace: str, service: str, port: int) -> tuple[str, int]:
        command = ["kubectl", "port-forward", "-n", namespace, f"service/{service}", f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        found = re.search(r":(\d+) ->", process.stdout.readline())
        assert found, f"Cannot forward a port to {service}"
        return "127.0.0.1", int(found[1])

    def gateway(self) -> tuple[str, int]:
        """Where users call: SEAMARK_GATEWAY (as http://10.0.0.1), else a port forwarded to Envoy Gateway's Service."""
        if url := os.environ.get("SEAMARK_GATEWAY", ""):
            host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
            return host, int(port or 80)
        selector = "gateway.envoyproxy.io/owning-gateway-name=kserve-ingress-gateway"
        [service] = self.names("service", "envoy-gateway-system", selector)
        return self.reach("envoy-gateway-system", service, 80)

    # --- namespaces

    @contextlib.contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """A namespace that enforces the restricted Pod Security Standard; deleted at the end."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted", MARK: "true"}
        self.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        try:
            yield name
        finally:
            # First, and not when all pods have ended: the operator has nothing to do with it any more.
            self.kubectl("delete", "md", "--all", "-n", name, "--wait=false", check=False)
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def mark_volume(self, claim: str, namespace: str) -> None:
        """So that it is known as a scenario's when its claim is gone."""
        volume = self.get("pvc", claim, namespace)["spec"]["volumeName"]
        self.kubectl("label", "pv", volume, f"{MARK}=true", "--overwrite")

    def offer_volumes(self) -> None:
        """Lets volumes of scenarios that are over be claimed again, where the cluster has a fixed number of them."""
        for volume in json.loads(self.kubectl("get", "pv", "-l", f"{MARK}=true", "-o", "json"))["items"]:
            if volume["status"].get("phase") == "Released":
                self.kubectl("patch", "pv", volume["metadata"]["name"], "-p", '{"spec": {"claimRef": null}}')

    def unfinished(self) -> set[str]:
        """Namespaces of scenarios whose ModelDeployments are still on their way out."""
        found = self.kubectl("get", "md", "-A", "-o", "jsonpath={.items[*].metadata.namespace}").split()
        return {name for name in found if name.startswith("e2e-")}

    def wait_for(self, what: str, condition: str, namespace: str, seconds: float) -> None:
        self.kubectl(
            "wait", f"--for={condition}", what, "-n", namespace, f"--timeout={seconds:g}s", seconds=seconds + 30
        )


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
