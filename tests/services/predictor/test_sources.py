"""Models are fetched whole or not at all, within limits, and no secret of an address is ever told."""

from __future__ import annotations

import base64
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.errors import InvalidPackage
from seamark_predictor.opening import open_model
from seamark_predictor.sources import Limits, fetch
from seamark_predictor.sources.address import inside, without_secrets

_QUICK = Limits(size=1_000_000, files=50, seconds=20, attempts=3, pause=0.01)


class _Server:
    """A web server of these files, by path; `answer` may do otherwise for a request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                if outer.answer(self):
                    return
                content = outer.files.get(urlsplit(self.path).path)
                reply(self, 404, b"") if content is None else reply(self, 200, content)

            do_HEAD = do_GET  # noqa: N815  # the name is the handler's

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def reply(to: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    to.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()
    if to.command != "HEAD":
        to.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started = _Server()
    yield started
    started.stop()


def _refused(uri: str, into: Path, limits: Limits = _QUICK) -> str:
    """The message; nothing may be left of the download."""
    with pytest.raises(InvalidPackage) as caught:
        fetch(uri, into, limits)
    assert not into.exists() or list(into.iterdir()) == []
    return str(caught.value)


def test_a_path_is_used_where_it_is(tmp_path: Path) -> None:
    place = tmp_path / "a model"
    place.mkdir()
    for uri in (str(place), f"file://{place}", place.as_uri(), f"file://localhost{place}"):
        assert fetch(uri, tmp_path / "into") == place
    assert not (tmp_path / "into").exists()
    assert fetch("C:odd", tmp_path) == Path("C:odd")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("", "its address is empty"),
        ("file://elsewhere/x", "it names a host"),
        ("pvc://claim/x", "mount the claim and give the path"),
        ("ftp://host/x", "its scheme is 'ftp'; allowed: a path, file://, http:"),
        ("http:///x", "http(s)://HOST/.../FILE is needed"),
        ("http://host/", "http(s)://HOST/.../FILE is needed"),
        ("http://host/%2e%2e", "leads out of its folder"),
        ("http://host/a%2fb", "http(s)://HOST/.../FILE is needed"),
        ("s3://bucket", "s3://BUCKET/KEY is needed"),
        ("models:/churn", "models:/NAME/VERSION or models:/NAME@ALIAS is needed"),
        ("models:/churn/Production", "models:/NAME/VERSION or models:/NAME@ALIAS is needed"),
    ],
)
def test_an_address_that_names_no_model_is_refused(tmp_path: Path, uri: str, problem: str) -> None:
    assert problem in _refused(uri, tmp_path / "into")


def test_a_file_keeps_its_name_and_its_bytes(server: _Server, tmp_path: Path) -> None:
    server.files["/a/my%20model.onnx"] = b"\x08content"
    found = fetch(f"{server.url}/a/my%20model.onnx?version=3", tmp_path, _QUICK)
    assert found.name == "my model.onnx"
    assert found.read_bytes() == b"\x08content"
    assert found.is_relative_to(tmp_path)
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert server.seen[0][1]["accept-encoding"] == "identity"


def test_a_user_and_a_password_go_into_a_header_of_their_host_only(server: _Server, tmp_path: Path) -> None:
    elsewhere = _Server()
    elsewhere.files["/m.onnx"] = b"x"

    def redirect(request: BaseHTTPRequestHandler) -> bool:
        reply(request, 302, b"", Location=f"{elsewhere.url}/m.onnx")
        return True

    server.answer = redirect
    fetch(server.url.replace("://", "://me:p%40ss@") + "/m.onnx", tmp_path, _QUICK)
    assert base64.b64decode(server.seen[0][1]["authorization"].split()[1]) == b"me:p@ss"
    assert "authorization" not in elsewhere.seen[0][1]
    elsewhere.stop()


def test_no_secret_of_an_address_is_told(server: _Server, tmp_path: Path) -> None:
    secret = server.url.replace("://", "://user:hunter2@") + "/m.onnx?token=hunter3#hunter4"
    closed = secret.replace(str(server.http.server_port), "1")
    for uri in (secret, closed, "ftp://user:hunter2@host/x?token=hunter3", "s3://user:hunter2@bucket?x=hunter3"):
        message = _refused(uri, tmp_path / "into")
        assert "hunter" not in message
    assert f"Cannot fetch {server.url}/m.onnx?...: the server answers 404 Not Found" == _refused(
        secret, tmp_path / "into"
    )


@given(st.text("abc:/@?# ", max_size=30))
def test_secrets_go_wherever_they_stand(rest: str) -> None:
    text = f"while asking http://user:hunter2@host/a?sig=hunter3 then {rest}"
    assert "hunter" not in without_secrets(text)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(server: _Server, tmp_path: Path, status: int) -> None:
    def trouble(request: BaseHTTPRequestHandler) -> bool:
        if len(server.seen) > 2:
            return False
        reply(request, status, b"")
        return True

    server.answer, server.files["/m.onnx"] = trouble, b"x"
    assert fetch(f"{server.url}/m.onnx", tmp_path, _QUICK).read_bytes() == b"x"
    assert len(server.seen) == 3


def test_a_server_that_stays_in_trouble_is_left_alone(server: _Server, tmp_path: Path) -> None:
    server.answer = lambda request: reply(request, 503, b"") is None
    message = _refused(f"{server.url}/m.onnx", tmp_path)
    assert message.endswith("the server answers 503 Service Unavailable (tried 3 times)")
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_says_no_is_not_asked_again(server: _Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda request: reply(request, status, b"") is None
    assert f"the server answers {status}" in _refused(f"{server.url}/m.onnx", tmp_path)
    assert len(server.seen) == 1


def test_an_answer_that_breaks_off_is_no_model(server: _Server, tmp_path: Path) -> None:
    def broken(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"half")
        return True

    server.answer = broken
    assert "4 of 100 bytes came (tried 3 times)" in _refused(f"{server.url}/m.onnx", tmp_path)


@pytest.mark.parametrize("announced", [True, False])
def test_more_bytes_than_allowed_are_not_kept(server: _Server, tmp_path: Path, announced: bool) -> None:
    def endless(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(200)
        if announced:
            request.send_header("Content-Length", str(10**12))
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"x" * 65536)
        except OSError:
            return True

    server.answer = endless
    assert "it has more than 1000000 bytes" in _refused(f"{server.url}/m.onnx", tmp_path)


def test_a_download_ends_in_time(server: _Server, tmp_path: Path) -> None:
    over = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(200)
        request.end_headers()
        try:
            while not over.wait(0.01):
                request.wfile.write(b"x")
        except OSError:
            pass
        return True

    server.answer = slow
    message = _refused(f"{server.url}/m.onnx", tmp_path, Limits(seconds=0.3))
    over.set()
    assert "it takes more than 0.3 seconds" in message


def test_a_redirect_leads_to_the_web_only(server: _Server, tmp_path: Path) -> None:
    server.answer = lambda request: reply(request, 302, b"", Location="file:///etc/passwd") is None
    message = _refused(f"{server.url}/m.onnx", tmp_path)
    assert "redirects to file" in message or "answers 302" in message


_Member = tuple[str, bytes | tarfile.TarInfo]


def _tar(*members: _Member, mode: str = "w:gz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # the mode is a text here
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _zip(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


_FILES = (("model/seamark.json", b"{}"), ("model/deep/weights.bin", b"w"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tar.gz", _tar(*_FILES)),
        ("m.TGZ", _tar(*_FILES)),
        ("m.tar", _tar(*_FILES, mode="w")),
        ("m.zip", _zip(*_FILES)),
        ("m.tar.gz", _tar(("./", _special(tarfile.DIRTYPE)), ("./model", _special(tarfile.DIRTYPE)), *_FILES)),
    ],
)
def test_an_archive_becomes_the_folder_in_it(server: _Server, tmp_path: Path, name: str, content: bytes) -> None:
    server.files[f"/{name}"] = content
    found = fetch(f"{server.url}/{name}", tmp_path, _QUICK)
    assert found.name == "model"
    assert {p.relative_to(found).as_posix(): p.read_bytes() for p in found.rglob("*") if p.is_file()} == {
        "seamark.json": b"{}",
        "deep/weights.bin": b"w",
    }


_ZEROS = b"\0" * 900_000


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.tar.gz", _tar(("../x", b"")), "the name '../x' in it leads out of its folder"),
        ("m.tar.gz", _tar(("/etc/x", b"")), "leads out of its folder"),
        ("m.zip", _zip(("../x", b"")), "leads out of its folder"),
        ("m.zip", _zip(("a\\..\\x", b"")), "leads out of its folder"),
        ("m.tar.gz", _tar(("x", _special(tarfile.SYMTYPE, "/etc/passwd"))), "'x' in it is a link or a special file"),
        ("m.tar.gz", _tar(("x", _special(tarfile.LNKTYPE, "y"))), "is a link or a special file"),
        ("m.tar.gz", _tar(("x", _special(tarfile.FIFOTYPE))), "is a link or a special file"),
        ("m.zip", _zip(("x", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), "is a link or a special file"),
        ("m.tar.gz", _tar(("x", b"1"), ("x", b"2")), "'x' is in it twice"),
        ("m.tar.gz", _tar(("x", b"1"), ("x/y", b"2")), "'x/y' is "),
        ("m.tar.gz", _tar(*((f"f{i}", b"") for i in range(60))), "it holds more than 50 files"),
        ("m.zip", _zip(*((f"f{i}", b"") for i in range(60))), "it holds more than 50 files"),
        ("m.tar.gz", _tar(("a", _ZEROS), ("b", _ZEROS)), "it grows to more than 1204800 bytes"),
        ("m.zip", _zip(("a", _ZEROS), ("b", _ZEROS)), "it has more than 1000000 bytes"),
        ("m.tar.gz", b"no archive", "it is damaged"),
        ("m.zip", b"PK\x03\x04no archive", "it is damaged"),
        ("m.tar.gz", _tar(*_FILES)[:-20], "it is damaged"),
        ("m.tar.gz", _tar(("a", b"x" * 5000))[:60], "it is damaged"),
        ("m.zip", _zip(("x" * 300, b"")), "is too long"),
    ],
)
def test_an_archive_that_would_do_harm_leaves_nothing(
    server: _Server, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    server.files[f"/{name}"] = content
    assert problem in _refused(f"{server.url}/{name}", tmp_path / "into")
    assert [path.name for path in tmp_path.iterdir()] == ["into"]


def test_a_header_that_would_fill_the_memory_is_refused(server: _Server, tmp_path: Path) -> None:
    """Tar's own reader takes extended headers into memory whole, however long they say they are."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 64 * 1024 * 1024
    server.files["/m.tar.gz"] = gzip.compress(info.tobuf() + b"\0" * info.size, 1)
    assert "a header in it has 67108864 bytes" in _refused(f"{server.url}/m.tar.gz", tmp_path, Limits())


def test_a_bomb_is_stopped_by_its_ratio(server: _Server, tmp_path: Path) -> None:
    server.files["/m.tar.gz"] = _tar(("a", b"\0" * 80_000_000))
    assert "it grows to more than 200 times its size" in _refused(f"{server.url}/m.tar.gz", tmp_path, Limits())


@given(st.text(max_size=40))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    folder = Path("/some/folder")
    try:
        path = inside(folder, name, "it")
    except InvalidPackage:
        return
    assert Path(os.path.normpath(path)).is_relative_to(folder)
    assert Path(os.path.normpath(path)) != folder


class _S3:
    """A small part of S3's HTTP interface, made for this test: objects, and lists in pages of two."""

    def __init__(self, server: _Server, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.cut = False
        server.answer = self.answer

    def answer(self, request: BaseHTTPRequestHandler) -> bool:
        parts = urlsplit(request.path)
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=the-key/")
        query = parse_qs(parts.query)
        if "list-type" in query:
            self._list(request, query)
            return True
        key = unquote(parts.path).removeprefix("/bucket/")
        content = self.objects.get(key)
        if content is None:
            reply(request, 404, b"")
            return True
        headers = {"ETag": '"1"', "Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        reply(request, 200, content, **headers)
        return True

    def _list(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", [""])[0]))
        start = int(query.get("continuation-token", ["0"])[0])
        more = start + 2 < len(keys)
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size><ETag>1</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys[start : start + 2]
        )
        token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        reply(request, 200, text.encode(), Content_Type="application/xml")


@pytest.fixture
def s3(server: _Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], _S3]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter5")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return lambda objects: _S3(server, objects)


def test_an_object_is_a_file(s3: Callable[..., _S3], tmp_path: Path) -> None:
    s3({"models/m.onnx": b"\x08abc"})
    found = fetch("s3://bucket/models/m.onnx", tmp_path, _QUICK)
    assert found.name == "m.onnx"
    assert found.read_bytes() == b"\x08abc"


def test_an_object_that_is_an_archive_is_unpacked(s3: Callable[..., _S3], tmp_path: Path) -> None:
    s3({"models/m.tar.gz": _tar(*_FILES)})
    assert (fetch("s3://bucket/models/m.tar.gz", tmp_path, _QUICK) / "deep" / "weights.bin").read_bytes() == b"w"


def test_all_objects_below_a_prefix_are_a_folder(s3: Callable[..., _S3], tmp_path: Path) -> None:
    objects = {f"models/a/{name}": name.encode() for name in ("MLmodel", "code/x.py", "model.skops", "deep/er/y")}
    s3({**objects, "models/a/": b"", "models/ab/other": b"x"})
    found = fetch("s3://bucket/models/a/", tmp_path, _QUICK)
    files = {f"models/a/{p.relative_to(found).as_posix()}": p.read_bytes() for p in found.rglob("*") if p.is_file()}
    assert files == objects


@pytest.mark.parametrize(
    ("objects", "limits", "problem"),
    [
        ({}, _QUICK, "there is no such object, and none below it"),
        ({"m/a": b"x" * 600_000, "m/b": b"x" * 600_000}, _QUICK, "it has more than 1000000 bytes"),
        ({"m": b"x" * 1_100_000}, _QUICK, "it has more than 1000000 bytes"),
        ({f"m/{i}": b"" for i in range(60)}, _QUICK, "it holds more than 50 files"),
    ],
    ids=["nothing", "large together", "large", "many"],
)
def test_objects_beyond_the_limits_leave_nothing(
    s3: Callable[..., _S3], tmp_path: Path, objects: dict[str, bytes], limits: Limits, problem: str
) -> None:
    s3(objects)
    message = _refused("s3://bucket/m", tmp_path, limits)
    assert problem in message
    assert "hunter" not in message


def test_an_object_store_that_refuses_is_told_without_secrets(server: _Server, s3: Any, tmp_path: Path) -> None:
    s3({})
    server.answer = lambda request: reply(request, 403, b"<Error><Code>AccessDenied</Code></Error>") is None
    message = _refused("s3://bucket/m", tmp_path)
    assert message.startswith("Cannot fetch s3://bucket/m: ")
    assert "hunter" not in message


_REGISTER = """
import mlflow, sys
from mlflow import MlflowClient
client = MlflowClient()
client.create_registered_model("churn")
client.create_model_version("churn", source=sys.argv[1])
client.set_registered_model_alias("churn", "champion", "1")
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MLflow's own registry of files, with one model of two files."""
    root = tmp_path_factory.mktemp("registry")
    (root / "model" / "deep").mkdir(parents=True)
    (root / "model" / "MLmodel").write_text("flavors: {}\n")
    (root / "model" / "deep" / "weights").write_bytes(b"x" * 1000)
    settings = {
        "MLFLOW_TRACKING_URI": (root / "store").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        command = [sys.executable, "-c", _REGISTER, (root / "model").as_uri()]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        yield root


def test_a_registered_model_comes_by_alias(registry: Path, tmp_path: Path) -> None:
    found = fetch("models:/churn@champion", tmp_path, _QUICK)
    assert {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()} == {"MLmodel", "deep/weights"}
    with pytest.raises(InvalidPackage, match="its flavours are none"):
        open_model(found, name="m", trust_pickle=False, digest=None)


def test_an_alias_that_is_not_there_is_told(registry: Path, tmp_path: Path) -> None:
    assert _refused("models:/churn@nobody", tmp_path).startswith("Cannot fetch models:/churn@nobody: Registered model")


def test_a_registered_model_beyond_the_limits_leaves_nothing(registry: Path, tmp_path: Path) -> None:
    assert "it has more than 500 bytes" in _refused("models:/churn/1", tmp_path, Limits(size=500))
    assert "it takes more than 0.1 seconds" in _refused("models:/churn/1", tmp_path, Limits(seconds=0.1))
