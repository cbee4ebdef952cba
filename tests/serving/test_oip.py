from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest

from moon.serving.client import Client
from moon.serving.query import Query
from tests.serving.running import Server, b64

URL = "/v2/models/moon/infer"


def tensor(name: str, data: list[Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data, **changes}


def binary(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in elements)


def post_binary(server: Server, columns: dict[str, list[bytes]], **extra: Any) -> httpx.Response:
    parts = {name: binary(values) for name, values in columns.items()}
    inputs = [
        {
            "name": name,
            "shape": [len(columns[name])],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": len(part)},
        }
        for name, part in parts.items()
    ]
    head = json.dumps({"inputs": inputs, **extra}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return server.http.post(URL, content=head + b"".join(parts.values()), headers=headers)


def matrix(output: dict[str, Any]) -> np.ndarray:
    return np.array(output["data"], np.float32).reshape(output["shape"])


def infer(server: Server, inputs: list[InferInput]) -> Any:
    async def call() -> Any:
        client = InferenceGRPCClient(server.endpoint.grpc_url, channel_args=[("grpc.enable_http_proxy", 0)])
        try:
            return await client.infer(InferRequest("moon", inputs, request_id="g"))
        finally:
            await client.close()

    return asyncio.run(call())


def test_json_rows_equal_the_offline_embeddings(server: Server) -> None:
    rows = server.rows(6)
    queries = [server.query(row) for row in rows]
    inputs = [tensor("text", [q.text for q in queries]), tensor("image", [b64(q.image) for q in queries])]
    answer = server.http.post(URL, json={"id": "42", "inputs": inputs, "outputs": [{"name": "embedding"}]}).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "moon", server.embedder.revision)
    [output] = answer["outputs"]
    assert (output["name"], output["datatype"]) == ("embedding", "FP32")
    np.testing.assert_allclose(matrix(output), server.offline(rows), atol=1e-5)


def test_binary_tensors_carry_raw_pictures_both_ways(server: Server) -> None:
    rows = server.rows(3)
    queries = [server.query(row) for row in rows]
    columns = {"text": [q.text.encode() for q in queries], "image": [bytes(q.image) for q in queries]}
    answer = post_binary(server, columns, parameters={"binary_data_output": True})
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["Inference-Header-Content-Length"])
    [output] = json.loads(answer.content[:length])["outputs"]
    numbers = np.frombuffer(answer.content[length:], "<f4").reshape(output["shape"])
    np.testing.assert_allclose(numbers, server.offline(rows), atol=1e-5)


def test_grpc_equals_the_offline_embeddings(server: Server) -> None:
    rows = server.rows(3)
    queries = [server.query(row) for row in rows]
    inputs = [
        InferInput("text", [3], "BYTES", [query.text.encode() for query in queries]),
        InferInput("image", [3], "BYTES", [bytes(query.image) for query in queries]),
    ]
    answer = infer(server, inputs)
    assert answer.id == "g"
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), server.offline(rows), atol=1e-5)


def test_the_client_gets_one_vector_from_every_protocol(server: Server) -> None:
    with Client(server.endpoint.url, server.endpoint.grpc_url, "moon") as client:
        query = Query("a red mug", server.photo())
        answers = [client.embed_openai(query), client.embed_oip(query), client.embed_grpc(query)]
    for answer in answers:
        np.testing.assert_allclose(answer.value, answers[0].value, atol=1e-6)


def test_an_id_is_made_where_none_is_given(server: Server) -> None:
    ids = {server.http.post(URL, json={"inputs": [tensor("text", ["mug"])]}).json()["id"] for _ in range(2)}
    assert len(ids) == 2 and all(ids)


def test_a_column_shape_is_read(server: Server) -> None:
    column = server.http.post(URL, json={"inputs": [tensor("text", [["mug"], ["lamp"]], shape=[2, 1])]}).json()
    flat = server.http.post(URL, json={"inputs": [tensor("text", ["mug", "lamp"])]}).json()
    np.testing.assert_allclose(matrix(column["outputs"][0]), matrix(flat["outputs"][0]), atol=1e-6)


def test_v1_predict(server: Server) -> None:
    instances = ["red mug", {"text": "red mug"}, {"image": {"b64": b64(server.photo())}}]
    answer = server.http.post("/v1/models/moon:predict", json={"instances": instances}).json()
    first, second, third = np.array(answer["predictions"])
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.linalg.norm(third) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(first, third, atol=1e-3)


def test_metadata_names_tensors_and_revision(server: Server) -> None:
    answer = server.http.get("/v2/models/moon").json()
    assert answer["versions"] == [server.embedder.revision]
    assert [one["name"] for one in answer["inputs"]] == ["text", "image"]
    assert answer["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, server.embedder.dim]}]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([], "no tensor"),
        ([InferInput("text", [2], "BYTES", [b"a"])], "1 elements"),
        ([InferInput("text", [1], "BYTES", [b"\xff\xfe"])], "UTF-8"),
        ([InferInput("image", [1], "BYTES", [b"not a picture"])], "item 0: image"),
        ([InferInput("text", [1], "INT32", [1])], "must be BYTES"),
        ([InferInput("text", [1], "BYTES", [b""])], "needs a text or an image"),
    ],
)
def test_grpc_refuses_with_a_reason(server: Server, inputs: list[InferInput], reason: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        infer(server, inputs)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in refused.value.details()


def test_a_damaged_raw_grpc_tensor_is_refused(server: Server) -> None:
    tensor = InferInput("text", [1], "BYTES")
    tensor._raw_data = b"\xff\xff\xff\xffab"
    with pytest.raises(grpc.RpcError) as refused:
        infer(server, [tensor])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("path", ["/v2/models/moon/versions/1", "/v2/models/moon/versions/1/infer", "/v2/models/other"])
def test_unknown_models_and_versions_are_not_found(server: Server, path: str) -> None:
    answer = server.http.post(path, json={}) if path.endswith("infer") else server.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_nobody_can_unload_the_model(server: Server) -> None:
    assert server.http.post("/v2/repository/models/moon/unload").status_code == 403
    assert server.http.get("/v2/models/moon/ready").json() == {"name": "moon", "ready": True}
