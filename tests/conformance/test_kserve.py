"""KServe's own clients: InferenceRESTClient with v1 and v2, and InferenceGRPCClient."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def rest(protocol: str, visit: Callable[[InferenceRESTClient], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with InferenceRESTClient(RESTConfig(protocol=protocol, timeout=20, retries=0)) as client:
            return await visit(client)

    return asyncio.run(main())


def by_grpc(site: Any, visit: Callable[[InferenceGRPCClient], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with InferenceGRPCClient(site.grpc, timeout=20, retries=0) as client:
            return await visit(client)

    return asyncio.run(main())


def ask(site: Any, transport: str, request: InferRequest) -> InferResponse:
    """The answer over REST or gRPC."""
    if transport == "grpc":
        return by_grpc(site, lambda client: client.infer(request))
    return rest("v2", lambda client: client.infer(site.url, request, model_name=request.model_name))


def given(name: str, array: Any, *, binary: bool) -> InferInput:
    datatypes = {"f4": "FP32", "f8": "FP64", "f2": "FP16", "i8": "INT64", "b1": "BOOL", "O": "BYTES"}
    entry = InferInput(name, list(array.shape), datatypes[array.dtype.str.lstrip("<|=")])
    entry.set_data_from_numpy(array, binary_data=binary)
    return entry


def outputs(response: InferResponse) -> dict[str, Any]:
    return {output.name: output.as_numpy() for output in response.outputs}


# --- health


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_health_over_rest(site: Any, protocol: str) -> None:
    async def visit(client: InferenceRESTClient) -> None:
        assert await client.is_server_live(site.url)
        assert await client.is_model_ready(site.url, "cancer")
        if protocol == "v2":
            assert await client.is_server_ready(site.url)
        if protocol == "v2":
            assert not await client.is_model_ready(site.url, "other")
        else:
            with pytest.raises(httpx.HTTPStatusError, match="404"):
                await client.is_model_ready(site.url, "other")

    rest(protocol, visit)


def test_health_over_grpc(site: Any) -> None:
    async def visit(client: InferenceGRPCClient) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("cancer")
        with pytest.raises(grpc.RpcError) as caught:
            await client.is_model_ready("other")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    by_grpc(site, visit)


# --- v1


def test_v1_instances_and_inputs(site: Any) -> None:
    known = site.expected["cancer"]
    records = [dict(zip(known["names"], row, strict=True)) for row in known["rows"]]
    columns = {name: [row[i] for row in known["rows"]] for i, name in enumerate(known["names"])}

    async def visit(client: InferenceRESTClient) -> None:
        for body in (
            {"instances": known["rows"]},
            {"inputs": known["rows"]},
            {"instances": records},
            {"inputs": columns},
        ):
            answer = await client.infer(site.url, body, model_name="cancer")
            assert answer["predictions"] == known["labels"]
            np.testing.assert_allclose(answer["scores"], known["probabilities"], rtol=1e-4, atol=1e-5)

    rest("v1", visit)


def test_v1_explanations(site: Any) -> None:
    known = site.expected["cancer"]
    answer = rest("v1", lambda client: client.explain(site.url, "cancer", {"instances": known["rows"][:2]}))
    assert answer


def test_v1_tells_what_is_wrong(site: Any) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="a list of 30 values is needed") as caught:
        rest("v1", lambda client: client.infer(site.url, {"instances": [[1]]}, model_name="cancer"))
    assert caught.value.response.status_code == 400


# --- v2


@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize("binary", [False, True])
def test_v2_one_tensor_with_all_features(site: Any, transport: str, binary: bool) -> None:
    known = site.expected["cancer"]
    rows = np.array(known["rows"])
    request = InferRequest("cancer", [given("x", rows, binary=binary)], request_id="r-1")
    response = ask(site, transport, request)
    assert (response.id, response.model_name) == ("r-1", "cancer")
    if transport == "grpc":
        # Of an answer over REST this client does not tell the version.
        assert response.model_version.startswith("cancer-")
    found = outputs(response)
    assert found["predict"].tolist() == known["labels"]
    np.testing.assert_allclose(found["predict_proba"], known["probabilities"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize("binary", [False, True])
def test_v2_one_tensor_for_each_feature_numbers_and_texts(site: Any, transport: str, binary: bool) -> None:
    known = site.expected["mixed"]
    columns = {
        "age": np.array(known["age"]),
        "land": np.array(known["land"], dtype=object),
        "size": np.array(known["size"]),
        "colour": np.array(known["colour"], dtype=object),
    }
    if transport == "rest" and not binary:
        # The client would send texts of several axes as bytes, which JSON does not have.
        columns = {name: array.reshape(-1) for name, array in columns.items()}
    request = InferRequest("mixed", [given(name, array, binary=binary) for name, array in columns.items()])
    found = outputs(ask(site, transport, request))
    assert [text.decode() if isinstance(text, bytes) else text for text in found["predict"]] == known["labels"]
    np.testing.assert_allclose(found["predict_proba"], known["probabilities"], rtol=1e-6)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize("binary", [False, True])
def test_v2_several_inputs_and_outputs_of_free_tensors(site: Any, transport: str, binary: bool) -> None:
    inputs = {
        "matrix": np.array([[1, 2], [3, 4.5]], dtype=np.float32),
        "whole": np.array([2**62, -5]),
        "text": np.array(["日本", ""], dtype=object),
        "flag": np.array([True, False]),
    }
    request = InferRequest("free", [given(name, array, binary=binary) for name, array in inputs.items()])
    found = outputs(ask(site, transport, request))
    assert found["doubled"].tolist() == [[2, 4], [6, 9]]
    assert found["negated"].tolist() == [-(2**62), 5]
    assert [text.decode() if isinstance(text, bytes) else text for text in found["same"]] == ["日本", ""]
    assert found["opposite"].tolist() == [False, True]


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_v2_half_precision(site: Any, transport: str) -> None:
    array = np.array([[0.5, 1, 65504]], dtype=np.float16)
    binary = {"parameters": {"binary_data_output": True}} if transport == "rest" else {}
    request = InferRequest("half", [given("x", array, binary=True)], **binary)
    found = outputs(ask(site, transport, request))
    assert (found["y"].dtype, found["y"].tolist()) == (np.float16, array.tolist())


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_v2_the_outputs_asked_for(site: Any, transport: str) -> None:
    rows = np.array(site.expected["cancer"]["rows"])
    for binary in (None, True):
        asked = RequestedOutput("predict_proba", parameters=None if binary is None else {"binary_data": binary})
        request = InferRequest("cancer", [given("x", rows, binary=True)], request_outputs=[asked])
        found = outputs(ask(site, transport, request))
        assert list(found) == ["predict_proba"]
        assert found["predict_proba"].shape == (8, 2)


def test_v2_tells_what_is_wrong_over_grpc(site: Any) -> None:
    request = InferRequest("cancer", [given("x", np.zeros((1, 2)), binary=True)])
    with pytest.raises(grpc.RpcError) as caught:
        ask(site, "grpc", request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "[rows, 30]" in caught.value.details()
