"""Traffic: which revisions are served and how requests are routed, as the memory wants it and as the gateway has it.

The only place where weights are made. A weight is raised only when the challenger answers with all its replicas and the
gateway has confirmed the route before.
"""

from __future__ import annotations

from dataclasses import replace

from seamark.actions import Retire, Serve
from seamark.facts import Facts, Turn
from seamark.seen import RouteSeen
from seamark.spec import Hold, Shadow, Step
from seamark.state import RolloutState, Route, State

__all__ = ["ASK_AGAIN", "ask_again", "first_revision", "is_confirmed", "missing", "reroute", "unwanted", "wanted_route"]

#: A request not seen fulfilled after this long (seconds) is made again.
ASK_AGAIN = 2.0


def ask_again(now: float, asked: float) -> bool:
    """Is it time to repeat a request? A clock that went backwards also says yes."""
    return not 0 <= now - asked < ASK_AGAIN


def first_revision(state: State) -> str | None:
    """The revision that becomes the first champion."""
    if state.champion is not None:
        return None
    return next((revision.name for revision in reversed(state.revisions) if revision.phase == "Pending"), None)


def wanted_route(facts: Facts, state: State) -> Route | None:
    """The route the memory asks for; None while nobody can answer users."""
    first = first_revision(state)
    if first is not None and facts.is_full(first):
        return Route({first: 100})
    if state.champion is None:
        return None
    rollout = state.rollout
    if rollout is None or rollout.ready_since is None or rollout.unready_since is not None:
        return Route({state.champion: 100}, fallback=state.previous)
    return _rollout_route(facts, state.champion, rollout, state.previous)


def _rollout_route(facts: Facts, champion: str, rollout: RolloutState, previous: str | None) -> Route:
    challenger, weight, wish = rollout.challenger, rollout.weight, facts.spec.rollout
    weights = {name: percent for name, percent in ((champion, 100 - weight), (challenger, weight)) if percent}
    step = wish.steps[rollout.step] if rollout.step < len(wish.steps) else None
    is_shadowed = isinstance(step, Shadow)
    match = () if is_shadowed or weight == 100 else tuple((match.header, match.value) for match in wish.match)
    return Route(
        weights,
        mirror=(challenger, percent) if (percent := _mirrored(wish.steps, rollout, bool(match))) else None,
        fallback=champion if weight or match else previous,
        match=match,
        sticky=wish.sticky_header if 0 < weight < 100 or match else None,
        match_to=challenger if match else None,
    )


def _mirrored(steps: tuple[Step, ...], rollout: RolloutState, has_match: bool) -> int:
    """Percent of requests to copy. A hold after a shadow goes on mirroring unless people meet the challenger there:
    with neither there would be nothing to judge."""
    done = steps[: rollout.step + 1]
    if rollout.weight or has_match or not done or not isinstance(done[-1], Shadow | Hold):
        return 0
    return next((step.percent for step in reversed(done) if isinstance(step, Shadow)), 0)


def _matches(seen: RouteSeen | None, route: Route) -> bool:
    if seen is None:
        return False
    return _weights(seen) == route.weights and seen.mirror == route.mirror


def _weights(seen: RouteSeen) -> dict[str, int]:
    return {name: weight for name, weight in seen.weights.items() if weight}


def _is_settled(facts: Facts, state: State) -> bool:
    """Has the gateway confirmed the route it was last asked for, in a later observation than the one of asking?"""
    return state.route is not None and facts.now != state.route_asked and _matches(facts.seen.route, state.route)


def is_confirmed(facts: Facts, state: State) -> bool:
    """Has the gateway confirmed the route the memory wants now?"""
    return state.route == wanted_route(facts, state) and _is_settled(facts, state)


def reroute(facts: Facts, state: State) -> Turn:
    """Asks for the wanted route: when it is new, or not seen for a while."""
    route = wanted_route(facts, state)
    if route is None:
        return state, ()
    if _raises(route, state) and not _is_settled(facts, state) and not _matches(facts.seen.route, route):
        assert state.route is not None  # a rollout begins on a confirmed route
        route = state.route
    lost = not _matches(facts.seen.route, route) and ask_again(facts.now, state.route_asked)
    if route == state.route and not lost:
        return state, ()
    return replace(state, route=route, route_asked=facts.now), (route,)


def _raises(route: Route, state: State) -> bool:
    """Would the challenger get more than it was last asked to get?"""
    if state.rollout is None:
        return False
    challenger = state.rollout.challenger
    before = state.route.weights.get(challenger, 0) if state.route else 0
    return route.weights.get(challenger, 0) > before


def _served(state: State) -> tuple[str, ...]:
    challenger = state.rollout.challenger if state.rollout else None
    return tuple(name for name in (state.champion, challenger, state.previous, first_revision(state)) if name)


def missing(facts: Facts, state: State) -> list[Serve]:
    """Serve what should be served and is not, or with other replicas."""
    replicas = facts.spec.serving.replicas
    actions: list[Serve] = []
    for name in _served(state):
        seen, revision = facts.seen.revisions.get(name), state.revision(name)
        if revision is not None and (seen is None or seen.replicas != replicas):
            actions.append(Serve(name, revision.uri, revision.digest, replicas))
    return actions


def unwanted(facts: Facts, state: State) -> list[Retire]:
    """Retire what is served and not needed, once the gateway has confirmed a route without it.

    What the gateway has counts too: a driver that died may have routed what the memory knows nothing of.
    """
    if state.route is not None and not _is_settled(facts, state):
        return []
    asked, seen = state.route or Route({}), facts.seen.route or RouteSeen({})
    mirrors = [mirror[0] for mirror in (asked.mirror, seen.mirror) if mirror]
    needed = {*_served(state), *asked.weights, asked.fallback, asked.match_to, *_weights(seen), *mirrors}
    return [Retire(name) for name in sorted(facts.seen.revisions) if name not in needed]
