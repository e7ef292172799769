"""The HTTPRoute says who answers, in what shares, and shows its fingerprint; reading it back gives the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.seen import RouteSeen
from seamark.state import Route
from seamark_kubernetes import routes, sticky
from seamark_kubernetes.api import Owner
from seamark_kubernetes.settings import Images, Settings

OWNER = Owner("shop", "churn", "uid-1")
SETTINGS = Settings(images=Images("p", "m", "t"), domain="models.test")
ELSEWHERE = Settings(images=Images("p", "m", "t"), envoy=False)
OLD, NEW = "churn-aaaaaaaa", "churn-bbbbbbbb"

names = st.sampled_from([OLD, NEW])
wanted = st.one_of(
    st.builds(lambda name: Route({name: 100}), names),
    st.builds(lambda weight: Route({OLD: 100 - weight, NEW: weight}, fallback=OLD), st.integers(1, 99)),
    st.builds(lambda percent: Route({OLD: 100}, mirror=(NEW, percent)), st.integers(1, 100)),
    st.builds(
        lambda weight, user: Route({OLD: 100 - weight, NEW: weight}, fallback=OLD, sticky=user),
        st.integers(1, 99),
        st.sampled_from(["x-user-id", "x-account"]),
    ),
    st.just(Route({OLD: 100}, match=(("x-tester", "yes"),), match_to=NEW, fallback=OLD)),
)


@given(wanted, st.booleans())
def test_what_is_written_is_read_back(route: Route, has_sticky_rule: bool) -> None:
    seen = routes.route_seen(routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=has_sticky_rule))
    assert seen == RouteSeen(route.weights, route.mirror)


@given(wanted, wanted, st.booleans())
def test_routes_show_the_same_fingerprint_only_when_they_do_the_same(one: Route, other: Route, has_rule: bool) -> None:
    documents = [routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=has_rule) for route in (one, other)]
    marks = [routes.fingerprint(document) for document in documents]
    assert (marks[0] == marks[1]) == (_does(one, has_rule) == _does(other, has_rule))
    assert all(len(mark) == 12 for mark in marks)


def _does(route: Route, has_sticky_rule: bool) -> tuple[object, ...]:
    return dict(route.weights), route.mirror, route.match, route.match_to, route.sticky if has_sticky_rule else None


def test_the_route_hangs_on_the_gateway_and_belongs_to_the_deployment() -> None:
    document = routes.http_route(SETTINGS, OWNER, Route({OLD: 100}))
    assert document["spec"]["hostnames"] == ["churn-shop.models.test"]
    assert document["spec"]["parentRefs"][0]["name"] == "kserve-ingress-gateway"
    assert document["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert document["metadata"]["labels"]["seamark.dev/deployment"] == "churn"


def test_testers_meet_the_challenger_by_any_of_their_headers_before_the_shares_count() -> None:
    route = Route({OLD: 100}, match=(("x-tester", "yes"), ("x-team", "ml")), match_to=NEW)
    main, testers = routes.http_route(SETTINGS, OWNER, route)["spec"]["rules"][1:3]
    assert [match["headers"][0]["name"] for match in testers["matches"]] == ["x-tester", "x-team"]
    assert [backend["name"] for backend in testers["backendRefs"]] == [f"{NEW}-predictor"]
    assert [backend["name"] for backend in main["backendRefs"]] == [f"{OLD}-predictor"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"spec": {}},
        {"spec": {"rules": [{"matches": [{"path": {"value": "/v1"}}]}]}},
        {"spec": {"rules": [{"filters": [{"type": "URLRewrite"}]}]}},
    ],
)
def test_a_route_of_someone_else_tells_nothing(document: dict[str, object]) -> None:
    assert routes.route_seen(document) is None
    assert routes.fingerprint(document) == ""


@given(wanted)
def test_every_kind_of_rule_keeps_its_place(route: Route) -> None:
    """Envoy Gateway loses the clusters of rules that move."""
    rules = routes.http_route(SETTINGS, OWNER, route)["spec"]["rules"][1:]
    assert [_is_used(rule) for rule in rules] == [True, bool(route.match)]


@given(wanted)
def test_a_sticky_rule_always_has_two_sides_in_clusters_of_their_own(route: Route) -> None:
    """Its clusters never come, go or change: only who is behind them, and their shares."""
    rules = routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=True)["spec"]["rules"][1:]
    together, testers, sticky = rules
    assert sticky["name"] == "sticky"
    assert len(sticky["backendRefs"]) == 2
    assert all(backend["weight"] > 0 and backend["filters"] for backend in sticky["backendRefs"])
    assert not any("filters" in backend for rule in (together, testers) for backend in rule["backendRefs"])
    is_sticky = route.sticky is not None
    assert [_is_used(rule) for rule in rules] == [not is_sticky, bool(route.match), is_sticky]


def _is_used(rule: dict[str, Any]) -> bool:
    headers = [header["name"] for match in rule["matches"] for header in match.get("headers", [])]
    return "x-seamark-nobody" not in headers


@pytest.mark.parametrize("champion", [OLD, NEW])
def test_the_champions_share_comes_first_so_that_growth_moves_users_one_way(champion: str) -> None:
    route = Route({NEW: 10, OLD: 90}, fallback=champion, sticky="x-user-id")
    document = routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=True)
    sides = document["spec"]["rules"][3]["backendRefs"]
    assert sides[0]["name"] == f"{champion}-predictor"
    assert {side["name"].removesuffix("-predictor"): side["weight"] for side in sides} == {OLD: 90, NEW: 10}


def test_nobody_on_a_sticky_rule_means_the_champion_on_both_sides() -> None:
    route = Route({OLD: 100}, match=(("x-tester", "yes"),), match_to=NEW, fallback=OLD, sticky="x-user-id")
    sides = routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=True)["spec"]["rules"][3]["backendRefs"]
    assert [side["name"] for side in sides] == [f"{OLD}-predictor"] * 2


def test_the_sticky_rule_is_not_there_before_it_is_asked_for() -> None:
    route = Route({OLD: 50, NEW: 50}, fallback=OLD, sticky="x-user-id")
    document = routes.http_route(SETTINGS, OWNER, route)
    assert [rule.get("name") for rule in document["spec"]["rules"]] == [None, None, None]
    assert "annotations" not in document["metadata"]


# --- what to ask


def test_every_side_is_asked() -> None:
    def asked(route: Route, *, has_sticky_rule: bool = False) -> list[dict[str, str]]:
        return routes.probes(routes.http_route(SETTINGS, OWNER, route, has_sticky_rule=has_sticky_rule))

    assert asked(Route({OLD: 100})) == [{}, {}, {}]
    testers = Route({OLD: 100}, match=(("x-tester", "yes"), ("x-team", "ml")), match_to=NEW, fallback=OLD)
    assert asked(testers) == [{}, {}, {}, {"x-tester": "yes"}, {"x-team": "ml"}]
    users = asked(Route({OLD: 50, NEW: 50}, fallback=OLD, sticky="x-user-id"), has_sticky_rule=True)
    assert len({headers["x-user-id"] for headers in users}) == len(users) == 24


def test_of_many_testers_some_are_asked() -> None:
    match = tuple(("x-tester", str(number)) for number in range(16))
    document = routes.http_route(SETTINGS, OWNER, Route({OLD: 100}, match=match, match_to=NEW, fallback=OLD))
    assert len(routes.probes(document)) == 6


def test_envoy_gateway_asks_another_revision_when_one_fails_and_other_gateways_are_told_nothing() -> None:
    [(kind, policy)] = routes.companions(SETTINGS, OWNER)
    assert kind in routes.companion_kinds(SETTINGS)
    assert 500 in policy["spec"]["retry"]["retryOn"]["httpStatusCodes"]
    assert (routes.companions(ELSEWHERE, OWNER), routes.companion_kinds(ELSEWHERE)) == ([], ())


def test_weights_changed_by_hand_are_seen_as_they_are() -> None:
    document = routes.http_route(SETTINGS, OWNER, Route({OLD: 90, NEW: 10}, fallback=OLD))
    document["spec"]["rules"][1]["backendRefs"][1]["weight"] = 60
    assert routes.route_seen(document) == RouteSeen({OLD: 90, NEW: 60})


# --- the sticky rule's policy


def test_the_policy_hashes_the_users_header_for_the_sticky_rule_alone_and_goes_after_the_route() -> None:
    route = routes.http_route(SETTINGS, OWNER, Route({OLD: 100}))
    route["metadata"]["uid"] = "uid-route"
    policy = routes.sticky_policy(OWNER, route, "x-user-id")
    assert policy["metadata"]["name"] == "churn.sticky"
    assert [(one["kind"], one["uid"]) for one in policy["metadata"]["ownerReferences"]] == [("HTTPRoute", "uid-route")]
    assert [(one["name"], one["sectionName"]) for one in policy["spec"]["targetRefs"]] == [("churn", "sticky")]
    assert policy["spec"]["loadBalancer"]["consistentHash"]["headers"] == [{"name": "x-user-id"}]
    [(_, other)] = routes.companions(SETTINGS, OWNER)
    assert policy["spec"]["retry"] == other["spec"]["retry"]


@pytest.mark.parametrize(
    ("generation", "observed", "known"),
    [(1, [], False), (2, [2], True), (2, [1], False), (2, [2, 1], False), (2, [2, 2], True)],
)
def test_a_policy_is_known_when_the_controller_has_looked_at_this_very_generation(
    generation: int, observed: list[int], known: bool
) -> None:
    ancestors = [
        {"conditions": [{"type": "Accepted", "status": "False", "reason": "TargetNotFound", "observedGeneration": one}]}
        for one in observed
    ]
    assert sticky.is_known({"metadata": {"generation": generation}, "status": {"ancestors": ancestors}}) is known
    assert not sticky.is_known({"metadata": {"generation": generation}})


def test_while_it_waits_everybody_is_with_the_champion() -> None:
    route = Route({OLD: 40, NEW: 60}, fallback=OLD, sticky="x-user-id")
    assert sticky.waiting(route) == Route({OLD: 100}, fallback=OLD)
    assert sticky.waiting(replace(route, fallback=None)) == Route({NEW: 100})


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        (Route({OLD: 50, NEW: 50}, sticky="x-user-id"), True),
        (Route({OLD: 50, NEW: 50}), False),
        (Route({OLD: 100}, sticky="x-user-id"), False),
        (Route({OLD: 100, NEW: 0}, sticky="x-user-id"), False),
    ],
)
def test_only_between_two_sides_is_there_something_to_stay_on(route: Route, asked: bool) -> None:
    assert sticky.is_asked(route) is asked
