"""Who the operator is to the API server."""

from __future__ import annotations

import json

import pytest

from seamark.errors import UserError
from seamark_kubernetes import credentials


@pytest.fixture
def write(tmp_path, monkeypatch):
    def write(user, **changes):
        path = tmp_path / "kubeconfig"
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "http://api:1"}}],
            "users": [{"name": "u", "user": user}],
        }
        path.write_text(json.dumps(config | changes))
        monkeypatch.setenv("KUBECONFIG", str(path))
        return path

    return write


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "t"}, ("Bearer", "t")),
        ({"username": "me", "password": "pw"}, ("Basic", "bWU6cHc=")),
        ({"client-certificate": "c", "client-key": "k"}, None),
        (
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1beta1",
                    "command": "echo",
                    "args": ['{"status": {"token": "from-a-command"}}'],
                }
            },
            ("Bearer", "from-a-command"),
        ),
    ],
)
def test_each_way_to_log_in_is_one_header(write, user, header):
    write(user)
    assert credentials.authorization(credentials.load()) == header


def test_a_token_file_is_read_at_each_login(write, tmp_path):
    token = tmp_path / "token"
    write({"tokenFile": str(token)})
    config = credentials.load()
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        assert credentials.authorization(config) == ("Bearer", text)


@pytest.mark.parametrize(
    "changes",
    [{"current-context": None}, {"current-context": "other"}, {"users": []}, {"clusters": [{}]}, {"contexts": 3}],
)
def test_an_unusable_file_is_one_clear_line(write, changes):
    write({"token": "t"}, **changes)
    with pytest.raises(
        UserError, match=r"^Cannot connect to Kubernetes: no service account, and no usable KUBECONFIG: "
    ):
        credentials.load()


def test_without_any_file_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no"))
    with pytest.raises(UserError, match=r"no service account, and no usable KUBECONFIG: .*/no not found$"):
        credentials.load()
    (tmp_path / "no").write_text("{ not: [yaml")
    with pytest.raises(UserError, match="no usable KUBECONFIG: ParserError"):
        credentials.load()


def test_a_context_without_a_user_is_refused(write):
    write({"token": "t"}, contexts=[{"name": "c", "context": {"cluster": "k"}}])
    with pytest.raises(UserError, match="names no user"):
        credentials.load()


@pytest.mark.parametrize(
    "user",
    [
        {"tokenFile": "/no/such/file"},
        {"auth-provider": {"name": "old"}},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "false"}},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "echo", "args": ["no JSON"]}},
        {"exec": {"apiVersion": "v9", "command": "echo"}},
    ],
)
def test_a_login_that_fails_is_one_clear_error(write, user):
    write(user)
    with pytest.raises(UserError, match=r"^Cannot log in to Kubernetes: "):
        credentials.authorization(credentials.load())
