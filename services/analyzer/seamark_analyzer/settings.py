"""The settings: which models to watch and where their monitors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from seamark.errors import InvalidSpec

__all__ = ["Budget", "Model", "RevisionSource", "Settings", "parse_settings"]

#: Seconds between two ticks of one model: never more often, and never so seldom that request rates are stale.
SHORTEST_TICK = 0.2
LONGEST_TICK = 5.0

_T = TypeVar("_T")
_Positive = Annotated[float, Meta(gt=0, le=366 * 86400)]
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
_Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]


class Budget(msgspec.Struct, frozen=True, rename="camel"):
    """At most `count` false drift alarms in `seconds`."""

    count: Annotated[float, Meta(gt=0)] = 1.0
    seconds: _Positive = 30 * 86400.0


class RevisionSource(msgspec.Struct, frozen=True, rename="camel"):
    """A revision's package and the addresses of its monitors' metrics, one for each replica.

    package is a folder; where it is empty, the package with this digest is asked of the monitors. Targets are told
    apart as they are written: with a `#...` at the end, which no request carries, an address that another pod takes
    over becomes another target.
    """

    package: str = ""
    digest: _Digest | None = None
    role: str = ""
    targets: Annotated[tuple[_Url, ...], Meta(max_length=1000)] = ()

    def __post_init__(self) -> None:
        if not self.package and self.digest is None:
            raise ValueError("`package` or `digest` is needed")


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """One deployment to watch; durations are seconds. `since` is when the challenger became ready (Unix seconds).

    Its metrics and log are found by `namespace` and `deployment`, which is the key among the models unless given.
    """

    window: _Positive
    interval: _Positive
    namespace: str = "default"
    deployment: str = ""
    false_alarms: Budget = Budget()
    min_effect: Annotated[float, Meta(ge=0)] = 0.1
    quality_metric: str = "accuracy"
    champion: str | None = None
    challenger: str | None = None
    since: float | None = None
    revisions: dict[str, RevisionSource] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """Namespace and deployment: what labels and log tables bear."""
        return self.namespace, self.deployment

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
    models = {name: _model(name, model) for name, model in raw.models.items()}
    _are_distinct(models)
    return Settings(models)


def _model(name: str, content: msgspec.Raw) -> Model:
    model = _decode(content, Model, f"$.models.{name}")
    return msgspec.structs.replace(model, deployment=model.deployment or name)


def _are_distinct(models: Mapping[str, Model]) -> None:
    """Two with the same labels would export the same series twice, which no scraper accepts."""
    seen: dict[tuple[str, str], str] = {}
    for name, model in models.items():
        other = seen.setdefault(model.identity, name)
        if other != name:
            deployment = f"deployment {model.deployment!r} in namespace {model.namespace!r}"
            raise InvalidSpec(f"$.models.{name}", f"is {deployment}, as $.models.{other} is")


def _decode(content: bytes | msgspec.Raw, kind: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        problem, _, inside = str(error).partition(" - at ")
        raise InvalidSpec(path + inside.strip("`").removeprefix("$"), problem) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidSpec(path, str(error)) from error
