"""The operator's loop: gather, decide, apply, commit, for each deployment, a few times a second.

`python -m seamark_local.operator --home DIR`. Killed at any point and started again, it sees the same, decides the same
and applies it again, which changes nothing; so nothing is lost and nothing is done twice.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seamark import spec as manifests
from seamark.actions import Action, Decision, Notify
from seamark.decide import decide as core_decide
from seamark.errors import Conflict, InvalidSpec, SeamarkError
from seamark.seen import Seen
from seamark.spec import ModelDeployment
from seamark.state import RetrainingState, State
from seamark.summary import summarise
from seamark_local import analyzer_config, audit, definitions, fault, lock, wanted
from seamark_local.analyzer_config import Watched
from seamark_local.apply import Applier
from seamark_local.cleanup import Cleanup
from seamark_local.envoy import Active, Gateway, Model, Services
from seamark_local.gather import Gatherer, ports
from seamark_local.home import Home, make_home
from seamark_local.store import Manifest, Process, Status, Store

__all__ = ["Decide", "Operator", "main", "summarise"]

log = logging.getLogger("seamark.operator")

Decide = Callable[[ModelDeployment, State, Seen], Decision]

#: Seconds between two looks: at least, at most, and while the gateway is on its way to a new route.
SHORTEST, LONGEST, SETTLING = 0.2, 1.0, 0.1


class Operator:
    """Runs the deployments of one home. `decide` and `clock` (Unix seconds) are what tests replace."""

    def __init__(self, home: Home, decide: Decide = core_decide, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._decide = decide
        self._clock = clock
        self._store = Store(home.database)
        self._gatherer = Gatherer(home, self._store)
        self._applier = Applier(home, self._store, self._gatherer.packages)
        self._cleanup = Cleanup(home, self._store, self._gatherer.packages)
        self._gateway = Gateway(home.root)
        self._problem = ""
        self._synced = False
        self._actions: dict[str, tuple[Action, ...]] = {}
        self._summaries: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self._gateway.close()
        self._gatherer.close()
        self._store.close()

    def tick(self) -> float:
        """One look at everything; returns the seconds until the next. One deployment's failure stops no other."""
        active = self._gateway.active()
        found = self._store.manifests()
        wake = LONGEST
        for manifest in found:
            wake = min(wake, self._attend(manifest, active))
        for name in set(wanted.deployments(self._store)) - {manifest.name for manifest in found}:
            self._forget(name)
        self._keep(found, active)
        return max(SHORTEST, wake) if self._synced or self._problem else SETTLING

    # --- one deployment

    def _attend(self, manifest: Manifest, active: Active | None) -> float:
        try:
            return self._turn(manifest, active)
        except SeamarkError as error:
            self._report(manifest.name, str(error))
        except Exception as error:
            # Whatever it is, the other deployments go on, and this one is tried again.
            log.exception("event=turn_failed deployment=%s", manifest.name)
            self._report(manifest.name, f"internal error: {error}")
        return LONGEST

    def _turn(self, manifest: Manifest, active: Active | None) -> float:
        name, document = manifest.name, manifest.document
        spec = manifests.parse(document)
        wanted.adopt(self._store, name)
        before = self._store.state(name) or State()
        now = self._clock()
        seen = self._gatherer.seen(manifest, spec, before, active.route(name) if active else None, now)
        decision = self._decide(spec, before, seen)
        self._applier.apply(spec, decision)
        self._commit(spec, document, before, seen, decision)
        return decision.wake_after

    def _commit(
        self, spec: ModelDeployment, document: Mapping[str, Any], before: State, seen: Seen, decision: Decision
    ) -> None:
        """Writes only what is new: repeated requests for the same thing are no new decision."""
        name, state = spec.name, decision.state
        is_new = bool(decision.actions) and decision.actions != self._actions.get(name)
        decided = state != before or is_new
        events = [action for action in decision.actions if isinstance(action, Notify)] if decided else []
        summary = summarise(spec, state, seen, decision)
        summary["message"] = summary["message"] or self._problem
        if not decided and summary == self._summaries.get(name):
            self._actions[name] = decision.actions
            return
        row = audit.encode(document, before, seen, decision) if decided else None
        fault.point("commit:before", self._home.root)
        self._store.commit(name, seen.now, state, events, summary, row)
        fault.point("commit:after", self._home.root)
        self._actions[name], self._summaries[name] = decision.actions, summary
        for event in events:
            log.info(
                "event=%s deployment=%s revision=%s reason=%s message=%r",
                event.kind,
                name,
                event.revision,
                event.reason,
                event.message,
            )

    def _report(self, name: str, message: str) -> None:
        """Show people what stops the deployment; its memory stays as it was."""
        try:
            summary = {"name": name, "revisions": [], **self._store.summary(name), "message": message}
            if summary != self._summaries.get(name):
                log.error("event=blocked deployment=%s cause=%r", name, message)
                self._store.commit(name, self._clock(), self._store.state(name) or State(), summary=summary)
                self._summaries[name] = summary
        except sqlite3.Error as error:
            log.error("event=store_failed deployment=%s error=%r", name, str(error))

    def _forget(self, name: str) -> None:
        """A deployment that was deleted: nothing of it is wanted, and one of the same name begins anew.

        What numbers things goes on counting, so that old commands and old Jobs are never taken for new ones.
        """
        log.info("event=forgotten deployment=%s", name)
        old = self._store.state(name) or State()
        commands = self._store.commands(name, old.last_command)
        fresh = State(
            last_command=max((command.id for command in commands), default=old.last_command),
            retraining=RetrainingState(episode=old.retraining.episode),
        )
        self._store.commit(name, self._clock(), fresh)
        wanted.forget(self._store, name)
        self._actions.pop(name, None)
        self._summaries.pop(name, None)

    # --- what is kept true for all

    def _keep(self, found: Sequence[Manifest], active: Active | None) -> None:
        """Gateway, processes, analyzer's config."""
        statuses = self._store.statuses()
        self._sync(found, statuses, active)
        specs = self._specs(found)
        needed: list[Process] = []
        for spec in specs:
            route = active.route(spec.name) if active else None
            needed += self._applier.keep(spec, route, self._synced, statuses)
        if len(specs) == len(found):
            self._applier.clean([manifest.name for manifest in found], needed)
            self._cleanup.tick(specs)
        self._configure_analyzer(specs, statuses)

    def _specs(self, found: Sequence[Manifest]) -> list[ModelDeployment]:
        """Those manifests that can be read; `_attend` has reported the others."""
        specs = []
        for manifest in found:
            try:
                specs.append(manifests.parse(manifest.document))
            except InvalidSpec:
                continue
        return specs

    def _sync(self, found: Sequence[Manifest], statuses: Mapping[str, Status], active: Active | None) -> None:
        models = []
        for manifest in found:
            now = wanted.load(self._store, manifest.name)
            known = {name: ports(name, served, statuses) for name, served in now.serving.items()}
            models.append(Model(manifest.name, now.route, known))
        services = Services(definitions.port(statuses, "analyzer"), definitions.port(statuses, "collector"))
        fault.point("gateway:before", self._home.root)
        synced = self._gateway.sync(models, services, active)
        fault.point("gateway:after", self._home.root)
        if synced.problem != self._problem:
            log.warning("event=gateway problem=%r", synced.problem)
        self._synced, self._problem = synced.done, synced.problem

    def _configure_analyzer(self, specs: Sequence[ModelDeployment], statuses: Mapping[str, Status]) -> None:
        watched = [
            Watched(spec, self._store.state(spec.name) or State(), wanted.load(self._store, spec.name).serving)
            for spec in specs
        ]
        content = analyzer_config.document(watched, self._gatherer.packages, statuses)
        fault.point("analyzer:before", self._home.root)
        analyzer_config.write(self._home.analyzer_config, content)
        fault.point("analyzer:after", self._home.root)


def run(operator: Operator, stop: threading.Event) -> None:
    """Ticks until `stop` is set. Trouble with the disk or the store is waited out."""
    while not stop.is_set():
        try:
            delay = operator.tick()
        except (sqlite3.Error, OSError) as error:
            log.error("event=tick_failed error=%r", str(error))
            delay = LONGEST
        stop.wait(delay)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One operator per home; the kernel lets the lock go when its holder dies."""
    try:
        with lock.hold(path):
            yield
    except Conflict as error:
        raise Conflict(f"Cannot start the operator: another one runs in {path.parent}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 after SIGTERM or SIGINT, 2 when another operator runs in this home."""
    parser = argparse.ArgumentParser(prog="python -m seamark_local.operator", description="Seamark's operator")
    parser.add_argument("--home", type=Path, required=True, help="folder of the platform's state")
    home = make_home(parser.parse_args(arguments).home)
    logging.basicConfig(level=logging.INFO, format="time=%(asctime)s level=%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with _alone(home.root / "operator.lock"):
            operator = Operator(home)
            try:
                run(operator, stop)
            finally:
                operator.close()
    except SeamarkError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line a mistake is told in
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
