"""Models from object stores: one object, or all below a prefix.

Endpoint, region and credentials come from the environment, as other tools read them: `AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, a web identity or the instance's role;
`GOOGLE_SERVICE_ACCOUNT`; `AZURE_STORAGE_ACCOUNT_NAME` and its key. `AWS_SKIP_SIGNATURE=true` asks without any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seamark.errors import InvalidPackage
from seamark_predictor.extras import need
from seamark_predictor.sources import archive
from seamark_predictor.sources.address import inside, shown, without_secrets
from seamark_predictor.sources.limits import Budget, Limits

__all__ = ["download"]

_CHUNK = 1024 * 1024
_SILENCE = timedelta(seconds=30)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def download(uri: str, into: Path, limits: Limits) -> None:
    """Puts the object into the folder under its own name (an archive: what is in it), or all below the prefix."""
    budget = Budget(limits, shown(uri))
    parts = urlsplit(uri)
    key = parts.path.strip("/")
    if not parts.netloc or not key or parts.query or parts.fragment:
        raise InvalidPackage(f"Cannot fetch {budget.what}: {parts.scheme}://BUCKET/KEY is needed")
    need("obstore", "objects", f"fetch {budget.what}")
    import obstore
    from obstore.exceptions import BaseError

    try:
        store = _store(f"{parts.scheme}://{parts.netloc}", limits)
        files = list(_found(obstore, store, key, budget))
        for name, path, size in files:
            _copy(obstore, store, path, inside(into, name, budget.what), size, budget)
    except BaseError as error:
        raise InvalidPackage(f"Cannot fetch {budget.what}: {without_secrets(_cause(error))}") from error
    name = files[0][0]
    if len(files) == 1 and files[0][1] == key and archive.is_archive(name):
        archive.unpack(into / name, into, budget)


def _store(root: str, limits: Limits) -> Any:
    from obstore import store

    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint and root.startswith("s3:") else {}
    # One call for every kind of store: its types have one signature for each.
    make: Any = store.from_url
    return make(
        root,
        config=config or None,
        client_options={
            "timeout": timedelta(seconds=limits.seconds),
            "read_timeout": _SILENCE,
            "connect_timeout": _SILENCE,
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
        },
        retry_config={
            "max_retries": limits.attempts - 1,
            "retry_timeout": timedelta(seconds=limits.seconds),
            "backoff": {"init_backoff": timedelta(seconds=limits.pause), "base": 2},
        },
    )


def _found(obstore: Any, store: Any, key: str, budget: Budget) -> Iterator[tuple[str, str, int]]:
    """(relative name, path, size) of the object, or of all objects below the key as a folder."""
    try:
        meta = obstore.head(store, key)
    except FileNotFoundError:
        meta = None
    if meta is not None:
        budget.file()
        budget.fits(meta["size"])
        yield key.rpartition("/")[2], key, meta["size"]
        return
    total = 0
    for page in obstore.list(store, prefix=key):
        for entry in page:
            name = entry["path"].removeprefix(f"{key}/")
            # Empty objects that end with a slash stand for folders.
            if entry["path"].endswith("/") or name == entry["path"]:
                continue
            budget.file()
            total += entry["size"]
            budget.fits(total)
            yield name, entry["path"], entry["size"]
    if not total:
        raise InvalidPackage(f"Cannot fetch {budget.what}: there is no such object, and none below it")


def _copy(obstore: Any, store: Any, path: str, file: Path, size: int, budget: Budget) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    taken = 0
    with file.open("xb") as written:
        for chunk in obstore.get(store, path).stream(min_chunk_size=_CHUNK):
            budget.take(len(chunk))
            taken += len(chunk)
            written.write(chunk)
    if taken != size:
        raise InvalidPackage(f"Cannot fetch {budget.what}: {taken} of {size} bytes of {path[:200]!r} came")


def _cause(error: BaseException) -> str:
    """The first sentence: what follows are the client's own settings."""
    return str(error).partition("\n")[0].partition("Debug source")[0]
