"""The HTTPRoute says who answers, in what shares, and shows its fingerprint; reading it back gives the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.seen import RouteSeen
from seamark.state import Route
from seamark_kubernetes import routes
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
    st.just(Route({OLD: 90, NEW: 10}, fallback=OLD, sticky="x-user-id")),
    st.just(Route({OLD: 100}, match=(("x-tester", "yes"),), match_to=NEW, fallback=OLD)),
)


@given(wanted)
def test_what_is_written_is_read_back(route: Route) -> None:
    seen = routes.route_seen(routes.http_route(SETTINGS, OWNER, route))
    assert seen == RouteSeen(route.weights, route.mirror)


@given(wanted, wanted)
def test_routes_show_the_same_fingerprint_only_when_they_do_the_same(one: Route, other: Route) -> None:
    marks = [routes.fingerprint(routes.http_route(SETTINGS, OWNER, route)) for route in (one, other)]
    assert (marks[0] == marks[1]) == (_does(one) == _does(other))
    assert all(len(mark) == 12 for mark in marks)


def _does(route: Route) -> tuple[object, ...]:
    return dict(route.weights), route.mirror, route.match, route.match_to


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
    assert [any("headers" in match for match in rule["matches"]) for rule in rules] == [False, True]


def test_envoy_gateway_asks_another_revision_when_one_fails_and_other_gateways_are_told_nothing() -> None:
    [(kind, policy)] = routes.companions(SETTINGS, OWNER)
    assert kind in routes.companion_kinds(SETTINGS)
    assert 500 in policy["spec"]["retry"]["retryOn"]["httpStatusCodes"]
    assert (routes.companions(ELSEWHERE, OWNER), routes.companion_kinds(ELSEWHERE)) == ([], ())


def test_weights_changed_by_hand_are_seen_as_they_are() -> None:
    document = routes.http_route(SETTINGS, OWNER, Route({OLD: 90, NEW: 10}, fallback=OLD))
    document["spec"]["rules"][1]["backendRefs"][1]["weight"] = 60
    assert routes.route_seen(document) == RouteSeen({OLD: 90, NEW: 60})
