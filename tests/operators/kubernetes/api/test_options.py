"""The command line becomes the settings, or one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamark.errors import UserError
from seamark_kubernetes import options
from seamark_kubernetes.__main__ import main
from seamark_kubernetes.settings import Images, Settings

IMAGES = ["--predictor-image=p", "--monitor-image=m", "--trainer-image=t"]


def test_without_options_the_defaults_are_those_of_the_settings():
    assert options.parse(IMAGES) == Settings(Images("p", "m", "t"))


def test_every_option_reaches_its_setting(tmp_path: Path):
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text("t")
    key.write_bytes(b"k" * 32)
    given = [
        *IMAGES,
        "--namespace=here",
        "--watch-namespace=a",
        "--watch-namespace=b",
        "--watch-namespace=a",
        "--gateway=infra/main.gateway",
        "--domain=models.example.org",
        "--host-template={name}.{namespace}.{domain}",
        "--confirm-url=http://gateway:80/",
        "--no-envoy",
        "--collector=http://c:1",
        "--analyzer=https://a/base/",
        "--alertmanager=http://am:9093",
        f"--alert-token-file={token}",
        f"--key-file={key}",
        "--image-pull-policy=Never",
        "--pull-secret=one",
        "--pull-secret=two",
        "--port=0",
    ]
    assert options.parse(given) == Settings(
        images=Images("p", "m", "t", "Never", ("one", "two")),
        namespace="here",
        watch=("a", "b"),
        gateway=("infra", "main.gateway"),
        domain="models.example.org",
        host="{name}.{namespace}.{domain}",
        confirm="http://gateway:80",
        envoy=False,
        collector="http://c:1",
        analyzer="https://a/base",
        alertmanager="http://am:9093",
        alert_token=token,
        key=key,
        port=0,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["--name=x"], "unrecognized arguments: --name=x"),
        (["--namespace=A_b"], "argument --namespace: 'A_b' is no name of a namespace"),
        (["--watch-namespace="], "argument --watch-namespace: '' is no name of a namespace"),
        (["--gateway=x"], "argument --gateway: 'x' is not of the form NAMESPACE/NAME"),
        (["--gateway=a/b/c"], "argument --gateway: 'a/b/c' is not of the form NAMESPACE/NAME"),
        (["--collector=c:1"], "argument --collector: 'c:1' is no address of the form http://HOST:PORT"),
        (["--alertmanager=http://"], "argument --alertmanager: 'http://' is no address of the form http://HOST:PORT"),
        (["--analyzer=http://a:x"], "argument --analyzer: 'http://a:x' is no address of the form http://HOST:PORT"),
        (["--confirm-url=ftp://a"], "argument --confirm-url: 'ftp://a' is no address of the form http://HOST:PORT"),
        (["--alert-token-file=/no"], "argument --alert-token-file: cannot read /no: No such file or directory"),
        (["--predictor-image= "], "argument --predictor-image: it is empty"),
        (["--port=65536"], "argument --port: '65536' is no number from 0 to 65535"),
        (["--port=-1"], "argument --port: '-1' is no number from 0 to 65535"),
        (["--host-template={name}.{x}"], "argument --host-template: '{name}.{x}' knows other fields than"),
        (["--host-template={name.x}"], "argument --host-template: '{name.x}' knows other fields than"),
        (["--host-template={"], "argument --host-template: '{' knows other fields than"),
        (["--host-template={namespace}"], "argument --host-template: '{namespace}' has no {name}"),
        (["--domain=Exa mple"], "'a-n.Exa mple' is no host; see --host-template and --domain"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_status_2(given, said, capsys):
    assert main([*IMAGES, *given]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"Cannot start the operator: {said}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("name", ["predictor", "monitor", "trainer"])
def test_the_images_must_be_given(name):
    with pytest.raises(UserError, match=f"required: --{name}-image"):
        options.parse([option for option in IMAGES if name not in option])


@pytest.mark.parametrize(("size", "is_taken"), [(0, False), (31, False), (32, True)])
def test_a_key_is_long_enough(tmp_path, size, is_taken):
    (tmp_path / "key").write_bytes(b"k" * size)
    given = [*IMAGES, f"--key-file={tmp_path / 'key'}"]
    if is_taken:
        assert options.parse(given).key == tmp_path / "key"
    else:
        with pytest.raises(UserError, match=f"has {size} bytes; at least 32 are needed"):
            options.parse(given)


def test_a_port_is_at_most_65535():
    assert options.parse([*IMAGES, "--port=65535"]).port == 65535
