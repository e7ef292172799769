"""A message of the predictor, read as far as the monitor needs; its block is kept as it came, to be logged as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from seamark.records import Block, Prediction

__all__ = ["Received", "read"]


@dataclass(frozen=True, slots=True)
class Received:
    """A `seamark.records.Frame`. encoded: the block's MessagePack."""

    sender: str
    dropped: int
    answered: Block
    encoded: bytes
    others: list[Prediction]


@dataclass(slots=True)
class _Frame:
    sender: str
    dropped: int
    answered: msgspec.Raw
    others: list[Prediction] = field(default_factory=list)


_frames = msgspec.msgpack.Decoder(_Frame)
_blocks = msgspec.msgpack.Decoder(Block)


def read(message: bytes) -> Received:
    """Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError` for what is no frame."""
    frame = _frames.decode(message)
    encoded = bytes(frame.answered)
    return Received(frame.sender, frame.dropped, _blocks.decode(encoded), encoded, frame.others)
