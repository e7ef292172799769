"""The ModelDeployment a user writes, as values.

`parse(document)` turns a manifest (already read from YAML or JSON) into a `ModelDeployment`, or raises
`InvalidSpec` with the path of the first mistake. Every default lives here and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seamark import schedule
from seamark.errors import InvalidSpec
from seamark.package import MODEL_FORMATS

__all__ = [
    "API_VERSION",
    "DRIFT_KINDS",
    "GATE_METRICS",
    "STRATEGIES",
    "FalseAlarms",
    "Gate",
    "Governance",
    "HeaderMatch",
    "Hold",
    "Inconclusive",
    "Model",
    "ModelDeployment",
    "Monitoring",
    "Quality",
    "Retraining",
    "Rollout",
    "Serving",
    "Shadow",
    "Step",
    "Trainer",
    "Trigger",
    "Weight",
    "duration",
    "parse",
]

API_VERSION = "seamark.dev/v1alpha1"
STRATEGIES = ("direct", "canary", "blueGreen", "shadow", "abTest")
DRIFT_KINDS = ("feature", "prediction", "label", "concept", "contract", "skew")
GATE_METRICS = ("errorRate", "latencyP99", "shadowAgreement", "accuracy")

_T = TypeVar("_T")
_D = TypeVar("_D")

_LONGEST_TEXT = 2000
_LONGEST_DURATION = 3650 * 86400.0


@dataclass(frozen=True, slots=True)
class Model:
    """Where the model package is, and what may be loaded from it. digest: the only one that is accepted."""

    uri: str
    format: str | None = None
    trust_pickle: bool = False
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    replicas: int = 1
    max_replicas: int = 3
    runtime: str = "seamark-predictor"
    protocol: str = "v2"
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copy `percent` of the requests to the challenger for `seconds`."""

    percent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Weight:
    """Send `weight` percent of the requests to the challenger."""

    weight: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Judge for `seconds` before going on; None waits until a person promotes."""

    seconds: float | None


Step = Shadow | Weight | Hold


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule on evidence. Which bounds a metric takes is checked when the manifest is parsed.

    `margin` is how much worse than the champion is still fine, in the metric's unit;
    `max_ratio` the same as a ratio; `min` an absolute floor.
    """

    metric: str
    margin: float | None = None
    max_ratio: float | None = None
    min: float | None = None


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """What to do when a hold ends without a verdict: `extend` for at most `seconds`, then roll back."""

    action: str = "extend"
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    header: str
    value: str


@dataclass(frozen=True, slots=True)
class Rollout:
    strategy: str = "canary"
    steps: tuple[Step, ...] = ()
    gates: tuple[Gate, ...] = ()
    on_inconclusive: Inconclusive = Inconclusive()
    match: tuple[HeaderMatch, ...] = ()
    sticky_header: str | None = None
    progress_deadline: float = 600.0


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """How many false drift alarms are accepted: `count` in `seconds`, over all features together."""

    count: float = 1.0
    seconds: float = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Quality:
    metric: str = "accuracy"
    label_delay: float = 86400.0


@dataclass(frozen=True, slots=True)
class Monitoring:
    window: float = 3600.0
    interval: float = 300.0
    false_alarms: FalseAlarms = FalseAlarms()
    min_effect: float = 0.1
    contract: str = "observe"
    max_violations: float = 0.05
    segments: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    quality: Quality = Quality()


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a retraining: a drift kind, a cron schedule, or a number of new labels. One is set."""

    drift: str | None = None
    schedule: str | None = None
    new_labels: int | None = None


@dataclass(frozen=True, slots=True)
class Trainer:
    config: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Retraining:
    on: tuple[Trigger, ...] = ()
    cooldown: float = 6 * 3600.0
    max_per_day: int = 4
    min_labels: int = 500
    deadline: float = 3600.0
    retries: int = 2
    trainer: Trainer = Trainer()


@dataclass(frozen=True, slots=True)
class Governance:
    owner: str = ""
    risk_tier: str = "low"
    approvals: int = 0
    retention: float = 90 * 86400.0


@dataclass(frozen=True, slots=True)
class ModelDeployment:
    name: str
    namespace: str
    model: Model
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    governance: Governance = Governance()


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def duration(value: object, path: str) -> float:
    """Seconds from `250ms`, `10s`, `5m`, `1h30m` or `30d`."""
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
            if seconds > _LONGEST_DURATION:
                raise InvalidSpec(path, f"{_show(value)} is longer than 3650d")
            return seconds
    raise InvalidSpec(path, f"{_show(value)} is not a duration such as 250ms, 10s, 5m, 1h30m or 30d")


class _Reader:
    """One mapping of the manifest: takes known fields, then refuses the rest."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidSpec(path or "manifest", f"{_show(value)} is not a mapping")
        self._value = value
        self._path = path
        self._known: list[str] = []

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def take(self, key: str, convert: Callable[[object, str], _T], default: _D) -> _T | _D:
        self._known.append(key)
        value = self._value.get(key)
        return default if value is None else convert(value, self.path(key))

    def need(self, key: str, convert: Callable[[object, str], _T]) -> _T:
        self._known.append(key)
        value = self._value.get(key)
        if value is None:
            raise InvalidSpec(self.path(key), "is missing and has no default")
        return convert(value, self.path(key))

    def end(self) -> None:
        for key in self._value:
            if key not in self._known:
                allowed = ", ".join(sorted(self._known))
                raise InvalidSpec(self.path(_key(key)), f"unknown field; allowed here: {allowed}")


def _show(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _key(key: object) -> str:
    return key if isinstance(key, str) and len(key) <= 60 and key.isprintable() else _show(key)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidSpec(path, f"{_show(value)} is not a text")
    if not value:
        raise InvalidSpec(path, "is empty")
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise InvalidSpec(path, f"{_show(value)} is not one line of at most {_LONGEST_TEXT} characters")
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidSpec(path, f"{_show(value)} is not true or false")
    return value


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSpec(path, f"{_show(value)} is not a mapping")
    return dict(value)


def _document(value: object, path: str) -> Mapping[str, Any]:
    """A mapping that is passed on as JSON; YAML knows values that JSON does not, such as dates and NaN."""
    document = _mapping(value, path)
    try:
        json.dumps(document, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidSpec(path, f"cannot be written as JSON: {error}") from error
    return document


def _number(low: float, high: float) -> Callable[[object, str], float]:
    def convert(value: object, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidSpec(path, f"{_show(value)} is not a number")
        if not low <= value <= high:
            raise InvalidSpec(path, f"{_show(value)} is not between {low:g} and {high:g}")
        return float(value)

    return convert


def _integer(low: int, high: int) -> Callable[[object, str], int]:
    def convert(value: object, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidSpec(path, f"{_show(value)} is not a whole number")
        if not low <= value <= high:
            raise InvalidSpec(path, f"{_show(value)} is not between {low} and {high}")
        return value

    return convert


def _one_of(*allowed: str) -> Callable[[object, str], str]:
    def convert(value: object, path: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            choice = f"one of {', '.join(allowed)}" if len(allowed) > 1 else allowed[0]
            raise InvalidSpec(path, f"{_show(value)} is not {choice}")
        return value

    return convert


def _positive_duration(value: object, path: str) -> float:
    seconds = duration(value, path)
    if seconds <= 0:
        raise InvalidSpec(path, f"{_show(value)} is not longer than zero")
    return seconds


def _list_of(convert: Callable[[object, str], _T]) -> Callable[[object, str], tuple[_T, ...]]:
    def convert_all(value: object, path: str) -> tuple[_T, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidSpec(path, f"{_show(value)} is not a list")
        if len(value) > 1000:
            raise InvalidSpec(path, f"{len(value)} entries are more than 1000")
        return tuple(convert(item, f"{path}[{i}]") for i, item in enumerate(value))

    return convert_all


def _object_name(value: object, path: str) -> str:
    if not isinstance(value, str) or len(value) > 40 or not _NAME.fullmatch(value):
        raise InvalidSpec(path, f"{_show(value)} is not a name of at most 40 lower-case letters, digits and dashes")
    return value


def _model(value: object, path: str) -> Model:
    read = _Reader(value, path)
    model = Model(
        uri=read.need("uri", _text),
        format=read.take("format", _one_of(*MODEL_FORMATS), None),
        trust_pickle=read.take("trustPickle", _flag, False),
        digest=read.take("digest", _digest, None),
    )
    read.end()
    return model


def _digest(value: object, path: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise InvalidSpec(path, f"{_show(value)} is not a SHA-256 of 64 lower-case hexadecimal digits")
    return value


def _serving(value: object, path: str) -> Serving:
    read = _Reader(value, path)
    replicas = read.take("replicas", _integer(1, 100), 1)
    serving = Serving(
        replicas=replicas,
        max_replicas=read.take("maxReplicas", _integer(1, 1000), max(3, replicas)),
        runtime=read.take("runtime", _text, "seamark-predictor"),
        protocol=read.take("protocol", _one_of("v1", "v2"), "v2"),
        resources=read.take("resources", _document, {}),
    )
    read.end()
    if serving.max_replicas < replicas:
        raise InvalidSpec(read.path("maxReplicas"), f"{serving.max_replicas} is less than {replicas} replicas")
    return serving


def _shadow(value: object, path: str) -> Shadow:
    _is_no_bare_duration(value, path)
    read = _Reader(value, path)
    shadow = Shadow(percent=read.take("percent", _integer(1, 100), 100), seconds=read.need("for", _positive_duration))
    read.end()
    return shadow


def _is_no_bare_duration(value: object, path: str) -> None:
    if isinstance(value, str):
        raise InvalidSpec(path, f"{_show(value)} is not a mapping such as {{for: 10m}}")


def _hold(value: object, path: str) -> Hold:
    _is_no_bare_duration(value, path)
    read = _Reader(value, path)
    hold = Hold(seconds=read.take("for", _positive_duration, None))
    read.end()
    return hold


def _step(value: object, path: str) -> Step:
    read = _Reader(value, path)
    if len([key for key in ("shadow", "weight", "hold") if read.has(key)]) > 1:
        raise InvalidSpec(path, "has more than one of shadow, weight and hold; write one step for each")
    shadow = read.take("shadow", _shadow, None)
    weight = read.take("weight", _integer(0, 100), None)
    hold = read.take("hold", _hold, None)
    read.end()
    if shadow is not None:
        return shadow
    if weight is not None:
        return Weight(weight)
    if hold is not None:
        return hold
    raise InvalidSpec(path, "needs one of shadow, weight or hold")


_GATE_BOUNDS = {
    "errorRate": ("margin",),
    "latencyP99": ("maxRatio", "margin"),
    "shadowAgreement": ("min",),
    "accuracy": ("margin",),
}
_LARGEST_MARGIN = {"latencyP99": 3600.0}


def _gate(value: object, path: str) -> Gate:
    read = _Reader(value, path)
    metric = read.need("metric", _one_of(*GATE_METRICS))
    gate = Gate(
        metric=metric,
        margin=read.take("margin", _number(0, _LARGEST_MARGIN.get(metric, 1.0)), None),
        max_ratio=read.take("maxRatio", _number(1, 100), None),
        min=read.take("min", _number(0, 1), None),
    )
    read.end()
    bounds = _GATE_BOUNDS[metric]
    given = {
        name: bound
        for name, bound in (("margin", gate.margin), ("maxRatio", gate.max_ratio), ("min", gate.min))
        if bound is not None
    }
    for name in given:
        if name not in bounds:
            raise InvalidSpec(f"{path}.{name}", f"{metric} takes {' and '.join(bounds)} only")
    if bounds[0] not in given:
        raise InvalidSpec(f"{path}.{bounds[0]}", f"is missing; {metric} needs it")
    return gate


def _inconclusive(value: object, path: str) -> Inconclusive:
    actions = _one_of("extend", "pause", "promote")
    if isinstance(value, str):
        return Inconclusive(actions(value, path))
    read = _Reader(value, path)
    inconclusive = Inconclusive(
        action=read.need("action", actions), seconds=read.take("for", _positive_duration, 3600.0)
    )
    read.end()
    return inconclusive


def _match(value: object, path: str) -> HeaderMatch:
    read = _Reader(value, path)
    match = HeaderMatch(header=read.need("header", _header), value=read.need("value", _text))
    read.end()
    return match


def _header(value: object, path: str) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _HEADER.fullmatch(value):
        raise InvalidSpec(path, f"{_show(value)} is not an HTTP header name")
    return value.lower()


def _sticky(value: object, path: str) -> str:
    read = _Reader(value, path)
    header = read.need("header", _header)
    read.end()
    return header


def _preset(strategy: str) -> tuple[Step, ...]:
    minutes = 600.0
    presets: dict[str, tuple[Step, ...]] = {
        "direct": (),
        "canary": (
            Shadow(100, minutes),
            Weight(5),
            Hold(minutes),
            Weight(25),
            Hold(minutes),
            Weight(50),
            Hold(minutes),
        ),
        "blueGreen": (Shadow(100, minutes), Hold(None)),
        "shadow": (Shadow(100, 24 * 3600.0), Hold(None)),
        "abTest": (Weight(50), Hold(7 * 86400.0)),
    }
    return presets[strategy]


_DEFAULT_GATES = (
    Gate("errorRate", margin=0.01),
    Gate("latencyP99", max_ratio=1.5, margin=0.005),
)


def _steps_are_in_order(steps: tuple[Step, ...], path: str) -> None:
    weight = 0
    for i, step in enumerate(steps):
        if isinstance(step, Shadow) and weight > 0:
            raise InvalidSpec(f"{path}[{i}].shadow", f"comes after weight {weight}; shadow comes first")
        if isinstance(step, Weight):
            if step.weight < weight:
                raise InvalidSpec(f"{path}[{i}].weight", f"{step.weight} is less than {weight} before it")
            weight = step.weight


def _rollout(value: object, path: str) -> Rollout:
    read = _Reader(value, path)
    strategy = read.take("strategy", _one_of(*STRATEGIES), "canary")
    steps = read.take("steps", _list_of(_step), _preset(strategy))
    _steps_are_in_order(steps, read.path("steps"))
    read.take("onWorse", _one_of("rollback"), "rollback")
    gates = read.take("gates", _list_of(_gate), () if strategy == "direct" else _DEFAULT_GATES)
    if len({gate.metric for gate in gates}) < len(gates):
        raise InvalidSpec(read.path("gates"), "a metric has two gates; one is allowed")
    rollout = Rollout(
        strategy=strategy,
        steps=steps,
        gates=gates,
        on_inconclusive=read.take("onInconclusive", _inconclusive, Inconclusive()),
        match=read.take("match", _list_of(_match), ()),
        sticky_header=read.take("sticky", _sticky, None),
        progress_deadline=read.take("progressDeadline", _positive_duration, 600.0),
    )
    read.end()
    return rollout


def _false_alarms(value: object, path: str) -> FalseAlarms:
    if isinstance(value, str) and "/" in value:
        count, _, period = value.partition("/")
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", count) and 0 < float(count) <= 1e6:
            return FalseAlarms(float(count), _positive_duration(period, path))
    raise InvalidSpec(path, f"{_show(value)} is not a budget such as 1/30d: alarms per duration")


def _quality(value: object, path: str) -> Quality:
    read = _Reader(value, path)
    quality = Quality(
        metric=read.take("metric", _one_of("accuracy", "f1"), "accuracy"),
        label_delay=read.take("labelDelay", duration, 86400.0),
    )
    read.end()
    return quality


def _monitoring(value: object, path: str) -> Monitoring:
    read = _Reader(value, path)
    window = read.take("window", _positive_duration, 3600.0)
    monitoring = Monitoring(
        window=window,
        interval=read.take("interval", _positive_duration, window / 12),
        false_alarms=read.take("falseAlarms", _false_alarms, FalseAlarms()),
        min_effect=read.take("minEffect", _number(0, 10), 0.1),
        contract=read.take("contract", _one_of("observe", "reject"), "observe"),
        max_violations=read.take("maxViolations", _number(0, 1), 0.05),
        segments=read.take("segments", _list_of(_text), ()),
        groups=read.take("groups", _list_of(_text), ()),
        quality=read.take("quality", _quality, Quality()),
    )
    if monitoring.interval > window:
        raise InvalidSpec(read.path("interval"), f"is longer than the window of {window:g}s")
    read.end()
    return monitoring


def _schedule(value: object, path: str) -> str:
    line = _text(value, path)
    schedule.parse(line, path)
    return line


def _trigger(value: object, path: str) -> Trigger:
    read = _Reader(value, path)
    trigger = Trigger(
        drift=read.take("drift", _one_of(*DRIFT_KINDS), None),
        schedule=read.take("schedule", _schedule, None),
        new_labels=read.take("newLabels", _integer(1, 10**12), None),
    )
    read.end()
    if sum(part is not None for part in (trigger.drift, trigger.schedule, trigger.new_labels)) != 1:
        raise InvalidSpec(path, "needs exactly one of drift, schedule and newLabels")
    return trigger


def _trainer(value: object, path: str) -> Trainer:
    read = _Reader(value, path)
    trainer = Trainer(
        config=read.take("config", _document, {}),
        job=read.take("job", _document, None),
    )
    read.end()
    return trainer


def _with_triggers(value: object) -> object:
    """`on` is an accepted name of `triggers`; YAML 1.1 readers, kubectl's among them, make true or "true" of it."""
    if not isinstance(value, Mapping):
        return value
    return {"triggers" if key is True or key in ("on", "true") else key: item for key, item in value.items()}


def _retraining(value: object, path: str) -> Retraining:
    read = _Reader(_with_triggers(value), path)
    retraining = Retraining(
        on=read.take("triggers", _list_of(_trigger), ()),
        cooldown=read.take("cooldown", duration, 6 * 3600.0),
        max_per_day=read.take("maxPerDay", _integer(1, 1000), 4),
        min_labels=read.take("minLabels", _integer(1, 10**9), 500),
        deadline=read.take("deadline", _positive_duration, 3600.0),
        retries=read.take("retries", _integer(0, 10), 2),
        trainer=read.take("trainer", _trainer, Trainer()),
    )
    read.end()
    return retraining


def _governance(value: object, path: str) -> Governance:
    read = _Reader(value, path)
    governance = Governance(
        owner=read.take("owner", _text, ""),
        risk_tier=read.take("riskTier", _one_of("low", "medium", "high"), "low"),
        approvals=read.take("approvals", _integer(0, 10), 0),
        retention=read.take("retention", _positive_duration, 90 * 86400.0),
    )
    read.end()
    return governance


def parse(document: object) -> ModelDeployment:
    """A ModelDeployment from a manifest document; raises `InvalidSpec` naming the first mistake.

    Kubernetes' own metadata (labels, annotations, uid and the like) and `status` are accepted and ignored.
    """
    read = _Reader(document, "")
    read.need("apiVersion", _one_of(API_VERSION))
    read.need("kind", _one_of("ModelDeployment"))
    metadata = read.need("metadata", _mapping)
    read.take("status", _mapping, {})
    meta = _Reader(metadata, "metadata")
    name = meta.need("name", _object_name)
    namespace = meta.take("namespace", _object_name, "default")
    spec = _Reader(read.need("spec", _mapping), "spec")
    deployment = ModelDeployment(
        name=name,
        namespace=namespace,
        model=spec.need("model", _model),
        serving=spec.take("serving", _serving, Serving()),
        rollout=spec.take("rollout", _rollout, _rollout({}, "spec.rollout")),
        monitoring=spec.take("monitoring", _monitoring, Monitoring()),
        retraining=spec.take("retraining", _retraining, Retraining()),
        governance=spec.take("governance", _governance, Governance()),
    )
    spec.end()
    read.end()
    return deployment
