"""What the predictor itself counts, and its text for Prometheus at GET /metrics.

A cell is eight bytes of memory that all workers share, and an addition changes one of them: nothing else happens
between two scrapes. Each worker adds to a row of its own, so that no cell has two writers; whoever is scraped sums the
rows. A worker that is started again goes on in its row, so no counter falls.
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from seamark.metrics import CATALOGUE, LATENCY_BOUNDS, Metric

__all__ = [
    "BATCH_BOUNDS",
    "CONTENT_TYPE",
    "PROTOCOLS",
    "STATUSES",
    "Counters",
    "ModelCounters",
    "ModelInfo",
    "shared_file",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PROTOCOLS = ("v1", "v2", "grpc")
STATUSES = (200, 400, 404, 405, 408, 413, 415, 422, 429, 500, 502, 503, 504)
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
#: Rows of one run.
BATCH_BOUNDS = tuple(2**i for i in range(11))

_STATUS_TEXTS = (*map(str, STATUSES), *_CLASSES)
#: (protocol, status) to the cell of their requests.
_REQUESTS = {
    (protocol, status): i * len(_STATUS_TEXTS) + j
    for i, protocol in enumerate(PROTOCOLS)
    for j, status in enumerate(STATUSES)
}
#: A model's cells, in this order.
_LATENCY = len(PROTOCOLS) * len(_STATUS_TEXTS)
_NANOSECONDS = _LATENCY + len(LATENCY_BOUNDS) + 1
_BATCHES = _NANOSECONDS + 1
_BATCH_ROWS = _BATCHES + len(BATCH_BOUNDS) + 1
_ROWS = _BATCH_ROWS + 1
_WAITING = _ROWS + 1
_REJECTED = _WAITING + 1
_TIMED_OUT = _REJECTED + 1
_HITS = _TIMED_OUT + 1
_MISSES = _HITS + 1
_EVICTIONS = _MISSES + 1
_IN_FLIGHT = _EVICTIONS + 1
_MODEL_CELLS = _IN_FLIGHT + 1

#: Cells before the first row: when the first worker was started in microseconds since 1970, and the cells of a row.
_STARTED, _ROW_CELLS = 0, 1
_HEADER = 8
#: The cell of a row before the models': how often its worker was started.
_STARTS = 0
#: A processor's cache line is 8 cells. A row begins a new one, so that workers on two cores do not disturb each other.
_LINE = 8

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One served model: its name in addresses, its revision, its platform, its package's digest."""

    name: str
    version: str
    platform: str
    digest: str


class ModelCounters:
    """Adds to one model's cells in one worker's row; to be used by one thread. An addition never fails."""

    def __init__(self, cells: memoryview[int]) -> None:
        self._cells = cells
        # Of these only the present counts, and it ended with the worker before.
        cells[_WAITING] = cells[_IN_FLIGHT] = 0

    @property
    def in_flight(self) -> int:
        """Requests of this worker that are neither answered nor given up."""
        return self._cells[_IN_FLIGHT]

    def began(self) -> None:
        """A request has come; `ended` follows."""
        self._cells[_IN_FLIGHT] += 1

    def ended(self) -> None:
        """A request was answered, or its client has gone."""
        self._cells[_IN_FLIGHT] -= 1

    def answered(self, protocol: str, status: int, seconds: float, rows: int) -> None:
        """A request that took so many seconds; rows: those predicted. protocol: one of PROTOCOLS."""
        cells = self._cells
        cell = _REQUESTS.get((protocol, status))
        cells[_request_cell(protocol, status) if cell is None else cell] += 1
        cells[_LATENCY + bisect_left(LATENCY_BOUNDS, seconds)] += 1
        cells[_NANOSECONDS] += int(seconds * 1e9)
        if status == 200:
            cells[_ROWS] += rows

    def ran(self, rows: int) -> None:
        """One run of the model with so many rows."""
        cells = self._cells
        cells[_BATCHES + bisect_left(BATCH_BOUNDS, rows)] += 1
        cells[_BATCH_ROWS] += rows

    def waiting(self, requests: int) -> None:
        """So many requests wait in this worker now."""
        self._cells[_WAITING] = requests

    def rejected(self) -> None:
        """A request was refused because too much waits."""
        self._cells[_REJECTED] += 1

    def timed_out(self) -> None:
        """A request's deadline passed before it was answered."""
        self._cells[_TIMED_OUT] += 1

    def cache_hit(self) -> None:
        self._cells[_HITS] += 1

    def cache_missed(self) -> None:
        self._cells[_MISSES] += 1

    def cache_evicted(self, entries: int) -> None:
        """So many answers were let go of to make room."""
        self._cells[_EVICTIONS] += entries


def _request_cell(protocol: str, status: int) -> int:
    """A status that has no cell of its own."""
    text = f"{status // 100}xx" if 100 <= status < 600 else "other"
    return PROTOCOLS.index(protocol) * len(_STATUS_TEXTS) + _STATUS_TEXTS.index(text)


class Counters:
    """All workers' counters of some models. `models` has this worker's own, in the order given."""

    def __init__(
        self, models: Sequence[ModelInfo], *, file: int | None = None, workers: int = 1, index: int = 0
    ) -> None:
        """file: the descriptor of a file that all workers share, as `shared_file` makes it; None where there is one."""
        self._infos = tuple(models)
        self._row_cells = -(-(1 + len(models) * _MODEL_CELLS) // _LINE) * _LINE
        self._workers = workers
        size = 8 * (_HEADER + workers * self._row_cells)
        if file is not None and os.fstat(file).st_size < size:
            # Several workers may do this at once: to the same size, and new bytes are 0.
            os.ftruncate(file, size)
        self._cells = memoryview(mmap.mmap(-1 if file is None else file, size)).cast("q")
        self._enter(self._row(index))

    def _enter(self, row: memoryview[int]) -> None:
        header = self._cells
        if header[_ROW_CELLS] not in (0, self._row_cells):
            raise ValueError(f"rows of {header[_ROW_CELLS]} cells cannot take {len(self._infos)} models")
        header[_ROW_CELLS] = self._row_cells
        header[_STARTED] = header[_STARTED] or int(time.time() * 1e6)
        row[_STARTS] += 1
        places = (1 + i * _MODEL_CELLS for i in range(len(self._infos)))
        self.models = tuple(ModelCounters(row[place : place + _MODEL_CELLS]) for place in places)

    def _row(self, index: int) -> memoryview[int]:
        start = _HEADER + index * self._row_cells
        return self._cells[start : start + self._row_cells]

    def text(self) -> bytes:
        """Prometheus text format, of all workers."""
        totals = [sum(column) for column in zip(*(self._row(i).tolist() for i in range(self._workers)), strict=True)]
        blocks = [totals[1 + i * _MODEL_CELLS :][:_MODEL_CELLS] for i in range(len(self._infos))]
        lines: list[str] = []
        for metric in CATALOGUE.values():
            if metric.source == "predictor":
                lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
                lines += self._lines(metric, totals[_STARTS], blocks)
        return "".join(f"{line}\n" for line in lines).encode()

    def _lines(self, metric: Metric, starts: int, blocks: Sequence[Sequence[int]]) -> Iterator[str]:
        if metric.name == "seamark_predictor_start_timestamp_seconds":
            yield f"{metric.name} {self._cells[_STARTED] / 1e6}"
        elif metric.name == "seamark_predictor_worker_starts_total":
            yield f"{metric.name} {starts}"
        else:
            for info, block in zip(self._infos, blocks, strict=True):
                if metric.kind == "histogram":
                    yield from _histogram(metric, info.name, block)
                    continue
                for values, value in _samples(metric.name, info, block):
                    yield f"{metric.name}{_labels(metric.labels, (info.name, *values))} {value}"


def shared_file() -> int:
    """A descriptor of an empty file in memory, which ends with the last process that has it."""
    return os.memfd_create("seamark-counters")


def _samples(name: str, info: ModelInfo, block: Sequence[int]) -> Iterable[Sample]:
    match name:
        case "seamark_predictor_requests_total":
            pairs = ((protocol, status) for protocol in PROTOCOLS for status in _STATUS_TEXTS)
            return zip(pairs, block[:_LATENCY], strict=True)
        case "seamark_predictor_model_info":
            return [((info.version, info.platform, info.digest), 1)]
    return [((), block[_PLAIN[name]])]


#: Metrics that are one cell.
_PLAIN = {
    "seamark_predictor_rows_total": _ROWS,
    "seamark_predictor_requests_in_flight": _IN_FLIGHT,
    "seamark_predictor_queue_requests": _WAITING,
    "seamark_predictor_rejected_total": _REJECTED,
    "seamark_predictor_timed_out_total": _TIMED_OUT,
    "seamark_predictor_cache_hits_total": _HITS,
    "seamark_predictor_cache_misses_total": _MISSES,
    "seamark_predictor_cache_evictions_total": _EVICTIONS,
}
#: Histograms: their bounds, their first cell, the cell of their sum and its unit.
_HISTOGRAMS: dict[str, tuple[Sequence[float], int, int, float]] = {
    "seamark_predictor_request_seconds": (LATENCY_BOUNDS, _LATENCY, _NANOSECONDS, 1e-9),
    "seamark_predictor_batch_rows": (BATCH_BOUNDS, _BATCHES, _BATCH_ROWS, 1),
}


def _histogram(metric: Metric, model: str, block: Sequence[int]) -> Iterator[str]:
    bounds, first, total, unit = _HISTOGRAMS[metric.name]
    cumulative = list(accumulate(block[first : first + len(bounds) + 1]))
    for bound, count in zip([*map(str, bounds), "+Inf"], cumulative, strict=True):
        yield f"{metric.name}_bucket{_labels(('model', 'le'), (model, bound))} {count}"
    labels = _labels(("model",), (model,))
    yield f"{metric.name}_sum{labels} {block[total] * unit}"
    yield f"{metric.name}_count{labels} {cumulative[-1]}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
