"""Writes: makes what a decision says true. Every action may be applied again, after a kill at any point, unharmed.

Serving and routing are remembered first (`seamark_local.wanted`) and then kept true by `Applier.keep`, also when a port
changes or the operator was killed half-way. A revision that cannot be served (its package is gone, say) is reported as
failing, which the next decision sees; it does not stop the deployment's other actions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import assert_never

from seamark.actions import (
    Action,
    Decision,
    Notify,
    Promote,
    Record,
    Retire,
    RollBack,
    Route,
    Serve,
    StartRetraining,
    StopRetraining,
)
from seamark.errors import InvalidPackage, Unavailable
from seamark.seen import RouteSeen
from seamark.spec import ModelDeployment
from seamark_local import definitions, fault, wanted
from seamark_local.draining import Draining
from seamark_local.home import Home
from seamark_local.packages import Packages
from seamark_local.store import Process, Status, Store
from seamark_local.wanted import Served

__all__ = ["Applier", "fault_name"]

log = logging.getLogger("seamark.operator")

#: Ended training Jobs kept for people to look at, by deployment.
JOBS_KEPT = 5


def fault_name(action: Action) -> str:
    """The fault point of an action: `StartRetraining` is `start_retraining`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()


class Applier:
    """Applies the actions of one home's deployments."""

    def __init__(self, home: Home, store: Store, packages: Packages) -> None:
        self._home = home
        self._store = store
        self._packages = packages
        self._draining = Draining(home)

    def apply(self, spec: ModelDeployment, decision: Decision) -> None:
        """Apply in order; after an unforeseen error or a kill all of them are applied again."""
        for action in decision.actions:
            name = fault_name(action)
            fault.point(f"{name}:before", self._home.root)
            self._apply(spec, action)
            fault.point(f"{name}:after", self._home.root)

    def _apply(self, spec: ModelDeployment, action: Action) -> None:
        match action:
            case Serve():
                self._serve(spec, action)
            case Route():
                self._remember(spec.name, route=action)
            case Retire():
                self._retire(spec.name, action.revision)
            case StartRetraining():
                self._start(spec, action)
            case StopRetraining():
                self._store.undesire([definitions.trainer_name(action.job)])
            case Promote() | RollBack() | Record() | Notify():
                # Nothing outside knows a champion on a laptop: state, events and audit are written by the commit.
                pass
            case _:
                assert_never(action)

    # --- serving

    def _serve(self, spec: ModelDeployment, action: Serve) -> None:
        served = Served(action.uri, action.digest, action.replicas)
        self._remember(spec.name, serve={action.revision: self._kept(action.revision, served)})

    def _kept(self, revision: str, served: Served) -> Served:
        """Copies the package; what is wrong with it, if anything, becomes the revision's `error`."""
        try:
            self._packages.keep(served.uri, served.digest)
        except (InvalidPackage, Unavailable) as error:
            if served.error != str(error):
                log.warning("event=unservable revision=%s cause=%s", revision, error)
            return replace(served, error=str(error))
        return replace(served, error="")

    def _remember(self, name: str, serve: dict[str, Served] | None = None, route: Route | None = None) -> None:
        before = wanted.load(self._store, name)
        after = replace(before, serving={**before.serving, **(serve or {})}, route=route or before.route)
        wanted.save(self._store, name, after)

    def _retire(self, name: str, revision: str) -> None:
        before = wanted.load(self._store, name)
        route = before.route
        if route and route.weights.get(revision):
            log.warning("event=not_retired revision=%s cause=it carries traffic", revision)
            return
        route = _without(route, revision) if route else None
        serving = dict(before.serving)
        if revision in serving:
            serving[revision] = replace(serving[revision], retiring=True)
        wanted.save(self._store, name, replace(before, serving=serving, route=route))

    def keep(
        self, spec: ModelDeployment, route: RouteSeen | None, synced: bool, statuses: dict[str, Status]
    ) -> list[Process]:
        """Keep true what was wanted: packages copied, processes desired, retired ones dropped when nothing goes there.

        `route` is what the gateway confirmed, `synced` whether that is all it should know. Returns the definitions.
        """
        before = wanted.load(self._store, spec.name)
        serving = {
            name: self._kept(name, served)
            for name, served in before.serving.items()
            if not (served.retiring and synced and not _carries(route, name))
        }
        wanted.save(self._store, spec.name, replace(before, serving=serving))
        definitions = self._definitions(spec, serving, statuses)
        fault.point("processes:before", self._home.root)
        self._store.desire(definitions)
        fault.point("processes:after", self._home.root)
        return definitions

    def _definitions(
        self, spec: ModelDeployment, serving: dict[str, Served], statuses: dict[str, Status]
    ) -> list[Process]:
        sockets = definitions.sockets_folder(self._home, self._store)
        around = definitions.Surroundings(self._home, sockets, self._collector(statuses))
        return [
            process
            for name, served in serving.items()
            if not served.error
            for process in definitions.serving(around, spec, name, served, self._packages.path(served.digest))
        ]

    def _collector(self, statuses: dict[str, Status]) -> int:
        """The collector's port, or its last known one, so that a restart of the collector restarts no monitor."""
        known = int(self._store.fact("collector/port") or 0)
        found = definitions.port(statuses, "collector") or known
        if found != known:
            self._store.set_fact("collector/port", found)
        return found

    # --- retraining

    def _start(self, spec: ModelDeployment, action: StartRetraining) -> None:
        name = definitions.trainer_name(action.job)
        desired = self._store.desired()
        if name in self._store.statuses() or any(process.name == name for process in desired):
            return
        served = wanted.load(self._store, spec.name).serving.get(action.champion)
        if spec.retraining.trainer.job is not None:
            self._refuse(name, "spec.retraining.trainer.job is not supported on a laptop yet")
        elif served is None:
            self._refuse(name, f"its champion {action.champion} is not served")
        else:
            self._forget_old_jobs(spec.name, desired)
            champion = self._packages.path(served.digest)
            self._store.desire([definitions.trainer(self._home, spec, action, champion)])

    def _refuse(self, name: str, cause: str) -> None:
        """A Job that can never start is reported as a failed one, so that the decision sees it and goes on."""
        message = f"Cannot start {name}: {cause}"
        log.error("event=job_refused name=%s cause=%s", name, cause)
        self._store.report([Status(name, "failed", message=message)])

    def _forget_old_jobs(self, name: str, desired: list[Process]) -> None:
        statuses = self._store.statuses()
        ended = sorted(
            (statuses[process.name].finished or 0.0, process.name)
            for process in definitions.jobs(desired, name).values()
            if process.name in statuses and statuses[process.name].phase in ("succeeded", "failed", "stopped")
        )
        self._drop([process for _, process in ended[: -JOBS_KEPT + 1]])

    # --- what nobody wants any more

    def clean(self, deployments: Iterable[str], wanted_now: Iterable[Process]) -> None:
        """End the serving processes that are in no definition, and the Jobs of deployments that are gone.

        Monitors end last, when the collector has all they have.
        """
        alive = set(deployments)
        desired = self._store.desired()
        self._end_serving(desired, {process.name for process in wanted_now})
        jobs = definitions.jobs(desired).values()
        self._drop([process.name for process in jobs if process.env["SEAMARK_DEPLOYMENT"] not in alive])

    def _end_serving(self, desired: Iterable[Process], needed: Container[str]) -> None:
        unneeded = [
            process
            for process in desired
            if process.name.startswith(("predictor-", "monitor-")) and process.name not in needed
        ]
        if not unneeded:
            return
        statuses = self._store.statuses()
        monitors = [process for process in unneeded if process.name.startswith("monitor-")]
        draining = self._draining.unfinished(monitors, statuses)
        kept = {process.name for process in draining}
        self._store.undesire([process.name for process in unneeded if process.name not in kept])
        collector = self._collector(statuses)
        self._store.desire([definitions.sending_to(collector, monitor) for monitor in draining])

    def _drop(self, names: list[str]) -> None:
        if names:
            self._store.undesire(names)
        for name in names:
            self._store.remove_status(name)


def _without(route: Route, revision: str) -> Route:
    """The route without the revision as fallback, for copies or for header matches."""
    if route.fallback == revision:
        route = replace(route, fallback=None)
    if route.mirror and route.mirror[0] == revision:
        route = replace(route, mirror=None)
    return replace(route, match=(), match_to=None) if route.match_to == revision else route


def _carries(route: RouteSeen | None, revision: str) -> bool:
    if route is None:
        return False
    return route.weights.get(revision, 0) > 0 or (route.mirror is not None and route.mirror[0] == revision)
