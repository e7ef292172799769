"""Requests of several clients as one run of the model, and its answer as theirs again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamark_predictor.dataplane import Answer
from seamark_predictor.generic import Arrays
from seamark_predictor.model import Output
from seamark_predictor.rows import Rows

__all__ = ["answer_bytes", "arrays_kind", "compact_answer", "join_arrays", "join_rows", "split_answer", "split_arrays"]


#: Bytes of a label: a number, or a place in a list; the texts of classes are shared.
_LABEL = 8


def join_rows(batches: Sequence[Rows]) -> Rows:
    """All rows of the batches, of one schema, in their order; at least one batch."""
    numbers = np.concatenate([batch.numbers for batch in batches])
    if not batches[0].categories:
        return Rows(numbers, [])
    columns = zip(*(batch.categories for batch in batches), strict=True)
    return Rows(numbers, [[text for part in column for text in part] for column in columns])


def split_answer(answer: Answer, counts: Sequence[int]) -> list[Answer]:
    """The answers to batches of so many rows; they share the joined answer's memory."""
    return [Answer(_part(answer.output, rows), answer.logged[rows], answer.labels[rows]) for rows in _slices(counts)]


def _part(output: Output, rows: slice) -> Output:
    if output.probabilities is None:
        return Output(output.prediction[rows])
    return Output(output.prediction[rows], output.probabilities[rows])


def compact_answer(answer: Answer) -> Answer:
    """The same answer without what else shares its memory; for keeping it."""
    probabilities = answer.output.probabilities
    output = Output(_own(answer.output.prediction), None if probabilities is None else _own(probabilities))
    labels = _own(answer.labels) if isinstance(answer.labels, np.ndarray) else answer.labels
    return Answer(output, _own(answer.logged), labels)


def answer_bytes(answer: Answer) -> int:
    """Bytes of a compact answer's values."""
    probabilities = answer.output.probabilities
    found = answer.output.prediction.nbytes + answer.logged.nbytes + _LABEL * len(answer.labels)
    return found if probabilities is None else found + probabilities.nbytes


def _own(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.base is None else array.copy()


def arrays_kind(batch: Arrays) -> Hashable:
    """Batches of one kind can be joined: the same shapes beyond the first axis. None: with no other."""
    if any(array.ndim == 0 or len(array) != batch.count for array in batch.by_name.values()):
        return None
    return tuple(array.shape[1:] for array in batch.by_name.values())


def join_arrays(batches: Sequence[Arrays]) -> Arrays:
    """Batches of one kind, name by name along the first axis; at least one."""
    return Arrays({name: np.concatenate([batch.by_name[name] for batch in batches]) for name in batches[0].by_name})


def split_arrays(answer: Arrays, counts: Sequence[int]) -> list[Arrays]:
    """The answers to batches of so many rows; ValueError where an output does not have one row for each."""
    total = sum(counts)
    for name, array in answer.by_name.items():
        if array.ndim == 0 or len(array) != total:
            raise ValueError(f"output {name!r} has the shape {list(array.shape)} for {total} rows")
    return [Arrays({name: array[rows] for name, array in answer.by_name.items()}) for rows in _slices(counts)]


def _slices(counts: Sequence[int]) -> Iterator[slice]:
    start = 0
    for count in counts:
        yield slice(start, start + count)
        start += count
