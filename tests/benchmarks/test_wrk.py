"""wrk's last line is read, and a run with any failed request counts nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.serving.wrk import LoadError, parse


def printed(**changes: Any) -> str:
    counted = {"requests": 5000, "microseconds": 2_000_000, "p50": 1200, "p99": 9800}
    counted |= dict.fromkeys(("connect", "read", "write", "timeout", "status"), 0)
    report = "Running 2s test @ http://127.0.0.1:8080\n  5000 requests in 2.00s, 1.00MB read\nRequests/sec:   2500.00\n"
    return f"{report}\n{json.dumps(counted | changes)}\n"


def test_requests_latencies_and_the_share_of_the_core_are_read() -> None:
    load = parse(printed(), 0.5)
    assert (load.requests, load.seconds, load.p50, load.p99, load.busy) == (5000, 2.0, 0.0012, 0.0098, 0.25)


@pytest.mark.parametrize("trouble", ["connect", "read", "write", "timeout", "status"])
def test_one_failed_request_fails_the_run_and_is_named(trouble: str) -> None:
    with pytest.raises(LoadError, match=f"1 by {trouble}"):
        parse(printed(**{trouble: 1}), 0.5)


def test_a_run_without_answers_fails() -> None:
    with pytest.raises(LoadError, match="no request was answered"):
        parse(printed(requests=0), 0.5)


@pytest.mark.parametrize("output", ["", "Running 2s test", "{}", "3", '{"requests": 1, "microseconds": 0}'])
def test_output_of_another_kind_is_refused(output: str) -> None:
    with pytest.raises(LoadError, match="Cannot read wrk's output"):
        parse(output, 0.5)
