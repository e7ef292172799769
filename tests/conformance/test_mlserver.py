"""MLServer's codecs: requests that they encode are understood, and they decode the answers."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RequestOutput,
)

#: These codecs of whole responses take one output, or columns of one value for each row.
LABELS = [RequestOutput(name="predict")]


def get(site: Any, path: str) -> Any:
    with urllib.request.urlopen(f"{site.url}{path}", timeout=20) as answer:
        return json.load(answer)


def infer(site: Any, model: str, request: InferenceRequest) -> InferenceResponse:
    body = request.model_dump_json(exclude_none=True).encode()
    headers = {"Content-Type": "application/json"}
    sent = urllib.request.Request(f"{site.url}/v2/models/{model}/infer", body, headers)
    with urllib.request.urlopen(sent, timeout=20) as answer:
        return InferenceResponse.model_validate_json(answer.read())


def by_name(response: InferenceResponse) -> dict[str, Any]:
    return {output.name: output for output in response.outputs}


def test_metadata_have_their_types(site: Any) -> None:
    assert MetadataServerResponse.model_validate(get(site, "/v2")).name == "seamark-predictor"
    model = MetadataModelResponse.model_validate(get(site, "/v2/models/free"))
    assert [tensor.name for tensor in model.inputs or []] == ["matrix", "whole", "text", "flag"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numpy_inputs_and_outputs(site: Any, dtype: Any) -> None:
    known = site.expected["cancer"]
    entry = NumpyCodec.encode_input("x", np.array(known["rows"], dtype))
    response = infer(site, "cancer", InferenceRequest(id="r-1", inputs=[entry]))
    assert response.id == "r-1"
    outputs = by_name(response)
    assert NumpyCodec.decode_output(outputs["predict"]).reshape(-1).tolist() == known["labels"]
    probabilities = NumpyCodec.decode_output(outputs["predict_proba"])
    np.testing.assert_allclose(probabilities, known["probabilities"], rtol=1e-3, atol=1e-4)


def test_numpy_requests_and_responses(site: Any) -> None:
    known = site.expected["cancer"]
    request = NumpyRequestCodec.encode_request(np.array(known["rows"]))
    request.outputs = LABELS
    response = infer(site, "cancer", request)
    assert NumpyRequestCodec.decode_response(response).reshape(-1).tolist() == known["labels"]


def test_data_frames_by_name(site: Any) -> None:
    known = site.expected["mixed"]
    frame = pd.DataFrame({name: known[name] for name in ("colour", "size", "land", "age")})
    request = PandasCodec.encode_request(frame, use_bytes=False)
    request.outputs = LABELS
    response = infer(site, "mixed", request)
    labels = StringCodec.decode_output(by_name(response)["predict"])
    assert labels == known["labels"]
    found = PandasCodec.decode_response(response)
    assert found["predict"].tolist() == known["labels"]
    assert len(found) == 8


def test_data_frames_of_numbers(site: Any) -> None:
    known = site.expected["cancer"]
    frame = pd.DataFrame(known["rows"], columns=known["names"])
    request = PandasCodec.encode_request(frame)
    request.outputs = LABELS
    found = PandasCodec.decode_response(infer(site, "cancer", request))
    assert found["predict"].tolist() == known["labels"]


@pytest.mark.parametrize("use_bytes", [False, True])
def test_texts_beside_numbers_of_free_tensors(site: Any, use_bytes: bool) -> None:
    # Lists of values come as [2, 1], though the model says [-1].
    inputs = [
        NumpyCodec.encode_input("matrix", np.array([[1, 2], [3, 4.5]], np.float32)),
        NumpyCodec.encode_input("whole", np.array([2**62, -5])),
        NumpyCodec.encode_input("flag", np.array([True, False])),
        StringCodec.encode_input("text", ["日本", ""], use_bytes=use_bytes),
    ]
    outputs = by_name(infer(site, "free", InferenceRequest(inputs=inputs)))
    assert NumpyCodec.decode_output(outputs["doubled"]).tolist() == [[2, 4], [6, 9]]
    assert NumpyCodec.decode_output(outputs["negated"]).reshape(-1).tolist() == [-(2**62), 5]
    assert NumpyCodec.decode_output(outputs["opposite"]).reshape(-1).tolist() == [False, True]
    assert StringCodec.decode_output(outputs["same"]) == ["日本", ""]
