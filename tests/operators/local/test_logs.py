"""Logs stay small, keep their end, and tell the last thing that was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamark_local import logs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


@pytest.mark.parametrize("length", [0, 999, 1000])
def test_a_log_up_to_the_limit_is_left_alone(log: Path, length: int) -> None:
    log.write_bytes(b"x" * length)
    logs.trim(log, 1000)
    assert logs.size(log) == length
    assert not logs.previous(log).exists()


def test_a_log_beyond_the_limit_is_emptied_and_its_end_is_kept(log: Path) -> None:
    logs.previous(log).write_bytes(b"older")
    log.write_bytes(b"a" * 500 + b"b" * 1000)
    logs.trim(log, 1000)
    assert log.read_bytes() == b""
    assert logs.previous(log).read_bytes() == b"b" * 1000


def test_a_writer_goes_on_at_the_new_end(log: Path) -> None:
    with log.open("ab") as writer:
        writer.write(b"x" * 1001)
        writer.flush()
        logs.trim(log, 1000)
        writer.write(b"after")
    assert log.read_bytes() == b"after"


def test_a_log_that_is_not_there_is_empty(log: Path) -> None:
    logs.trim(log)
    assert logs.size(log) == 0
    assert logs.tail(log, 10) == []
    assert logs.last_line(log) == ""


@pytest.mark.parametrize(
    ("content", "start", "line"),
    [
        pytest.param(b"one\ntwo\n\n  \n", 0, "two", id="blank lines say nothing"),
        pytest.param(b"before\nafter\n", 7, "after", id="what came later counts"),
        pytest.param(b"before\n", 7, "", id="what came before does not"),
        pytest.param(b"short\n", 100, "short", id="a log shorter than before was emptied since"),
        pytest.param(b"bad \xff\n", 0, "bad �", id="bytes that are no text"),
        pytest.param(b"y" * 9000, 0, "y" * 300, id="an endless line is cut"),
    ],
)
def test_the_last_line_is_the_last_one_that_says_something(log: Path, content: bytes, start: int, line: str) -> None:
    log.write_bytes(content)
    assert logs.last_line(log, start) == line


@pytest.mark.parametrize(("lines", "shown"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_a_tail_is_so_many_lines_or_fewer(log: Path, lines: int, shown: list[str]) -> None:
    log.write_text("a\nb\nc\n")
    assert logs.tail(log, lines) == shown
