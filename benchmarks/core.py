"""What the core costs: `python benchmarks/core.py`. Prints the median of many runs; nothing fails here.

Speed is measured, not tested: a test that looks at a clock fails on a busy machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from seamark.contract import Checker, Rule
from seamark.drift import compare_all
from seamark.package import Feature, Schema

RUNS = 30


def median(work: Callable[[], object]) -> float:
    """Seconds, the median of RUNS runs after one to warm up."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def drift(features: int) -> float:
    generator = np.random.default_rng(4)
    windows, references = (list(generator.multinomial(n, [0.1] * 10, size=features)) for n in (200, 5000))
    return median(lambda: compare_all(windows, references, 1e-6, 0.1))


def contract(rows: int) -> float:
    features = tuple(Feature(f"f{i}") for i in range(30))
    rules = [
        Rule(f.name, name, *((-9, 9) if name == "range" else ()))
        for f in features
        for name in ("missing", "nonfinite", "range")
    ]
    numbers = np.random.default_rng(1).normal(size=(rows, 30))
    numbers[::7, 3], numbers[::11, 5], numbers[::13, 8] = np.nan, np.inf, 99
    checker = Checker(rules, Schema("regression", features))
    return median(lambda: checker.check(numbers, []))


if __name__ == "__main__":
    for count in (30, 1000):
        print(f"drift of {count} features from counts: {drift(count) * 1e3:.2f} ms")
    print(f"contract of 30 features: {contract(1024) / 1024 * 1e6:.3f} us a row, in blocks of 1,024")
