"""Keeps a home's disk bounded: what nothing names any more goes, some time after it was last needed.

Level-triggered: each run looks at what is there and at what the store names, and remembers nothing. Only what the
platform made is touched; the prediction log never is. Folders go by rename first, so that a kill leaves no half of one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seamark.spec import ModelDeployment
from seamark.state import State
from seamark_local import definitions, spools, wanted
from seamark_local.home import Home
from seamark_local.packages import Packages, local_folder
from seamark_local.runner import FINISHED
from seamark_local.store import Store

__all__ = ["Cleanup"]

log = logging.getLogger("seamark.operator")

#: Seconds between runs.
INTERVAL = 60.0
#: Seconds for which a thing stays after it was last needed; logs and refused batches are kept for people.
GRACE = 3600.0
LOG_GRACE = 86400.0
REJECTED_GRACE = 7 * 86400.0
#: Spools with unsent predictions and no monitor, which only a crash or a surplus of draining monitors can leave.
MOST_STRANDED = 16
#: Statuses of ended Jobs that are desired no more, for people to look at.
MOST_ENDED = 20

#: Ends the name of a folder that is being removed.
GONE = ".gone"
_COPY = re.compile(r"\.?[0-9a-f]{64}(\.draft|\.gone)?")


@dataclass(frozen=True, slots=True)
class _Needed:
    """What the store names. packages: their folders; processes: those that run or should; arguments: of all of them.

    statuses: processes whose statuses say what is not yet known elsewhere.
    """

    packages: frozenset[Path]
    processes: frozenset[str]
    arguments: frozenset[str]
    statuses: frozenset[str]


class Cleanup:
    """Cleans one home. `clock`: Unix seconds, which files' times are compared with."""

    def __init__(self, home: Home, store: Store, packages: Packages, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._store = store
        self._packages = packages
        self._clock = clock
        self._last: float | None = None
        self._stranded: set[Path] = set()

    def tick(self, specs: Sequence[ModelDeployment]) -> None:
        """Run, unless it ran within the last minute. `specs`: all deployments."""
        now = time.monotonic()
        if self._last is None or now - self._last >= INTERVAL:
            self._last = now
            self.run(specs)

    def run(self, specs: Sequence[ModelDeployment]) -> None:
        """One look at everything. What cannot be removed is logged and tried again the next time."""
        needed = self._needed(specs)
        with _tried(self._home.root):
            self._sweep_packages(needed)
            self._sweep_spools(needed)
            self._sweep_files(needed)
        self._sweep_statuses(needed)

    # --- what is needed

    def _needed(self, specs: Sequence[ModelDeployment]) -> _Needed:
        names = sorted({spec.name for spec in specs} | set(wanted.deployments(self._store)))
        states = [self._store.state(name) or State() for name in names]
        served = [served for name in names for served in wanted.load(self._store, name).serving.values()]
        revisions = [revision for state in states for revision in state.revisions]
        models = {(item.uri, item.digest) for item in served} | {(item.uri, item.digest) for item in revisions}
        jobs = [state.retraining.job for state in states if state.retraining.job]
        desired = self._store.desired()
        arguments = [text for process in desired for text in (*process.argv, *process.env.values())]
        uris = {spec.model.uri for spec in specs} | {uri for uri, _ in models}
        paths = [
            *(self._packages.path(digest) for _, digest in models),
            *(folder for uri in uris if (folder := local_folder(uri))),
            *(definitions.trained_folder(self._home) / job for job in jobs),
            *(Path(text) for text in arguments if text.startswith(str(self._home.packages))),
        ]
        wished = frozenset(process.name for process in desired)
        return _Needed(
            packages=frozenset(path.resolve() for path in paths),
            processes=wished | frozenset(self._store.statuses()),
            arguments=frozenset(arguments),
            statuses=wished | frozenset(definitions.trainer_name(job) for job in jobs),
        )

    # --- packages

    def _sweep_packages(self, needed: _Needed) -> None:
        """A folder's own time says when it was last needed: it is set while it is."""
        for folder in self._package_folders():
            real = folder.resolve()
            with _tried(folder):
                if any(path == real or real in path.parents for path in needed.packages):
                    os.utime(folder, (self._clock(), self._clock()))
                elif self._is_older(folder.lstat().st_mtime, GRACE):
                    _remove(folder)

    def _package_folders(self) -> Iterator[Path]:
        """Those that the platform made: a user's own folder may lie beside them."""
        copies = (path for path in _entries(self._home.packages) if _COPY.fullmatch(path.name))
        for path in (*copies, *_entries(definitions.trained_folder(self._home))):
            if path.is_dir() and not path.is_symlink():
                yield path

    # --- spools

    def _sweep_spools(self, needed: _Needed) -> None:
        stranded = []
        for folder in _entries(definitions.spools_folder(self._home)):
            with _tried(folder):
                if definitions.spool_owner(folder.name) in needed.processes or spools.in_use(folder):
                    continue
                seen = spools.look(folder)
                if seen and seen.unsent and not _is_half_removed(folder):
                    stranded.append((seen.changed, folder, seen.unsent))
                elif seen and self._is_older(seen.changed, REJECTED_GRACE if seen.rejected else GRACE):
                    _remove(folder)
        self._bound_stranded(sorted(stranded))

    def _bound_stranded(self, stranded: Sequence[tuple[float, Path, int]]) -> None:
        """Oldest first. The rest is kept: a revision of the same name would deliver it."""
        for _, folder, unsent in stranded[:-MOST_STRANDED]:
            log.error("event=spool_given_up spool=%s unsent_bytes=%d", folder.name, unsent)
            with _tried(folder):
                _remove(folder)
        for _, folder, unsent in stranded[-MOST_STRANDED:]:
            if folder not in self._stranded:
                log.warning("event=spool_stranded spool=%s unsent_bytes=%d", folder.name, unsent)
        self._stranded = {folder for _, folder, _ in stranded}

    # --- logs, results, sockets

    def _sweep_files(self, needed: _Needed) -> None:
        logs = {self._home.log_of(name).name for name in (*needed.processes, "supervisor")}
        results = {self._home.result_of(name).name for name in needed.processes}
        for path in _entries(self._home.logs):
            if _base(path.name, ".log") not in logs:
                self._remove_old(path, LOG_GRACE)
        for path in _entries(self._home.run):
            if ".result" in path.name and _base(path.name, ".result") not in results:
                self._remove_old(path, GRACE)
        for path in _entries(definitions.sockets_folder(self._home, self._store)):
            if path.suffix == ".sock" and str(path) not in needed.arguments:
                self._remove_old(path, GRACE)

    def _remove_old(self, path: Path, grace: float) -> None:
        with _tried(path):
            if not path.is_dir() and self._is_older(path.lstat().st_mtime, grace):
                path.unlink(missing_ok=True)

    def _is_older(self, changed: float, grace: float) -> bool:
        return self._clock() - changed > grace

    # --- statuses

    def _sweep_statuses(self, needed: _Needed) -> None:
        """A Job that nothing remembers is never asked for again: numbers of Jobs only grow."""
        ended = [
            status
            for name, status in self._store.statuses().items()
            if status.phase in FINISHED and name not in needed.statuses
        ]
        ended.sort(key=lambda status: (status.finished or 0.0, status.name))
        for status in ended[:-MOST_ENDED]:
            self._store.remove_status(status.name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _base(name: str, ending: str) -> str:
    """The name without what a draft or an older copy of the file has around it."""
    return name.removeprefix(".").partition(ending)[0] + ending


@contextmanager
def _tried(path: Path) -> Iterator[None]:
    """What fails is logged, stops nothing else, and is tried again with the next run."""
    try:
        yield
    except OSError as error:
        log.warning("event=cleanup_failed path=%s error=%r", path, str(error))


def _is_half_removed(folder: Path) -> bool:
    return folder.suffix == GONE


def _remove(folder: Path) -> None:
    """By rename first: what is half removed must not pass for whole."""
    gone = folder
    if not _is_half_removed(folder):
        gone = folder.with_name(f".{folder.name.lstrip('.')}{GONE}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
    shutil.rmtree(gone)
    log.info("event=removed folder=%s", folder)
