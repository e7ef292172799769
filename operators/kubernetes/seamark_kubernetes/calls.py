"""What is said to the API server and what its answers mean. Pure: no network, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from seamark.errors import Conflict, InvalidSpec, NotFound, SeamarkError, Unavailable
from seamark_kubernetes import names
from seamark_kubernetes.api import Document, Kind

__all__ = ["Answer", "Call", "Failure", "Verb", "decode", "failure", "list_call", "object_call", "watch_call"]

Verb = Literal["get", "list", "watch", "create", "replace", "apply", "patch", "delete"]

#: Harmless if done twice. The others are only repeated if the first try was certainly not carried out.
IDEMPOTENT: frozenset[Verb] = frozenset({"get", "list", "watch", "apply", "delete"})
METHODS: dict[Verb, str] = {"create": "POST", "replace": "PUT", "apply": "PATCH", "patch": "PATCH", "delete": "DELETE"}
CONTENT_TYPES: dict[Verb, str] = {"apply": "application/apply-patch+yaml", "patch": "application/merge-patch+json"}
WRITES: frozenset[Verb] = frozenset({"create", "replace", "apply", "patch"})
#: Answers that another try may better. 429 is given before a request is carried out, so it is safe for every verb.
PASSING = frozenset({429, 500, 502, 503, 504})
#: How a server-side apply with a field of the wrong type is answered, with status 500: trying again does not help.
MISTYPED = "failed to create typed patch object"
#: What a webhook or a policy that refuses a document says, often with a 403: no repeat changes its mind.
DENIED = "denied the request"
#: Characters of a cause that is passed on; an answer may be a proxy's whole page.
CAUSE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One request. what: the object in words."""

    verb: Verb
    path: str
    what: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Document | None = None

    @property
    def method(self) -> str:
        return METHODS.get(self.verb, "GET")

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES.get(self.verb, "application/json")

    @property
    def idempotent(self) -> bool:
        return self.verb in IDEMPOTENT

    def __str__(self) -> str:
        return f"Cannot {self.verb} {self.what}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. retry_after: the header's text."""

    status: int
    body: bytes
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed. again: it may be repeated; after: not sooner than so many seconds; expired: 410."""

    error: SeamarkError
    again: bool = False
    after: float = 0.0
    expired: bool = False


def object_call(
    verb: Verb, kind: Kind, namespace: str, name: str, body: Document | None = None, *, status: bool = False
) -> Call:
    """A call about one object. The body gets what identifies its kind."""
    path = _path(kind, namespace)
    if verb != "create":
        path += f"/{quote(name, safe='')}" + ("/status" if status else "")
    params = {"fieldManager": names.FIELD_MANAGER} if verb in WRITES else {}
    if verb == "apply":
        params["force"] = "true"
    if verb == "delete":
        params["propagationPolicy"] = "Background"
    document = None if body is None else {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    return Call(verb, path, f"{kind.kind} {namespace}/{name}", params, document)


def list_call(kind: Kind, namespace: str | None, labels: Mapping[str, str], size: int, page: str = "") -> Call:
    """One page of a list; size 0 asks for all at once."""
    params = _selector(labels)
    if size:
        params["limit"] = str(size)
    if page:
        params["continue"] = page
    return Call("list", _path(kind, namespace), _many(kind, namespace), params)


def watch_call(kind: Kind, namespace: str | None, labels: Mapping[str, str], version: str, seconds: int) -> Call:
    """A watch that the server ends after so many seconds."""
    params = _selector(labels) | {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(seconds),
    }
    return Call("watch", _path(kind, namespace), _many(kind, namespace), params)


def decode(call: Call, content: bytes) -> Document:
    """A JSON object; raises `Unavailable` for anything else, as a proxy in between may send."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unavailable(f"{call}: the answer is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Unavailable(f"{call}: the answer is no object but {type(document).__name__}")
    return document


def failure(call: Call, answer: Answer) -> Failure | None:
    """What is wrong with an answer; None if nothing is."""
    code = answer.status
    if HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES:
        return None
    status = _status(answer.body)
    message = f"{call}: {_cause(code, status, answer.body)}"
    if code == HTTPStatus.NOT_FOUND:
        return Failure(NotFound(message))
    if code == HTTPStatus.CONFLICT:
        return Failure(Conflict(message))
    refused = code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    if refused or MISTYPED in message or (code == HTTPStatus.FORBIDDEN and DENIED in message):
        return Failure(InvalidSpec(_field(status) or call.what, message))
    again = code in PASSING and (call.idempotent or code == HTTPStatus.TOO_MANY_REQUESTS)
    return Failure(Unavailable(message), again, _after(answer, status), code == HTTPStatus.GONE)


def _path(kind: Kind, namespace: str | None) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    within = "" if namespace is None else f"/namespaces/{quote(namespace, safe='')}"
    return f"{root}{within}/{kind.plural}"


def _many(kind: Kind, namespace: str | None) -> str:
    return f"{kind.plural} in all namespaces" if namespace is None else f"{kind.plural} in namespace {namespace}"


def _selector(labels: Mapping[str, str]) -> dict[str, str]:
    return {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels.items()))} if labels else {}


def _status(body: bytes) -> Document:
    """The API server's Status object, if that is what it sent."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return document if isinstance(document, dict) and document.get("kind") == "Status" else {}


def _cause(code: int, status: Document, body: bytes) -> str:
    text = str(status.get("message") or "") or body.decode("utf-8", "replace").strip()
    return f"{text[:CAUSE_LIMIT]} (HTTP {code})" if text else f"HTTP {code}"


def _field(status: Document) -> str:
    """The field that the API server refuses first."""
    causes = _details(status).get("causes") or [{}]
    return str(causes[0].get("field") or "") if isinstance(causes[0], dict) else ""


def _after(answer: Answer, status: Document) -> float:
    """Seconds to wait that the server asks for: the header, or what the Status says where a proxy ate it."""
    for text in (answer.retry_after, _details(status).get("retryAfterSeconds")):
        try:
            return max(0.0, float(text or ""))
        except (TypeError, ValueError):
            continue
    return 0.0


def _details(status: Document) -> dict[str, Any]:
    return status.get("details") or {}
