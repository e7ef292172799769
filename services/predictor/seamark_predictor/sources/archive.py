"""Unpacks archives: plain files and folders only, within the download's limits."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from seamark.errors import InvalidPackage
from seamark_predictor.sources.address import inside
from seamark_predictor.sources.limits import Budget

__all__ = ["is_archive", "unpack"]

_TAR = (".tar", ".tar.gz", ".tgz")
_ZIP = (".zip",)
_CHUNK = 1024 * 1024
#: Bytes of one header or of a table of contents: readers take these into memory whole.
_LONGEST_HEADER = 16 * 1024 * 1024
#: Unpacked bytes for each packed one; weights of real models shrink little. Small archives may do as they like.
_MOST_RATIO = 200
_SMALL = 64 * 1024 * 1024


def is_archive(name: str) -> bool:
    return name.lower().endswith((*_TAR, *_ZIP))


def unpack(file: Path, into: Path, budget: Budget) -> None:
    """Puts what is in the archive into the folder in its place; raises `InvalidPackage`."""
    packed = file.stat().st_size
    # Its own name may be a name in it.
    moved = file.rename(into / ".archive")
    budget.give_back(packed)
    most = max(_SMALL, packed * _MOST_RATIO)
    writer = _Writer(into, budget, most)
    try:
        if file.name.lower().endswith(_ZIP):
            _unzip(moved, writer)
        else:
            _untar(moved, writer, packed_with_gzip=not file.name.lower().endswith(".tar"))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, ValueError) as error:
        # ValueError: names and numbers that do not fit; NotImplementedError comes as RuntimeError below.
        raise InvalidPackage(f"Cannot unpack {budget.what}: it is damaged: {str(error)[:200]}") from error
    except RuntimeError as error:
        raise InvalidPackage(f"Cannot unpack {budget.what}: {str(error)[:200]}") from error
    moved.unlink()


class _Writer:
    """Makes files and folders below one folder, and counts."""

    def __init__(self, into: Path, budget: Budget, most: int) -> None:
        self._into = into
        self._left = most
        self.budget = budget

    def folder(self, name: str) -> None:
        self.budget.file()
        if name.strip("./"):
            inside(self._into, name, self.budget.what).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, source: IO[bytes]) -> None:
        """Raises `InvalidPackage` where the name is there already, so that no member replaces another."""
        self.budget.file()
        path = inside(self._into, name, self.budget.what)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as written:
                while chunk := source.read(_CHUNK):
                    self._take(len(chunk))
                    written.write(chunk)
        except FileExistsError as error:
            raise InvalidPackage(f"Cannot unpack {self.budget.what}: {name[:100]!r} is in it twice") from error
        except NotADirectoryError as error:
            raise InvalidPackage(f"Cannot unpack {self.budget.what}: {name[:100]!r} is below a file") from error

    def _take(self, size: int) -> None:
        self.budget.take(size)
        self._left -= size
        if self._left < 0:
            raise InvalidPackage(
                f"Cannot unpack {self.budget.what}: it grows to more than {_MOST_RATIO} times its size"
            )

    def refuse(self, name: str, kind: str) -> InvalidPackage:
        return InvalidPackage(
            f"Cannot unpack {self.budget.what}: {name[:100]!r} in it is {kind}; allowed: files and folders"
        )


class _Bounded(io.RawIOBase):
    """A file of which nobody reads too much at once, nor seeks or reads beyond `most` bytes."""

    def __init__(self, file: IO[bytes], most: int, what: str) -> None:
        self._file = file
        self._most = most
        self._what = what

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > _LONGEST_HEADER:
            raise InvalidPackage(f"Cannot unpack {self._what}: a header in it has {size} bytes")
        found = self._file.read(size if size >= 0 else _LONGEST_HEADER)
        self._within(self._file.tell())
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._within(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _within(self, place: int) -> None:
        if place > self._most:
            raise InvalidPackage(f"Cannot unpack {self._what}: it grows to more than {self._most} bytes")


@contextmanager
def _tar(path: Path, writer: _Writer, gzipped: bool) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as packed:
        # Headers count as well as files: there may be many of them.
        most = writer.budget.limits.size + writer.budget.limits.files * 4096
        source: Any = gzip.GzipFile(fileobj=packed) if gzipped else packed
        bounded: IO[bytes] = _Bounded(source, most, writer.budget.what)  # type: ignore[assignment]  # what tarfile uses
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield archive
        # What follows are zeros, and gzip's checksum, which is compared only at the end.
        while bounded.read(_CHUNK):
            pass


def _untar(path: Path, writer: _Writer, *, packed_with_gzip: bool) -> None:
    with _tar(path, writer, packed_with_gzip) as archive:
        for member in archive:
            # The list of all members is of no use and grows.
            archive.members = []  # type: ignore[attr-defined]  # there, and not in the stubs
            if member.isdir():
                writer.folder(member.name)
                continue
            content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
            if content is None:
                raise writer.refuse(member.name, "a link or a special file")
            with content:
                writer.file(member.name, content)


def _unzip(path: Path, writer: _Writer) -> None:
    with path.open("rb") as packed:
        bounded: IO[bytes] = _Bounded(packed, path.stat().st_size, writer.budget.what)  # type: ignore[assignment]  # the same
        with zipfile.ZipFile(bounded) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    writer.folder(member.filename)
                    continue
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise writer.refuse(member.filename, "a link or a special file")
                with archive.open(member) as content:
                    writer.file(member.filename, content)
