"""kubectl is asked in one fixed context, for a bounded time, and its complaints become errors that say what to mend."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamark.errors import Conflict, NotFound, SeamarkError, Unavailable, UserError
from seamark_local.cluster.kubectl import Context, Kubectl, find_context

PROD = Context("prod", "models")


@pytest.mark.parametrize(
    ("name", "context"),
    [
        pytest.param("prod", PROD, id="a context by its name, with its namespace"),
        pytest.param("", Context("here", "default"), id="the current one, which names no namespace"),
    ],
)
def test_a_context_is_found(kubernetes: Any, name: str, context: Context) -> None:
    assert find_context(name) == context


def test_a_file_is_passed_on_to_every_command(kubernetes: Any, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    found = find_context("prod", "config")
    assert found == Context("prod", "models", "config")
    Kubectl(found).read("auth", "whoami")
    assert all("--kubeconfig=config" in call for call in kubernetes.calls())


def test_every_command_names_the_context_and_bounds_the_time(kubernetes: Any) -> None:
    assert Kubectl(PROD).read("auth", "whoami")["status"]["userInfo"]["username"] == "ana"
    expected = ["auth", "whoami", "--output=json", "--context=prod", "--request-timeout=10s"]
    assert kubernetes.calls() == [expected]


@pytest.mark.parametrize(
    ("name", "kubeconfig", "message"),
    [
        (
            "dev",
            "",
            "Cannot find context dev: cannot locate context dev; see kubectl config get-contexts",
        ),
        ("", "nowhere", "Cannot find nowhere: no such file"),
    ],
)
def test_what_is_not_there_is_named(kubernetes: Any, name: str, kubeconfig: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        find_context(name, kubeconfig)
    assert str(caught.value) == message


def test_without_kubectl_it_says_what_is_missing(kubernetes: Any, tmp_path: Path) -> None:
    (tmp_path / "bin" / "kubectl").unlink()
    with pytest.raises(UserError) as caught:
        find_context("prod")
    assert str(caught.value).startswith("Cannot find kubectl: no folder of PATH has it")


def test_a_kubectl_of_another_machine_is_a_mistake(executable: Callable[[str], Path]) -> None:
    folder = executable("\x7fELF not for this machine")
    with pytest.raises(UserError) as caught:
        find_context("prod")
    assert str(caught.value) == f"Cannot run {folder}/kubectl: Exec format error"


@pytest.mark.parametrize(
    ("says", "error", "message"),
    [
        (
            'Error from server (NotFound): pods "x" not found',
            NotFound,
            'Cannot find it in context prod: pods "x" not found',
        ),
        (
            "Error from server (Conflict): it has been modified",
            Conflict,
            "Cannot change it in context prod: it has been modified",
        ),
        (
            "error: the server doesn't have a resource type 'x'",
            UserError,
            "Cannot find Seamark in context prod: the cluster does not know ModelDeployments",
        ),
        (
            "Error from server (Forbidden): bob cannot",
            UserError,
            "Cannot do this in context prod: bob cannot",
        ),
        (
            "error: You must be logged in to the server (Unauthorized)",
            UserError,
            "Cannot do this in context prod: You must be logged in to the server (Unauthorized)",
        ),
        (
            "Unable to connect to the server: getting credentials: exec: not found",
            UserError,
            "Cannot do this in context prod: Unable to connect to the server: getting credentials: exec: not found",
        ),
        (
            "The connection to the server was refused",
            Unavailable,
            "Cannot reach the cluster of context prod: The connection to the server was refused",
        ),
        (
            "Error from server (InternalError): etcd",
            Unavailable,
            "Cannot reach the cluster of context prod: etcd",
        ),
        ("", Unavailable, "Cannot reach the cluster of context prod: kubectl failed and did not say why"),
        ("rude \x1b]0;\x07 words", Unavailable, "Cannot reach the cluster of context prod: rude  ]0;  words"),
    ],
)
def test_a_complaint_is_an_error_of_its_kind(
    kubernetes: Any, says: str, error: type[SeamarkError], message: str
) -> None:
    kubernetes.fails("whoami", says)
    with pytest.raises(SeamarkError) as caught:
        Kubectl(PROD).read("auth", "whoami")
    assert (type(caught.value), str(caught.value)) == (error, message)


@pytest.mark.parametrize("length", [500, 501])
def test_a_long_complaint_is_cut(kubernetes: Any, length: int) -> None:
    kubernetes.fails("whoami", "x" * length)
    with pytest.raises(Unavailable) as caught:
        Kubectl(PROD).read("auth", "whoami")
    assert str(caught.value).count("x") == 500 + "context".count("x")


@pytest.mark.parametrize("output", ["", "Welcome!", "[1]", "null"])
def test_output_that_is_no_json_object_is_an_error(executable: Callable[[str], Path], output: str) -> None:
    executable(f"#!/bin/sh\necho '{output}'\n")
    with pytest.raises(Unavailable, match="Cannot read what kubectl printed"):
        Kubectl(PROD).read("get", "x")


def test_nothing_in_an_answer_is_an_order_to_the_terminal(executable: Callable[[str], Path]) -> None:
    executable("""#!/bin/sh\nprintf '%s' '{"a\\u001b": ["b\\u009bc", {"d": "e\\nf"}, 1, null, "\u00fc"]}'\n""")
    assert Kubectl(PROD).read("get", "x") == {"a ": ["b c", {"d": "e f"}, 1, None, "ü"]}


def test_an_answer_in_time_is_waited_for(executable: Callable[[str], Path]) -> None:
    executable("#!/bin/sh\n/bin/sleep 0.3\necho '{}'\n")
    assert Kubectl(PROD).read("get", "x", limit=10.0) == {}


def test_a_kubectl_that_hangs_is_ended_with_its_helpers(executable: Callable[[str], Path]) -> None:
    """A helper holds the pipe open; it must neither be waited for nor left."""
    folder = executable('#!/bin/sh\n/bin/sleep 60 &\necho $! > "${0%/*}/helper"\nwait\n')
    began = time.monotonic()
    with pytest.raises(Unavailable, match="kubectl did not answer within 1 s"):
        Kubectl(PROD).read("get", "x", limit=1.0)
    assert time.monotonic() - began < 10.0
    # It was killed with its group; the kernel ends it in its own time.
    helper = (folder / "helper").read_text().strip()
    while is_running(helper):
        assert time.monotonic() - began < 10.0
        time.sleep(0.01)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
