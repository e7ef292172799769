"""Where things are in a home folder (`.seamark`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seamark.errors import NotFound, UserError

__all__ = ["Home", "find_home", "make_home"]


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home. `root` is absolute, so that children started anywhere find the same files."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "state.db"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def analyzer_config(self) -> Path:
        return self.root / "analyzer.json"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def packages(self) -> Path:
        """Copies of the packages that are served, each in a folder named by its digest."""
        return self.root / "packages"

    @property
    def examples(self) -> Path:
        return self.root / "examples"

    def log_of(self, process: str) -> Path:
        return self.logs / f"{_file_name(process)}.log"

    def result_of(self, job: str) -> Path:
        """The file a job writes its termination message to."""
        return self.run / f"{_file_name(job)}.result"


def _file_name(process: str) -> str:
    return process.replace("/", "_")


def make_home(path: Path) -> Home:
    """The home at `path`, with its folders; `UserError` when they cannot be made."""
    home = Home(path.absolute())
    try:
        for folder in (home.root, home.logs, home.run, home.data):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the Seamark home {path}: {error.strerror}") from error
    return home


def find_home(path: Path) -> Home:
    """The home that an earlier `seamark up` made at `path`, or `NotFound`."""
    home = Home(path.absolute())
    if not home.database.is_file():
        raise NotFound(
            f"Cannot find a Seamark home in {path}: run seamark up -f FILE.yaml first, or name another with --home"
        )
    return home
