"""Answers kept for inputs that come again.

A key holds the whole input, so two inputs never share an answer: a hash that collides is followed by a comparison of
every byte, and Python's hashes of bytes and texts are keyed, so that nobody can make many collide.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from seamark_predictor.rows import Rows

__all__ = ["Cache", "CacheMeter", "rows_key"]

V = TypeVar("V")

#: Bytes that an entry takes beside its input and its answer: objects, the key, its place in the table.
_OVERHEAD = 500


class CacheMeter(Protocol):
    """Who counts; `counters.ModelCounters` is one."""

    def cache_hit(self) -> None: ...
    def cache_missed(self) -> None: ...
    def cache_evicted(self, entries: int) -> None: ...


def rows_key(digest: str, rows: Rows) -> tuple[Hashable, int]:
    """The key of rows and its bytes, for models of features. The same rows share an answer in whatever form they came.

    digest: the model package's.
    """
    numbers = rows.numbers.tobytes()
    if not rows.categories:
        return (digest, rows.count, numbers), len(numbers)
    texts = tuple(tuple(column) for column in rows.categories)
    size = sum(len(text or "") * 4 + 60 for column in texts for text in column)
    return (digest, rows.count, numbers, texts), len(numbers) + size


class Cache(Generic[V]):
    """The answers used last, at most `entries` and `size` bytes of them; used by one thread, the event loop's.

    Nobody may change an answer once it is here. largest: bytes of an entry that is kept at all; more would push out
    many others.
    """

    def __init__(self, entries: int, size: int, meter: CacheMeter, weigh: Callable[[V], int]) -> None:
        """weigh: bytes of an answer, all that it keeps alive."""
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._entries = entries
        self._room = size
        self._largest = size // 16
        self._meter = meter
        self._weigh = weigh
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> V | None:
        """The answer, which is now the one used last; None where there is none."""
        found = self._kept.get(key)
        if found is None:
            self._meter.cache_missed()
            return None
        self._kept.move_to_end(key)
        self._meter.cache_hit()
        return found[0]

    def put(self, key: Hashable, key_size: int, answer: V) -> None:
        """Keeps the answer, and lets go of those used longest ago where there is no room."""
        size = key_size + self._weigh(answer) + _OVERHEAD
        if size > self._largest:
            return
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self.size -= replaced[1]
        self._kept[key] = (answer, size)
        self.size += size
        self._make_room()

    def _make_room(self) -> None:
        evicted = 0
        while len(self._kept) > self._entries or self.size > self._room:
            _, (_, size) = self._kept.popitem(last=False)
            self.size -= size
            evicted += 1
        if evicted:
            self._meter.cache_evicted(evicted)
