"""What the operator would do now, and whether it would decide again as it did: the same core, nothing applied."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, assert_never

import msgspec

from seamark import durations
from seamark import spec as manifests
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
from seamark.decide import decide as core_decide
from seamark.errors import NotFound
from seamark.seen import Seen
from seamark.spec import Hold, ModelDeployment, Shadow, Step, Weight
from seamark.state import State
from seamark_local import audit
from seamark_local.envoy import Gateway
from seamark_local.gather import Gatherer
from seamark_local.home import Home, find_home, make_home
from seamark_local.store import Manifest, Store

__all__ = ["plan", "replay", "would"]

Decide = Callable[[ModelDeployment, State, Seen], Decision]


def plan(home: Path, name: str, document: Mapping[str, Any] | None = None, decide: Decide = core_decide) -> list[str]:
    """What the next decision would do, in plain lines, on present facts; `document` is a manifest to try instead.

    Raises `InvalidSpec` for a wrong document and `NotFound` for a deployment nobody knows.
    """
    with _home(home, document) as found:
        store = Store(found.database)
        gatherer, gateway = Gatherer(found, store), Gateway(found.root)
        try:
            manifest = _manifest(store, name, document)
            spec = manifests.parse(manifest.document)
            state = store.state(name) or State()
            active = gateway.active()
            seen = gatherer.seen(manifest, spec, state, active.route(name) if active else None, time.time())
        finally:
            gateway.close()
            gatherer.close()
            store.close()
    decision = decide(spec, state, seen)
    return _in_words(spec, state, seen, decision) or [_nothing(state)]


@contextmanager
def _home(path: Path, document: Mapping[str, Any] | None) -> Iterator[Home]:
    """The home; to try a manifest before the first `seamark up` an empty one will do."""
    try:
        home = find_home(path)
    except NotFound:
        if document is None:
            raise
        with tempfile.TemporaryDirectory(prefix="seamark-") as folder:
            yield make_home(Path(folder))
    else:
        yield home


def _in_words(spec: ModelDeployment, before: State, seen: Seen, decision: Decision) -> list[str]:
    # The answer to somebody's last command is no part of what would happen now.
    message = decision.state.message.removesuffix(decision.state.answer).removesuffix("; ")
    problem = seen.model.error if seen.model else ""
    lines = [problem] if problem and problem not in message else []
    lines += [line for action in decision.actions if (line := would(action))]
    lines += _prospects(spec, before, decision.state)
    if decision.verdict:
        lines.append(f"the gates say {decision.verdict.outcome}: {decision.verdict.message}")
    return lines + ([message] if message else [])


def _nothing(state: State) -> str:
    if state.rollout is not None:
        return f"would change nothing now; the rollout of {state.rollout.challenger} goes on"
    return f"would change nothing now; {state.champion} stays" if state.champion else "would change nothing now"


def _prospects(spec: ModelDeployment, before: State, after: State) -> list[str]:
    """What lies before a revision that would be new."""
    new = [revision for revision in after.revisions if revision.phase == "Pending" and revision not in before.revisions]
    if after.champion is None:
        return [f"would send all requests to {revision.name} once it is ready" for revision in new]
    return [f"would try {revision.name} beside {after.champion}: {_way(spec.rollout.steps)}" for revision in new]


def _way(steps: Sequence[Step]) -> str:
    if not steps:
        return "all requests as soon as it is ready"
    return ", ".join([*map(_step, steps), "then all requests"])


def _step(step: Step) -> str:
    match step:
        case Shadow(percent, seconds):
            return f"copies of {percent} % for {durations.text(seconds)}"
        case Weight(weight):
            return f"{weight} %"
        case Hold(seconds):
            return "hold until a person promotes" if seconds is None else f"hold {durations.text(seconds)}"
        case _:
            assert_never(step)


def _manifest(store: Store, name: str, document: Mapping[str, Any] | None) -> Manifest:
    known = next((manifest for manifest in store.manifests() if manifest.name == name), None)
    if document is not None:
        return Manifest(name, known.generation + 1 if known else 1, document)
    if known is None:
        raise NotFound(f"Cannot plan {name}: no ModelDeployment has this name")
    return known


def would(action: Action) -> str:
    """One line for people; empty for what concerns only the operator's own books."""
    match action:
        case Serve():
            return f"would serve {action.revision} ({_count(action.replicas, 'replica')})"
        case Route():
            return _would_route(action)
        case StartRetraining():
            return f"would start retraining {action.job} ({action.cause})"
        case StopRetraining():
            return f"would stop retraining {action.job}"
        case Promote():
            return f"would make {action.revision} the champion"
        case RollBack():
            return f"would give up {action.revision} and send all traffic to {action.champion}"
        case Retire():
            return f"would stop serving {action.revision}"
        case Notify():
            return f"would say {action.kind}: {action.message}"
        case Record():
            return ""
        case _:
            assert_never(action)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _would_route(route: Route) -> str:
    parts = [f"{weight} % to {name}" for name, weight in route.weights.items() if weight]
    if route.mirror:
        parts.append(f"copies of {route.mirror[1]} % to {route.mirror[0]}")
    parts += [f"requests with {header}: {value} to the challenger" for header, value in route.match]
    return f"would send {', '.join(parts)}"


def replay(home: Path, name: str, decide: Decide = core_decide) -> list[str]:
    """Decide every recorded decision again, oldest first; one line each says whether it came out the same."""
    store = Store(find_home(home).database)
    try:
        rows = store.audit(name)
    finally:
        store.close()
    if not rows:
        return [f"no decision about {name} is recorded"]
    return [f"{_time(row[0])} {_replayed(row[1:], decide)}" for row in rows]


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _replayed(row: tuple[bytes, bytes, bytes, bytes], decide: Decide) -> str:
    again = audit.decision_document(decide(*audit.inputs(*row[:3])))
    difference = _difference("decision", msgspec.json.decode(row[3]), again)
    return f"differs: {difference}" if difference else "same"


def _difference(path: str, recorded: object, again: object) -> str:
    """The first place where two plain values differ; empty when they are equal."""
    if isinstance(recorded, dict) and isinstance(again, dict):
        keys = [*recorded, *(key for key in again if key not in recorded)]
        parts = [(f"{path}.{key}", recorded.get(key), again.get(key)) for key in keys]
    elif isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        parts = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(recorded, again, strict=True))]
    else:
        return "" if recorded == again else f"{path} was {recorded!r}, is now {again!r}"
    return next((found for part in parts if (found := _difference(*part))), "")
