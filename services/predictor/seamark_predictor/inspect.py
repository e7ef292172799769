"""`python -m seamark_predictor.inspect FOLDER`: what package is this, and is it whole?

The model file is hashed and never loaded, and nothing beyond the standard library is imported, so that it costs little
wherever a package's digest is needed before anything serves it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seamark.errors import InvalidPackage
from seamark.package import parse_manifest
from seamark_predictor import termination

__all__ = ["inspect", "main"]

#: Bytes of all JSON files of a package together.
_MOST_JSON = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
#: Characters of one text in the answer. Kubernetes keeps 4096 bytes of a termination message, and half a line is none.
_LONGEST_TEXT = 200
_LONGEST_ERROR = 1000


def inspect(folder: Path) -> dict[str, str]:
    """`digest`, `version`, `format` and `name` of the package in `folder`; raises `InvalidPackage`.

    Every file that is read must be a regular one inside the folder: where the folder alone is mounted, a link out of it
    leads nowhere, or somewhere else.
    """
    try:
        root = folder.resolve(strict=True)
        if not root.is_dir():
            raise InvalidPackage(f"Cannot read package {folder}: it is not a folder")
        return _inspect(root)
    except OSError as error:
        raise InvalidPackage(f"Cannot read package {folder}: {error.strerror or error}") from error


def _inspect(root: Path) -> dict[str, str]:
    content = _json(root, "seamark.json", _MOST_JSON)
    manifest = parse_manifest(content)
    profile = _json(root, "profile.json", _MOST_JSON - len(content))
    _digest_matches("profile.json", hashlib.sha256(profile).hexdigest(), manifest.profile_sha256)
    if os.path.lexists(root / "contract.json"):
        _json(root, "contract.json", _MOST_JSON - len(content) - len(profile))
    _digest_matches(manifest.model.file, _hashed(root, manifest.model.file), manifest.model.sha256)
    return {
        "digest": hashlib.sha256(content).hexdigest(),
        "version": manifest.version[:_LONGEST_TEXT],
        "format": manifest.model.format,
        "name": manifest.name[:_LONGEST_TEXT],
    }


@contextmanager
def _opened(root: Path, name: str) -> Iterator[BinaryIO]:
    try:
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root):
            raise InvalidPackage(f"Cannot read {name}: it is a link out of the package's folder")
        # Opening a pipe would wait for its other end for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise InvalidPackage(f"Cannot read {name}: it is not a regular file")
            with open(number, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(number)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        cause = getattr(error, "strerror", None) or str(error)
        raise InvalidPackage(f"Cannot read {name}: {cause}") from error


def _json(root: Path, name: str, limit: int) -> bytes:
    with _opened(root, name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InvalidPackage(f"Cannot read {name}: the package has more than {_MOST_JSON} bytes of JSON")
    return content


def _hashed(root: Path, name: str) -> str:
    found = hashlib.sha256()
    with _opened(root, name) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _digest_matches(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise InvalidPackage(f"Cannot use {name}: its SHA-256 is {found}, seamark.json says {wanted}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seamark_predictor.inspect",
        description="Checks every digest of a model package and tells its own, as one line of JSON.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the model package")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=f"where to write the line (default: {termination.DEFAULT} where there is one, else standard output)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 and `{"error": "..."}` for a package that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        answer, status = inspect(options.folder), 0
    except InvalidPackage as error:
        answer, status = {"error": " ".join(str(error).split())[:_LONGEST_ERROR]}, 2
    line = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace").decode()
    return status if _write(options.output, line) else 2


def _write(output: Path | None, line: str) -> bool:
    chosen = output or (termination.DEFAULT if termination.DEFAULT.exists() else None)
    if chosen is not None and termination.write(chosen, line):
        return True
    sys.stdout.write(f"{line}\n")
    if output is not None:
        sys.stderr.write(f"Cannot write {output}\n")
    return output is None


if __name__ == "__main__":
    sys.exit(main())
