"""The config file: which models to watch and where their monitors are. It is replaced by rename and read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from seamark.errors import InvalidSpec, SeamarkError, Unavailable

__all__ = ["Budget", "ConfigFile", "Model", "RevisionSource", "Settings", "parse_settings"]

#: Bytes of a config file; 1000 models of a few replicas need less than one MiB.
LIMIT = 16 * 2**20
#: Seconds between two ticks of one model: never more often, and never so seldom that request rates are stale.
SHORTEST_TICK = 0.2
LONGEST_TICK = 5.0

_T = TypeVar("_T")
_Positive = Annotated[float, Meta(gt=0, le=366 * 86400)]
_Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]


class Budget(msgspec.Struct, frozen=True, rename="camel"):
    """At most `count` false drift alarms in `seconds`."""

    count: Annotated[float, Meta(gt=0)] = 1.0
    seconds: _Positive = 30 * 86400.0


class RevisionSource(msgspec.Struct, frozen=True, rename="camel"):
    """A revision's package folder and the addresses of its monitors' metrics, one for each replica."""

    package: str
    role: str = ""
    targets: Annotated[tuple[_Url, ...], Meta(max_length=1000)] = ()


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """One deployment to watch; durations are seconds. `since` is when the challenger became ready (Unix seconds)."""

    window: _Positive
    interval: _Positive
    namespace: str = "default"
    false_alarms: Budget = Budget()
    min_effect: Annotated[float, Meta(ge=0)] = 0.1
    quality_metric: str = "accuracy"
    champion: str | None = None
    challenger: str | None = None
    since: float | None = None
    revisions: dict[str, RevisionSource] = {}

    @property
    def tick(self) -> float:
        """Seconds between two looks at the counters."""
        return min(max(self.interval, SHORTEST_TICK), LONGEST_TICK)

    @property
    def brief(self) -> float:
        """Seconds of the window for what must show and clear quickly: the contract."""
        return min(self.window, max(5 * self.interval, 10.0))

    @property
    def latest(self) -> float:
        """Seconds of the window for request rate and p99, which people watch live."""
        return min(self.window, max(5 * self.tick, 10.0))


class Settings(msgspec.Struct, frozen=True):
    models: dict[str, Model] = {}


class _Document(msgspec.Struct, frozen=True):
    """The models one by one, so that a mistake's path can name its model."""

    models: dict[str, msgspec.Raw] = {}


def parse_settings(content: bytes) -> Settings:
    """The settings, or `InvalidSpec` naming the path of the first mistake."""
    raw = _decode(content, _Document, "$")
    return Settings({name: _decode(model, Model, f"$.models.{name}") for name, model in raw.models.items()})


def _decode(content: bytes | msgspec.Raw, kind: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        problem, _, inside = str(error).partition(" - at ")
        raise InvalidSpec(path + inside.strip("`").removeprefix("$"), problem) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidSpec(path, str(error)) from error


class ConfigFile:
    """Reads the file again when its inode, size or modification time changes. A broken file keeps the last good one.

    `problem` says what is wrong with the file now; it is empty when the file is good.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.settings: Settings | None = None
        self.problem = f"Cannot read {path}: it was not looked at yet"

    def refresh(self) -> Settings | None:
        """The newest good settings; None until there is one."""
        try:
            self._read_if_changed()
        except (OSError, SeamarkError) as error:
            self.problem = f"Cannot read {self._path}: {_cause(error)}"
            if isinstance(error, OSError):
                self._seen = None
        return self.settings

    def _read_if_changed(self) -> None:
        with self._path.open("rb") as file:
            stat = os.fstat(file.fileno())
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            if stat.st_size > LIMIT:
                raise Unavailable(f"it has {stat.st_size} bytes; allowed: {LIMIT}")
            content = file.read(LIMIT)
        self._seen = seen
        self.settings = parse_settings(content)
        self.problem = ""


def _cause(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
