"""Whatever comes over the wire is answered with a 4xx that names what is wrong, in bounded memory, and harms nobody.

One real server is sent everything here; after each bad request a good one is answered.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seamark_predictor.model import Output

_LIMIT = 8 * 1024 * 1024
#: Bytes by which the server may grow: JSON of short names and values takes 20 times its size in memory.
_GROWTH = 32 * _LIMIT

_V1 = "/v1/models/mixed:predict"
_V2 = "/v2/models/mixed/infer"
_FREE = "/v2/models/tensors/infer"
_BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def predictor(mixed_package: Path, tensors_file: Path, kit: Any) -> Iterator[Any]:
    """The server; when all is done, it has not grown beyond its bound."""
    models = {"mixed": mixed_package, "tensors": tensors_file}
    running = kit.Predictor(models, ("--body-limit", str(_LIMIT))).wait_ready()
    _is_well(running)
    before = _largest(running)
    try:
        yield running
        _is_well(running)
        assert _largest(running) - before < _GROWTH
    finally:
        assert running.stop() == 0
    assert "level=ERROR" not in running.log


def _largest(predictor: Any) -> int:
    """Bytes that the process has ever had in memory."""
    status = Path(f"/proc/{predictor.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _is_well(predictor: Any) -> None:
    answer = predictor.client.post(_V1, json={"instances": [_ROW]})
    assert (answer.status_code, answer.json()["predictions"]) == (200, ["low"])


@dataclass(frozen=True)
class _Bad:
    """content: the body, bytes or anything JSON, or what makes it. said: parts of the message."""

    path: str
    content: Any
    status: int
    said: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        content = self.content() if callable(self.content) else self.content
        return content if isinstance(content, bytes) else json.dumps(content).encode()


_ROW: dict[str, Any] = {"age": 20, "land": "br", "size": 2, "colour": "red"}
_LISTS = json.dumps({"instances": [list(_ROW.values())]})


def _v1(said: str, status: int = 400, **changes: Any) -> _Bad:
    """A row with other values; `...` leaves a feature out."""
    row = {name: value for name, value in (_ROW | changes).items() if value is not ...}
    return _Bad(_V1, {"instances": [row]}, status, (said,))


def _v1_text(text: str | bytes, status: int, *said: str) -> _Bad:
    return _Bad(_V1, text if isinstance(text, bytes) else text.encode(), status, said)


def _columns(**changes: Any) -> list[dict[str, Any]]:
    """A tensor for each feature; `age` with these changes."""
    kinds = {"age": "FP64", "land": "BYTES", "size": "FP64", "colour": "BYTES"}
    found = [{"name": k, "shape": [1], "datatype": kinds[k], "data": [v]} for k, v in _ROW.items()]
    found[0] |= changes
    return found


def _v2(*said: str, status: int = 400, **changes: Any) -> _Bad:
    return _Bad(_V2, {"inputs": _columns(**changes)}, status, said)


def _v2_with(*said: str, **more: Any) -> _Bad:
    return _Bad(_V2, {"inputs": _columns(), **more}, 400, said)


def _free(*said: str, of: str = "x", **changes: Any) -> _Bad:
    inputs: dict[str, dict[str, Any]] = {
        "x": {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]},
        "k": {"name": "k", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        "t": {"name": "t", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]},
    }
    inputs[of] |= changes
    return _Bad(_FREE, {"inputs": list(inputs.values())}, 400, said)


def _binary(size: object, sent: bytes, *said: str, shape: object = (1,), length: str | None = None) -> _Bad:
    """The first feature as binary data of `size` bytes, they say."""
    inputs = _columns(shape=shape, parameters={"binary_data_size": size})
    del inputs[0]["data"]
    header = json.dumps({"inputs": inputs}).encode()
    headers = {"content-type": _BINARY, "inference-header-content-length": length or str(len(header))}
    return _Bad(_V2, header + sent, 400, said, headers)


def _texts(content: bytes, *said: str) -> _Bad:
    inputs = _columns()
    inputs[1] = {"name": "land", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"inputs": inputs}).encode()
    headers = {"content-type": _BINARY, "inference-header-content-length": str(len(header))}
    return _Bad(_V2, header + content, 400, said, headers)


def _large(unit: bytes, before: bytes = b'{"instances":[', after: bytes = b"0]}") -> Callable[[], bytes]:
    """As many units as fit into a body."""
    return lambda: before + unit * ((_LIMIT - len(before) - len(after)) // len(unit)) + after


_DEEP = 100_000

_TABLE: dict[str, _Bad] = {
    # What is no JSON, or not as JSON has it.
    "nothing": _v1_text("", 400, "not JSON"),
    "cut off": _v1_text(_LISTS[:-3], 400, "not JSON"),
    "twice": _v1_text(_LISTS + _LISTS, 400, "not JSON"),
    "something after": _v1_text(_LISTS + "\0", 400, "not JSON"),
    "a byte order mark": _v1_text(b"\xef\xbb\xbf" + _LISTS.encode(), 400, "not JSON"),
    "UTF-16": _v1_text(_LISTS.encode("utf-16"), 400, "not JSON"),
    "invalid UTF-8": _v1_text(_LISTS.encode().replace(b"red", b"\xff\xfe"), 400, "not JSON"),
    "overlong UTF-8": _v1_text(_LISTS.encode().replace(b"red", b"\xc0\xaf"), 400, "not JSON"),
    "half a surrogate": _v1_text(_LISTS.replace("red", "\\ud800"), 400, "not JSON"),
    "a raw control character": _v1_text(_LISTS.replace("red", "r\x01d"), 400, "not JSON"),
    "single quotes": _v1_text(_LISTS.replace('"', "'"), 400, "not JSON"),
    "a comma too many": _v1_text(_LISTS.replace("]]", ",]]"), 400, "not JSON"),
    "a comment": _v1_text(_LISTS + "//", 400, "not JSON"),
    "a hexadecimal number": _v1_text(_LISTS.replace("20", "0x20"), 400, "not JSON"),
    "a leading zero": _v1_text(_LISTS.replace("20", "020"), 400, "not JSON"),
    "a pickle": _v1_text(b"\x80\x04\x95\x00", 400, "not JSON"),
    "a text": _v1_text('"abc"', 400, "'abc'", "a JSON object is needed"),
    "bare NaN": _v1_text(_LISTS.replace("20", "NaN"), 422, "NaN", "'age'"),
    "bare -Infinity": _v1_text(_LISTS.replace("20", "-Infinity"), 422, "infinite", "'age'"),
    "1e999": _v1_text(_LISTS.replace("20", "1e999"), 422, "'age'"),
    "a number of 5,000 digits": _v1_text(_LISTS.replace("20", "2" * 5000), 422, "'age'"),
    "a number of 7,000,000 digits": _v1_text(_LISTS.replace("20", "2" * 7_000_000), 400, "not JSON"),
    "1e308": _v1_text(_LISTS.replace("20", "1e308"), 422, "'age' is out of range in 1 row"),
    "100,000 open lists": _v1_text("[" * _DEEP, 400, "not JSON"),
    "100,000 open objects": _v1_text('{"a":' * _DEEP, 400, "not JSON"),
    "100,000 lists": _v1_text('{"instances":' + "[" * _DEEP + "]" * _DEEP + "}", 400, "not JSON"),
    "1,000 lists": _v1_text('{"instances":' + "[" * 1000 + "]" * 1000 + "}", 400, "row 0"),
    "the same key twice": _v1_text('{"instances":[[20,"br",2,"red"]],"instances":5}', 400, "instances", "is 5"),
    # Much in little.
    "millions of lists": _Bad(_V1, _large(b"[],"), 413, ("lists and objects", "at most 1048576")),
    "millions of objects": _Bad(_V1, _large(b"{},"), 413, ("lists and objects",)),
    "millions of brackets in a text": _Bad(_V1, _large(b"[{", b'{"instances":["', b'"]}'), 413, ("brackets in texts",)),
    "millions of numbers": _Bad(_V1, _large(b"1,"), 400, ("row 0: it is 1",)),
    "millions of texts": _Bad(_V1, _large(b'"ab",'), 400, ("row 0: it is 'ab'",)),
    "millions of values in a row": _Bad(_V1, _large(b"1.5,", b'{"instances":[[', b"0]]}"), 400, ("row 0", "4 values")),
    "a million keys": _Bad(
        _V1, lambda: {"instances": [dict.fromkeys(map(str, range(600_000)), 1)]}, 400, ("'0'", "no such feature")
    ),
    "a long name": _Bad(_V1, lambda: {"instances": [{"x" * 4_000_000: 1}]}, 400, ("'xxx", "no such feature")),
    "thousands of inputs": _Bad(
        _V2, lambda: {"inputs": [_columns()[0]] * 90_000}, 400, ("missing feature 'land', 'size', 'colour'",)
    ),
    "thousands of inputs of no name": _Bad(_V2, _large(b"{},", b'{"inputs":[', b"{}]}"), 413, ("lists and objects",)),
    "thousands of outputs": _Bad(
        _V2, lambda: {"inputs": _columns(), "outputs": [{"name": "predict"}] * 200_000}, 400, ("'predict'", "twice")
    ),
    # Rows.
    "no rows": _Bad(_V1, {"instances": []}, 400, ("instances", "at least one row")),
    "rows that are a text": _Bad(_V1, {"instances": "abc"}, 400, ("instances", "'abc'")),
    "neither instances nor inputs": _Bad(_V1, {"rows": []}, 400, ("either instances or inputs",)),
    "a list too short": _Bad(_V1, {"instances": [[20, "br", 2]]}, 400, ("row 0", "3 values", "4 values")),
    "a list too long": _Bad(_V1, {"instances": [[20, "br", 2, "red", 1]]}, 400, ("row 0", "5 values")),
    "a list in another order": _Bad(_V1, {"instances": [["br", 20, "red", 2]]}, 400, ("'age'", "'br'", "a number")),
    "a missing feature": _v1("missing feature 'size'", size=...),
    "an unknown feature": _v1("'weight': the model has no such feature", weight=1),
    "a feature in other case": _v1("'Age': the model has no such feature", Age=1),
    "null": _v1("'age' is missing in 1 row", 422, age=None),
    "null for a text": _v1("'land' is missing in 1 row", 422, land=None),
    "a number as a text": _v1("'age': row 0 is '20'; a number is needed", age="20"),
    "a text as a number": _v1("'land': row 0 is 5; a text is needed", land=5),
    "a list as a number": _v1("'age': row 0 is []", age=[]),
    "an object as a text": _v1("'land': row 0 is {}", land={}),
    "a category never seen": _v1("'land' has an unknown category in 1 row", 422, land="Ж"),
    "a name with NUL": _v1("'a\\x00b': the model has no such feature", **{"a\0b": 1}),
    "a name with a line break": _v1("'a\\r\\nb'", **{"a\r\nb": 1}),
    "a name that reverses the text": _v1("'a\\u202eb'", **{"a\u202eb": 1}),
    # Tensors.
    "no inputs": _Bad(_V2, {"inputs": []}, 400, ("inputs is []",)),
    "a tensor that is a number": _Bad(_V2, {"inputs": [1]}, 400, ("inputs[0]: it is 1",)),
    "no name": _v2("inputs[0]: name is None", name=None),
    "an unknown name": _v2("'x': the model has no such feature", name="x"),
    "a name twice": _Bad(_V2, {"inputs": [*_columns(), _columns()[0]]}, 400, ("'age': it is there twice",)),
    "an unknown datatype": _v2("'age'", "datatype is 'FP128'", "FP64", datatype="FP128"),
    "a datatype of texts": _v2("'age'", "datatype is BYTES", datatype="BYTES"),
    "300 in INT8": _v2("'age': row 0 is 300", "from -128 to 127", datatype="INT8", data=[300]),
    "a fraction in INT32": _v2("'age': row 0 is 1.5", datatype="INT32", data=[1.5]),
    "a shape that is a text": _v2("'age': shape is '1'", shape="1"),
    "a shape of texts": _v2("'age': shape is ['1']", shape=["1"]),
    "a shape of fractions": _v2("'age': shape is [1.0]", shape=[1.0]),
    "a negative shape": _v2("'age': shape is [-1]", shape=[-1]),
    "a shape of no rows": _v2("'age': shape is [0]", shape=[0], data=[]),
    "a shape of no axes": _v2("'age': shape is []", shape=[]),
    "a shape of nine axes": _v2("'age': shape is [1, 1,", "at most 8", shape=[1] * 9),
    "a shape of 2**63": _v2("'age'", "its shape says 9223372036854775808", shape=[2**63]),
    "a shape whose product overflows": _v2("'age': shape is [4294967296, 4294967297]", shape=[2**32, 2**32 + 1]),
    "more rows than the others": _v2("'land': shape is [1, 1]; one column of 2 rows", shape=[2], data=[1, 2]),
    "fewer values than the shape": _v2("'age': its data has 0 values; its shape says 1", data=[]),
    "data too deep": _v2("'age'", data=[[[[[[[[[[1]]]]]]]]]]),
    "data that are an object": _v2("'age': its data is {}", data={}),
    "an unknown output": _v2_with("outputs[0]: it is 'y'", "'predict'", outputs=[{"name": "y"}]),
    "an output twice": _v2_with("outputs[1]: 'predict' is there twice", outputs=[{"name": "predict"}] * 2),
    "outputs that are a text": _v2_with("outputs is 'predict'", outputs="predict"),
    "an id that is no text": _v2_with("id is 0", id=0),
    "a long id": _v2_with("id is 'xxx", "at most 256", id="x" * 257),
    "parameters that are a list": _v2_with("parameters is []", parameters=[]),
    "a flag that is a text": _v2_with("binary_data_output is 'yes'", parameters={"binary_data_output": "yes"}),
    "free: an unknown input": _free("'y': the model has no such input", name="y"),
    "free: another shape": _free("'x': shape is [3]", "[-1, 3]", shape=[3]),
    "free: a shape beyond memory": _free("'x': shape is [1000000000000, 3]", shape=[10**12, 3]),
    "free: nothing of a shape beyond memory": _free(
        "'x': shape is [9223372036854775808, 3]", shape=[2**63, 3], data=[]
    ),
    "free: 1e39 in FP32": _free("'x': it holds 1e+39", "FP32", data=[1, 2, 1e39]),
    "free: beyond INT64": _free("'k': it holds", "INT64", of="k", data=[1, 2**63]),
    "free: below INT64": _free("'k': it holds", "INT64", of="k", data=[1, -(2**63) - 1]),
    "free: null": _free("'x': it holds None", data=[1, 2, None]),
    "free: a number as a text": _free("'t': it holds 5", of="t", data=[5]),
    "free: bare NaN": _free("not JSON", data=[1, 2, float("nan")]),
    # Binary data.
    "more bytes than there are": _binary(9, b"\0" * 8, "inputs[0]: binary_data_size is 9; 0 to 8 bytes are left"),
    "fewer bytes than there are": _binary(7, b"\0" * 8, "8 binary bytes came; its inputs take 7"),
    "a size that does not fit": _binary(7, b"\0" * 7, "'age': 7 bytes came; 1 values of FP64 take 8"),
    "a negative size": _binary(-8, b"\0" * 8, "binary_data_size is -8"),
    "a size of 2**64": _binary(2**64, b"\0" * 8, "binary_data_size is 1.8446744073709552e+19"),
    "a size that is a text": _binary("8", b"\0" * 8, "binary_data_size is '8'"),
    "a size that is true": _binary(True, b"\0" * 8, "binary_data_size is True"),
    "a shape beyond the bytes": _binary(8, b"\0" * 8, "'age': 8 bytes came", shape=[2**61]),
    "a shape whose bytes overflow": _binary(8, b"\0" * 8, "'age'", shape=[2**32, 2**32]),
    "a header longer than the body": _binary(8, b"", "Inference-Header-Content-Length is 99999", length="99999"),
    "a negative header": _binary(8, b"\0" * 8, "Inference-Header-Content-Length is '-1'", length="-1"),
    "a header of 13 digits": _binary(8, b"\0" * 8, "digits are needed", length="1" * 13),
    "a header of no bytes": _binary(8, b"\0" * 8, "not JSON", length="0"),
    "texts longer than the bytes": _texts(struct.pack("<I", 2**32 - 1) + b"a", "'land'", "do not hold 1 texts"),
    "texts cut off": _texts(b"\1\0", "'land'", "do not hold 1 texts"),
    "a text too many": _texts(struct.pack("<I", 0) * 2, "'land'", "do not hold 1 texts"),
    "texts that are not UTF-8": _texts(struct.pack("<I", 1) + b"\xff", "'land': text 0 is not UTF-8"),
    # Content types and encodings.
    "a form": _Bad(_V1, b"a", 415, ("'multipart/form-data'",), {"content-type": "multipart/form-data; boundary=a"}),
    "a type for pickles": _Bad(_V1, b"a", 415, ("'application/x-pickle'",), {"content-type": "application/x-pickle"}),
    "XML": _Bad(_V2, b"<a/>", 415, ("'text/xml'",), {"content-type": "text/xml"}),
    "binary data in v1": _Bad(
        _V1, b"a", 415, (f"'{_BINARY}'",), {"content-type": _BINARY, "inference-header-content-length": "1"}
    ),
    "binary data without a length": _Bad(_V2, b"a", 415, ("Inference-Header",), {"content-type": _BINARY}),
    "an unknown encoding": _Bad(_V1, b"a", 415, ("'br'", "gzip"), {"content-encoding": "br"}),
    "an encoding twice": _Bad(_V1, b"a", 415, ("'gzip, gzip'",), {"content-encoding": "gzip, gzip"}),
    "no gzip": _Bad(_V1, _LISTS.encode(), 400, ("not compressed",), {"content-encoding": "gzip"}),
    "gzip cut off": _Bad(_V1, gzip.compress(_LISTS.encode())[:-9], 400, ("cut off",), {"content-encoding": "gzip"}),
    "a gzip bomb": _Bad(
        _V1,
        lambda: gzip.compress(b" " * (1 << 29), 1),
        413,
        ("more than 8388608 bytes uncompressed",),
        {"content-encoding": "gzip"},
    ),
    "many small gzip bombs": _Bad(
        _V1,
        lambda: gzip.compress(b" " * (1 << 20), 9) * 4000,
        413,
        ("uncompressed",),
        {"content-encoding": "gzip"},
    ),
    "gzip in gzip": _Bad(
        _V1, gzip.compress(gzip.compress(_LISTS.encode())), 400, ("not JSON",), {"content-encoding": "gzip"}
    ),
    "a body over the limit": _Bad(_V1, lambda: b" " * (_LIMIT + 1), 413, ("8388609 bytes", "at most 8388608")),
    # Explanations read as predictions do.
    "explain: no rows": _Bad("/v1/models/mixed:explain", {"instances": []}, 400, ("at least one row",)),
    "explain: too many rows": _Bad(
        "/v1/models/mixed:explain", {"instances": [_ROW] * 101}, 413, ("101 rows", "at most 100")
    ),
}


@pytest.mark.parametrize("bad", _TABLE.values(), ids=_TABLE)
def test_a_bad_request_is_refused_and_says_why(predictor: Any, bad: _Bad) -> None:
    answer = predictor.client.post(
        bad.path, content=bad.body(), headers={"content-type": "application/json", "x-request-id": "r1", **bad.headers}
    )
    assert (answer.status_code, answer.headers["x-prediction-id"]) == (bad.status, "r1"), answer.text
    assert list(answer.json()) == ["error"]
    assert all(part in answer.json()["error"] for part in bad.said), answer.text
    assert len(answer.text) < 1000
    assert answer.text.isprintable()
    _is_well(predictor)


# --- HTTP itself

_HEAD = f"POST {_V1} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
_BODY = _LISTS.encode()
_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)


def _framed(*headers: str, body: bytes = _BODY) -> bytes:
    return _HEAD + "".join(f"{header}\r\n" for header in headers).encode("latin-1") + b"\r\n" + body


def _length(body: bytes = _BODY) -> str:
    return f"Content-Length: {len(body)}"


def _get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _exchange(predictor: Any, content: bytes) -> tuple[int, bytes, bool]:
    """Status, body, and whether the server closed the connection afterwards. 0 where it only closed it."""
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=10) as connection:
        connection.sendall(content)
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:
                return 0, received, True
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += connection.recv(65536)
        connection.settimeout(0.3)
        try:
            closed = connection.recv(1) == b""
        except TimeoutError:
            closed = False
        return int(head.split()[1]), body, closed


_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

#: What is sent -> the status. All of it leaves no connection on which another's request could begin in the middle.
_UNCLEAR: dict[str, tuple[bytes, int]] = {
    "a length before chunks": (_framed("Content-Length: 5", "Transfer-Encoding: chunked", body=_CHUNKS), 400),
    "a length after chunks": (_framed("Transfer-Encoding: chunked", "Content-Length: 5", body=_CHUNKS), 400),
    "an unknown method": (_framed(_length()).replace(b"POST", b"X" * 500, 1), 400),
    "two lengths": (_framed("Content-Length: 5", _length()), 400),
    "a list of lengths": (_framed("Content-Length: 5, 6"), 400),
    "a negative length": (_framed("Content-Length: -1"), 400),
    "a length with a sign": (_framed(f"Content-Length: +{len(_BODY)}"), 400),
    "a length beyond 64 bits": (_framed("Content-Length: 99999999999999999999"), 400),
    "a length over the limit": (_framed("Content-Length: 999999999999"), 413),
    "an unknown transfer encoding": (_framed("Transfer-Encoding: xchunked", body=_CHUNKS), 400),
    "chunks that are not last": (_framed("Transfer-Encoding: chunked, identity", body=_CHUNKS), 400),
    "a space before the colon": (_framed("Transfer-Encoding : chunked", body=_CHUNKS), 400),
    "a folded header": (_framed("X-A: a\r\n b", _length()), 400),
    "NUL in a header": (_framed("X-A: a\0b", _length()), 400),
    "a line break in a request id": (_framed("x-request-id: a\rb", _length()), 400),
    "a chunk that is no number": (_framed("Transfer-Encoding: chunked", body=b"zz\r\n" + _BODY), 400),
    "a negative chunk": (_framed("Transfer-Encoding: chunked", body=b"-1\r\n" + _BODY), 400),
    "a chunk beyond 64 bits": (_framed("Transfer-Encoding: chunked", body=b"f" * 17 + b"\r\n" + _BODY), 400),
    "a control character in the path": (_get("/v1/\x01"), 400),
    "a path of 70,000 letters": (_get("/" + "a" * 70_000), 414),
    "10,000 headers": (_get("/readyz", *(f"X-{i}: a" for i in range(10_000))), 431),
    "a megabyte of headers": (_get("/readyz", *(f"X-{i}: {'a' * 20_000}" for i in range(50))), 431),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, 400),
}


@pytest.mark.parametrize(("content", "status"), _UNCLEAR.values(), ids=_UNCLEAR)
def test_a_request_of_unclear_length_is_refused_and_ends_its_connection(
    predictor: Any, content: bytes, status: int
) -> None:
    found, _, closed = _exchange(predictor, content)
    assert (found, closed) == (status, True)
    _is_well(predictor)


def test_what_follows_a_body_is_the_next_request(predictor: Any) -> None:
    """A length too small by one: the last byte begins a request that is none."""
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=10) as connection:
        connection.sendall(_framed(f"Content-Length: {len(_BODY) - 1}"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 400") == 2
    assert received.index(b"the body: it is not JSON") < received.index(b"the request: it is not HTTP/1.1")


def test_a_body_that_stays_out_holds_up_nobody_else(predictor: Any) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port)) as waiting:
        waiting.sendall(_framed(f"Content-Length: {len(_BODY) + 1}"))
        _is_well(predictor)
    _is_well(predictor)


def test_a_body_in_crumbs_is_refused(predictor: Any) -> None:
    """Each piece costs the same, however small: a byte at a time, a megabyte would take a minute."""
    crumb = b"1\r\n \r\n"
    status, content, _ = _exchange(predictor, _framed("Transfer-Encoding: chunked", body=crumb * 900 + _CHUNKS))
    assert (status, json.loads(content)["predictions"]) == (200, ["low"])
    status, content, closed = _exchange(predictor, _framed("Transfer-Encoding: chunked", body=crumb * 100_000))
    assert (status, b"in 1008 pieces; 128 bytes or more" in content, closed) == (400, True, True), content
    _is_well(predictor)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/models/../../etc/passwd", 404),
        ("/v2/models/..%2f..%2fetc%2fpasswd", 404),
        ("/v2/models/mixed/../tensors", 404),
        ("//v2/models/mixed", 404),
        ("/v2/models/mixed%00", 404),
        ("/v2/models/%ff%fe", 404),
        ("/v2/models/mixed/versions/", 404),
        ("/v2/models/mixed/versions/1", 404),
        ("/v1/models/mixed:unload", 404),
        ("/v2/repository/models/mixed/load", 404),
        ("http://elsewhere/v2/models/other", 404),
        ("/<script>alert(1)</script>", 404),
        ("/%3Cscript%3Ealert(1)%3C/script%3E", 404),
        ("/v2/models/%6dixed", 200),
        ("/v2/models/mixed/?a=b", 200),
    ],
)
def test_a_path_is_a_name_in_a_list_and_nothing_else(predictor: Any, target: str, status: int) -> None:
    found, body, _ = _exchange(predictor, _get(target))
    assert (found, "error" in json.loads(body)) == (status, status == 404)
    assert body.decode().isprintable()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_method_is_one_of_a_list(predictor: Any, method: str) -> None:
    answer = predictor.client.request(method, _V2)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert f"Cannot {method[:20]} '{_V2}': allowed: POST" in answer.json()["error"]


@pytest.mark.parametrize(
    "given",
    [b"\xff\xfe", b"a\tb", b"", b"x" * 129, b"\xc3\xa9", b"a" * 10_000],
    ids=["bytes", "a tab", "empty", "129 letters", "UTF-8", "10,000 letters"],
)
def test_an_id_that_is_no_good_is_replaced(predictor: Any, given: bytes) -> None:
    headers = [(b"x-request-id", given), (b"content-type", b"application/json")]
    answer = predictor.client.post(_V1, content=_BODY, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["id"] == answer.headers["x-prediction-id"]
    assert len(answer.headers["x-prediction-id"]) == 32


def test_an_id_in_the_body_goes_nowhere_but_into_the_body(predictor: Any) -> None:
    answer = predictor.client.post(_V2, json={"inputs": _columns(), "id": "a\r\nset-cookie: b"})
    assert (answer.status_code, answer.json()["id"]) == (200, "a\r\nset-cookie: b")
    assert "set-cookie" not in answer.headers


def test_bad_requests_at_once_leave_good_ones_their_answers(predictor: Any) -> None:
    bad = [entry for entry in _TABLE.values() if not callable(entry.content)]

    def ask(entry: _Bad) -> list[int]:
        headers = {"content-type": "application/json", **entry.headers}
        refused = predictor.client.post(entry.path, content=entry.body(), headers=headers)
        served = predictor.client.post(_V1, content=_BODY)
        return [refused.status_code, served.status_code]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, bad)) == [[entry.status, 200] for entry in bad]


# --- in process


class _Fails:
    """A model that raises, and says in why what nobody else should read."""

    platform = "fails"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def predict(self, rows: Any) -> Output:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("/secret/path"),
        MemoryError("secret"),
        RecursionError("secret"),
        KeyError("secret"),
        OSError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("path", ["/v1/models/cancer:predict", "/v2/models/cancer/infer"])
def test_a_model_that_fails_is_told_by_an_id_only(
    mixed_package: Path, kit: Any, path: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    plane = kit.open_plane(mixed_package)
    plane._model = _Fails(error)
    body = {"instances": [_ROW]} if path.startswith("/v1") else {"inputs": _columns()}
    answer = kit.App(plane).ask(path, body, {"x-request-id": "r7"})
    assert (answer.status, answer.json()) == (500, {"error": "internal error", "request_id": "r7"})
    assert answer.headers["x-prediction-id"] == "r7"
    assert "secret" in caplog.text
