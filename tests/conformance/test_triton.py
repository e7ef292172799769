"""tritonclient: HTTP with JSON, binary tensors and compression, and gRPC."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

TRANSPORTS = {"http": triton_http, "grpc": triton_grpc}


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, site: Any) -> Any:
    library = TRANSPORTS[request.param]
    client = library.InferenceServerClient(getattr(site, request.param))
    yield client
    client.close()


@pytest.fixture
def library(client: Any) -> Any:
    return triton_http if isinstance(client, triton_http.InferenceServerClient) else triton_grpc


def given(library: Any, arrays: dict[str, Any], **how: Any) -> list[Any]:
    inputs = []
    for name, array in arrays.items():
        entry = library.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        entry.set_data_from_numpy(array, **how)
        inputs.append(entry)
    return inputs


FREE = {
    "matrix": np.array([[1, 2], [3, 4.5]], dtype=np.float32),
    "whole": np.array([2**62, -5]),
    "text": np.array(["日本", ""], dtype=object),
    "flag": np.array([True, False]),
}


def assert_free(result: Any) -> None:
    assert result.as_numpy("doubled").tolist() == [[2, 4], [6, 9]]
    assert result.as_numpy("negated").tolist() == [-(2**62), 5]
    texts = result.as_numpy("same").tolist()
    assert [text.decode() if isinstance(text, bytes) else text for text in texts] == ["日本", ""]
    assert result.as_numpy("opposite").tolist() == [False, True]


def test_health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cancer")
    if isinstance(client, triton_http.InferenceServerClient):
        assert not client.is_model_ready("other")
    else:
        with pytest.raises(InferenceServerException, match="Cannot find model 'other'"):
            client.is_model_ready("other")


def test_metadata(client: Any, library: Any) -> None:
    more = {} if library is triton_http else {"as_json": True}
    server = client.get_server_metadata(**more)
    assert server["name"] == "seamark-predictor"
    model = client.get_model_metadata("free", **more)
    (version,) = model["versions"]
    assert client.is_model_ready("free", version)
    found = {tensor["name"]: (tensor["datatype"], [int(n) for n in tensor["shape"]]) for tensor in model["inputs"]}
    assert found == {
        "matrix": ("FP32", [-1, 2]),
        "whole": ("INT64", [-1]),
        "text": ("BYTES", [-1]),
        "flag": ("BOOL", [-1]),
    }
    with pytest.raises(InferenceServerException, match=r"Cannot find .*other"):
        client.get_model_metadata("other")


def test_several_inputs_and_all_outputs(client: Any, library: Any) -> None:
    result = client.infer("free", given(library, FREE), request_id="r-1")
    assert_free(result)
    response = result.get_response()
    assert (response["id"] if library is triton_http else response.id) == "r-1"


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_http_json_and_binary_in_any_mixture(site: Any, binary_in: bool, binary_out: bool) -> None:
    client = triton_http.InferenceServerClient(site.http)
    inputs = given(triton_http, FREE, binary_data=binary_in)
    names = ("doubled", "negated", "same", "opposite")
    outputs = [
        triton_http.InferRequestedOutput(name, binary_data=binary_out if i % 2 else not binary_out)
        for i, name in enumerate(names)
    ]
    assert_free(client.infer("free", inputs, outputs=outputs))
    client.close()


def test_the_outputs_asked_for(client: Any, library: Any) -> None:
    outputs = [library.InferRequestedOutput("opposite"), library.InferRequestedOutput("doubled")]
    result = client.infer("free", given(library, FREE), outputs=outputs)
    assert result.as_numpy("same") is None
    assert result.as_numpy("opposite").tolist() == [False, True]


def test_half_precision(client: Any, library: Any) -> None:
    array = np.array([[0.5, 1, 65504]], dtype=np.float16)
    found = client.infer("half", given(library, {"x": array})).as_numpy("y")
    assert (found.dtype, found.tolist()) == (np.float16, array.tolist())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_in_one_tensor(client: Any, library: Any, site: Any, dtype: Any) -> None:
    known = site.expected["cancer"]
    version = client.get_model_metadata("cancer", **({} if library is triton_http else {"as_json": True}))["versions"][
        0
    ]
    result = client.infer("cancer", given(library, {"x": np.array(known["rows"], dtype)}), model_version=version)
    assert result.as_numpy("predict").tolist() == known["labels"]
    np.testing.assert_allclose(result.as_numpy("predict_proba"), known["probabilities"], rtol=1e-3, atol=1e-4)


def test_one_tensor_for_each_feature_numbers_and_texts(client: Any, library: Any, site: Any) -> None:
    known = site.expected["mixed"]
    arrays = {
        "age": np.array(known["age"]).reshape(-1, 1),
        "land": np.array(known["land"], dtype=object).reshape(-1, 1),
        "size": np.array(known["size"]).reshape(-1, 1),
        "colour": np.array([text.encode() for text in known["colour"]], dtype=object).reshape(-1, 1),
    }
    result = client.infer("mixed", given(library, arrays))
    assert [text.decode() for text in result.as_numpy("predict").tolist()] == known["labels"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, library: Any, site: Any, algorithm: str) -> None:
    known = site.expected["cancer"]
    rows = np.array(known["rows"] * 50)
    if library is triton_http:
        how = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    else:
        how = {"compression_algorithm": algorithm}
    result = client.infer("cancer", given(library, {"x": rows}), **how)
    assert result.as_numpy("predict").tolist() == known["labels"] * 50


def test_ids_travel_in_headers(client: Any, library: Any, site: Any) -> None:
    rows = np.array(site.expected["cancer"]["rows"])
    result = client.infer("cancer", given(library, {"x": rows}), headers={"x-request-id": "r-7"})
    response = result.get_response()
    assert (response["id"] if library is triton_http else response.id) == "r-7"


def test_parameters_are_taken_and_ignored(client: Any, library: Any) -> None:
    result = client.infer("free", given(library, FREE), priority=1, timeout=1_000_000, parameters={"mine": "x"})
    assert_free(result)


def test_async_calls(client: Any, library: Any) -> None:
    if library is triton_http:
        pending = [client.async_infer("free", given(library, FREE)) for _ in range(5)]
        for one in pending:
            assert_free(one.get_result())
        return
    done: queue.Queue[Any] = queue.Queue()
    for _ in range(5):
        client.async_infer("free", given(library, FREE), lambda result, error: done.put(error or result))
    for _ in range(5):
        assert_free(done.get(timeout=20))


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": np.zeros((1, 2))}, r"shape is \[1, 2\]; \[rows, 30\] or one tensor for each feature is needed"),
        ({"x": np.full((1, 30), np.nan)}, "is missing in 1 row"),
    ],
)
def test_a_refusal_tells_what_is_wrong(client: Any, library: Any, arrays: Any, problem: str) -> None:
    with pytest.raises(InferenceServerException, match=problem) as caught:
        client.infer("cancer", given(library, arrays))
    status = caught.value.status()
    assert status in ("400", "422", "StatusCode.INVALID_ARGUMENT")
