"""The command line: the installation's settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from seamark.errors import UserError
from seamark.tokens import MIN_KEY
from seamark_kubernetes.settings import Images, Settings

__all__ = ["parse"]

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_DEFAULTS = Settings(Images("", "", ""))


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Raises `UserError` with one line for what cannot be used."""
    found = _parser().parse_args(arguments)
    images = Images(
        found.predictor_image,
        found.monitor_image,
        found.trainer_image,
        found.image_pull_policy,
        tuple(found.pull_secret),
    )
    _check_host(found.host_template, found.domain)
    return Settings(
        images=images,
        namespace=found.namespace,
        watch=tuple(dict.fromkeys(found.watch_namespace)),
        gateway=found.gateway,
        domain=found.domain,
        host=found.host_template,
        confirm=found.confirm_url,
        envoy=found.envoy,
        collector=found.collector,
        analyzer=found.analyzer,
        alertmanager=found.alertmanager,
        alert_token=found.alert_token_file,
        key=found.key_file,
        port=found.port,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"Cannot start the operator: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="seamark-operator",
        description="Moves ModelDeployments towards what their manifests ask for. Logs in with the pod's service "
        "account, else with the file that KUBECONFIG names.",
        allow_abbrev=False,
    )
    _add_places(parser)
    _add_services(parser)
    _add_images(parser)
    parser.add_argument(
        "--port", type=_port, default=_DEFAULTS.port, help="port of alerts, metrics and health (default: %(default)s)"
    )
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--namespace",
        type=_namespace,
        default=_DEFAULTS.namespace,
        metavar="NS",
        help="the operator's own namespace (default: %(default)s)",
    )
    add(
        "--watch-namespace",
        type=_namespace,
        action="append",
        default=[],
        metavar="NS",
        help="namespace to work in; may be repeated; none means all",
    )
    add(
        "--gateway",
        type=_gateway,
        default="/".join(_DEFAULTS.gateway),
        metavar="NS/NAME",
        help="the Gateway that routes hang on (default: %(default)s)",
    )
    add(
        "--envoy",
        action=argparse.BooleanOptionalAction,
        default=_DEFAULTS.envoy,
        help="it is Envoy Gateway: add its policies, which retry requests and keep users on one side",
    )
    add("--domain", default=_DEFAULTS.domain, help="domain that models are reached under (default: %(default)s)")
    add(
        "--host-template",
        default=_DEFAULTS.host,
        metavar="TEMPLATE",
        help="a model's host, of {name}, {namespace} and {domain} (default: %(default)s)",
    )
    add(
        "--confirm-url",
        type=_url,
        default=_DEFAULTS.confirm,
        metavar="URL",
        help="where to see routes arrive; empty takes the Gateway's own address",
    )


def _add_services(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--collector",
        type=_url,
        default=_DEFAULTS.collector,
        metavar="URL",
        help="the collector's address (default: %(default)s)",
    )
    add(
        "--analyzer",
        type=_url,
        default=_DEFAULTS.analyzer,
        metavar="URL",
        help="the analyzer's address (default: %(default)s)",
    )
    add(
        "--alertmanager",
        type=_url,
        default=_DEFAULTS.alertmanager,
        metavar="URL",
        help="Alertmanager's address; without it the analyzer's scores decide alone",
    )
    add(
        "--alert-token-file",
        type=_file,
        default=_DEFAULTS.alert_token,
        metavar="FILE",
        help="bearer token that alerts must bear; without it none are taken",
    )
    add(
        "--key-file",
        type=_key_file,
        default=_DEFAULTS.key,
        metavar="FILE",
        help=f"key that tokens for the prediction log are signed with, at least {MIN_KEY} bytes",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    for name in ("predictor", "monitor", "trainer"):
        add(f"--{name}-image", type=_text, required=True, metavar="IMAGE", help=f"container image of the {name}")
    policies = ("Always", "IfNotPresent", "Never")
    add(
        "--image-pull-policy",
        choices=policies,
        default=_DEFAULTS.images.pull_policy,
        help="for these images (default: %(default)s)",
    )
    add(
        "--pull-secret",
        type=_text,
        action="append",
        default=[],
        metavar="NAME",
        help="secret to pull images with, in each model's namespace; may be repeated",
    )


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a namespace")
    return text


def _gateway(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    if not (_NAMESPACE.fullmatch(namespace) and _HOST.fullmatch(name)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAMESPACE/NAME")
    return namespace, name


def _url(text: str) -> str:
    """An http address without a slash at its end; empty stays empty."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if text and not valid:
        raise argparse.ArgumentTypeError(f"{text!r} is no address of the form http://HOST:PORT")
    return text.rstrip("/")


def _file(text: str) -> Path:
    """Only checked to be there: it is read at each use, since secrets are replaced."""
    path = Path(text)
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error.strerror}") from error
    return path


def _key_file(text: str) -> Path:
    path = _file(text)
    size = path.stat().st_size
    if size < MIN_KEY:
        raise argparse.ArgumentTypeError(f"{text} has {size} bytes; at least {MIN_KEY} are needed")
    return path


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 65535")
    return int(text)


def _check_host(template: str, domain: str) -> None:
    """Every model needs a host of its own, which a server name can be."""
    hosts = []
    for name in ("a", "b"):
        try:
            hosts.append(template.format(name=name, namespace="n", domain=domain))
        except (LookupError, ValueError, AttributeError) as error:
            cause = f"{template!r} knows other fields than {{name}}, {{namespace}} and {{domain}}"
            raise UserError(f"Cannot start the operator: argument --host-template: {cause}") from error
    if hosts[0] == hosts[1]:
        raise UserError(f"Cannot start the operator: argument --host-template: {template!r} has no {{name}}")
    if not _HOST.fullmatch(hosts[0]):
        raise UserError(f"Cannot start the operator: {hosts[0]!r} is no host; see --host-template and --domain")
