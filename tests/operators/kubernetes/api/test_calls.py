"""What is said to the API server, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from seamark.errors import Conflict, InvalidSpec, NotFound, Unavailable
from seamark_kubernetes.api import HTTP_ROUTE, JOB, MODEL_DEPLOYMENT, POD
from seamark_kubernetes.calls import Answer, decode, failure, list_call, object_call, watch_call

JOB_PATH = "/apis/batch/v1/namespaces/shop/jobs"


@pytest.mark.parametrize(
    ("verb", "status", "method", "path", "content_type", "params"),
    [
        ("get", False, "GET", f"{JOB_PATH}/x", "application/json", {}),
        ("create", False, "POST", JOB_PATH, "application/json", {"fieldManager": "seamark-operator"}),
        ("replace", False, "PUT", f"{JOB_PATH}/x", "application/json", {"fieldManager": "seamark-operator"}),
        (
            "apply",
            False,
            "PATCH",
            f"{JOB_PATH}/x",
            "application/apply-patch+yaml",
            {"fieldManager": "seamark-operator", "force": "true"},
        ),
        (
            "apply",
            True,
            "PATCH",
            f"{JOB_PATH}/x/status",
            "application/apply-patch+yaml",
            {"fieldManager": "seamark-operator", "force": "true"},
        ),
        (
            "patch",
            False,
            "PATCH",
            f"{JOB_PATH}/x",
            "application/merge-patch+json",
            {"fieldManager": "seamark-operator"},
        ),
        ("delete", False, "DELETE", f"{JOB_PATH}/x", "application/json", {"propagationPolicy": "Background"}),
    ],
)
def test_each_verb_has_its_method_path_type_and_parameters(verb, status, method, path, content_type, params):
    call = object_call(verb, JOB, "shop", "x", {}, status=status)
    assert (call.method, call.path, call.content_type, call.params) == (method, path, content_type, params)


def test_a_body_says_what_kind_it_is_unless_it_does_already():
    assert object_call("create", JOB, "n", "x", {"spec": 1}).body == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": 1,
    }
    assert object_call("create", POD, "n", "x", {}).body == {"apiVersion": "v1", "kind": "Pod"}
    assert object_call("get", POD, "n", "x").body is None


def test_the_core_group_and_all_namespaces_have_their_own_paths():
    assert list_call(POD, None, {}, 0).path == "/api/v1/pods"
    assert list_call(POD, "n", {}, 0).path == "/api/v1/namespaces/n/pods"
    assert list_call(HTTP_ROUTE, None, {}, 0).path == "/apis/gateway.networking.k8s.io/v1/httproutes"


def test_names_from_outside_cannot_leave_their_place_in_the_path():
    call = object_call("get", MODEL_DEPLOYMENT, "../../x", "a/b?c")
    assert call.path == "/apis/seamark.dev/v1alpha1/namespaces/..%2F..%2Fx/modeldeployments/a%2Fb%3Fc"


def test_lists_and_watches_select_by_labels_and_go_on_where_they_were():
    assert list_call(POD, None, {"b": "2", "a": "1"}, 500, "token").params == {
        "labelSelector": "a=1,b=2",
        "limit": "500",
        "continue": "token",
    }
    assert list_call(POD, None, {}, 0).params == {}
    assert watch_call(POD, None, {"a": "1"}, "42", 600).params == {
        "labelSelector": "a=1",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "42",
        "timeoutSeconds": "600",
    }


@pytest.mark.parametrize(
    ("code", "error", "again", "again_if_not_idempotent"),
    [
        (200, None, False, False),
        (201, None, False, False),
        (301, Unavailable, False, False),
        (400, InvalidSpec, False, False),
        (401, Unavailable, False, False),
        (403, Unavailable, False, False),
        (404, NotFound, False, False),
        (405, Unavailable, False, False),
        (409, Conflict, False, False),
        (410, Unavailable, False, False),
        (413, Unavailable, False, False),
        (415, Unavailable, False, False),
        (422, InvalidSpec, False, False),
        (429, Unavailable, True, True),
        (500, Unavailable, True, False),
        (502, Unavailable, True, False),
        (503, Unavailable, True, False),
        (504, Unavailable, True, False),
        (507, Unavailable, False, False),
    ],
)
def test_every_status_is_one_error_and_only_passing_trouble_is_tried_again(code, error, again, again_if_not_idempotent):
    body = json.dumps({"kind": "Status", "message": "because", "code": code}).encode()
    for verb in ("get", "list", "watch", "apply", "delete"):
        found = failure(object_call(verb, JOB, "n", "x"), Answer(code, body))
        assert (type(found.error) if found else None, found.again if found else False) == (error, again)
    for verb in ("create", "replace", "patch"):
        found = failure(object_call(verb, JOB, "n", "x"), Answer(code, body))
        assert (type(found.error) if found else None, found.again if found else False) == (
            error,
            again_if_not_idempotent,
        )
    assert found is None or found.expired == (code == 410)


def test_messages_say_what_could_not_be_done_and_what_the_server_said():
    call = object_call("create", JOB, "shop", "m-retrain-1")
    found = failure(call, Answer(409, b'{"kind": "Status", "message": "jobs \\"m-retrain-1\\" already exists"}'))
    assert str(found.error) == 'Cannot create Job shop/m-retrain-1: jobs "m-retrain-1" already exists (HTTP 409)'
    found = failure(list_call(POD, None, {}, 0), Answer(502, b"<html>Bad gateway</html>"))
    assert str(found.error) == "Cannot list pods in all namespaces: <html>Bad gateway</html> (HTTP 502)"
    found = failure(list_call(POD, "n", {}, 0), Answer(503, b""))
    assert str(found.error) == "Cannot list pods in namespace n: HTTP 503"


def test_a_proxys_page_is_cut():
    found = failure(list_call(POD, None, {}, 0), Answer(502, b"x" * 100_000))
    assert len(str(found.error)) < 1100


def test_a_refused_field_is_named():
    details = {"causes": [{"field": "spec.host", "reason": "FieldValueInvalid"}, {"field": "spec.other"}]}
    body = json.dumps({"kind": "Status", "message": "is invalid", "details": details}).encode()
    found = failure(object_call("apply", HTTP_ROUTE, "n", "x"), Answer(422, body))
    assert found.error.path == "spec.host"
    found = failure(object_call("apply", HTTP_ROUTE, "n", "x"), Answer(422, b"{}"))
    assert found.error.path == "HTTPRoute n/x"


def test_a_field_of_the_wrong_type_is_the_users_mistake_though_the_server_says_500():
    message = "failed to create typed patch object (n/x; batch/v1, Kind=Job): .spec.x: expected string, got 1"
    body = json.dumps({"kind": "Status", "message": message}).encode()
    found = failure(object_call("apply", JOB, "n", "x"), Answer(500, body))
    assert isinstance(found.error, InvalidSpec)
    assert not found.again


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        ("3", {}, 3.0),
        ("", {"retryAfterSeconds": 2}, 2.0),
        ("5", {"retryAfterSeconds": 2}, 5.0),
        ("", {}, 0.0),
        ("-4", {}, 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", {"retryAfterSeconds": 1}, 1.0),
        ("soon", {}, 0.0),
    ],
)
def test_the_server_says_when_to_come_again(header, details, seconds):
    body = json.dumps({"kind": "Status", "details": details}).encode()
    assert failure(object_call("get", POD, "n", "x"), Answer(429, body, header)).after == seconds


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'"x"', b"{", b"[" * 100_000])
def test_what_is_no_json_object_is_no_answer(content):
    with pytest.raises(Unavailable, match="Cannot get Pod n/x: the answer is no"):
        decode(object_call("get", POD, "n", "x"), content)
