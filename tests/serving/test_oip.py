from __future__ import annotations

import asyncio
import json
import random
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

from moon.serving.client import Client
from moon.serving.query import Query
from tests.catalog.readers.conftest import png
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
    assert answer["outputs"][0] == {"name": "embedding", "datatype": "FP32", "shape": [-1, server.embedder.dim]}
    assert [one["name"] for one in answer["outputs"]] == ["embedding", "view", "dimensions", "error"]
    assert answer["parameters"]["revision"] == server.embedder.revision


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


def outputs(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in answer["outputs"]}


ROWS = {"text": ["mug", "", "red", ""], "image": ["", "PHOTO", "PHOTO", ""]}
VIEWS = ["text", "image", "multimodal"]


def columns(server: Server, rows: int = 4) -> list[dict[str, Any]]:
    photo = b64(server.photo())
    return [tensor(name, [photo if one == "PHOTO" else one for one in data[:rows]]) for name, data in ROWS.items()]


def test_outputs_come_as_they_are_asked_for(server: Server) -> None:
    names = ["dimensions", "view", "error", "embedding"]
    body = {"inputs": columns(server, 3), "outputs": [{"name": name} for name in names]}
    answer = server.http.post(URL, json=body).json()
    assert [one["name"] for one in answer["outputs"]] == names
    found = outputs(answer)
    assert found["view"] == {"name": "view", "datatype": "BYTES", "shape": [3], "data": VIEWS}
    assert found["dimensions"] == {
        "name": "dimensions",
        "datatype": "INT32",
        "shape": [1],
        "data": [server.embedder.dim],
    }
    assert found["error"]["data"] == ["", "", ""]
    assert outputs(server.http.post(URL, json={"inputs": columns(server, 3)}).json()).keys() == {"embedding"}


def test_a_failed_row_brings_its_error(server: Server) -> None:
    found = outputs(server.http.post(URL, json={"inputs": columns(server)}).json())
    assert found.keys() == {"embedding", "error"}
    assert [bool(one) for one in found["error"]["data"]] == [False, False, False, True]
    np.testing.assert_allclose(np.linalg.norm(matrix(found["embedding"]), axis=1), [1, 1, 1, 0], atol=1e-5)


def test_dimensions_give_a_unit_prefix(server: Server) -> None:
    whole = matrix(server.http.post(URL, json={"inputs": columns(server, 3)}).json()["outputs"][0])
    short = server.http.post(URL, json={"inputs": columns(server, 3), "parameters": {"dimensions": 8}}).json()
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(matrix(short["outputs"][0]), expected, atol=1e-6)


def test_text_outputs_can_be_binary_and_mixed_with_json(server: Server) -> None:
    asked = [{"name": "view", "parameters": {"binary_data": True}}, {"name": "error"}]
    answer = server.http.post(URL, json={"inputs": columns(server), "outputs": asked})
    length = int(answer.headers["Inference-Header-Content-Length"])
    found = outputs(json.loads(answer.content[:length]))
    assert found.keys() == {"view", "error"} and "data" not in found["view"]
    assert answer.content[length:] == binary([*map(str.encode, VIEWS), b"text"])
    assert len(found["error"]["data"]) == 4


def test_grpc_takes_parameters_and_outputs(server: Server) -> None:
    photo = server.photo()
    request = InferRequest(
        "moon",
        [
            InferInput("text", [4], "BYTES", [b"mug", b"", b"red", b""]),
            InferInput("image", [4], "BYTES", [b"", photo, photo, b""]),
        ],
        parameters={"dimensions": 8},
        request_outputs=[RequestedOutput("view"), RequestedOutput("dimensions"), RequestedOutput("embedding")],
    )
    answer = asyncio.run(called(server, lambda client: client.infer(request)))
    found = {one.name: one.as_numpy() for one in answer.outputs}
    assert list(found) == ["view", "dimensions", "embedding", "error"]
    assert found["view"].tolist() == [*map(str.encode, VIEWS), b"text"]
    assert found["dimensions"].tolist() == [8] and found["dimensions"].dtype == np.int32
    assert found["embedding"].shape == (4, 8) and not found["embedding"][3].any()
    assert [bool(one) for one in found["error"]] == [False, False, False, True]


async def called(server: Server, call: Callable[[InferenceGRPCClient], Awaitable[Any]]) -> Any:
    client = InferenceGRPCClient(server.endpoint.grpc_url, channel_args=[("grpc.enable_http_proxy", 0)], retries=0)
    try:
        return await call(client)
    finally:
        await client.close()


def test_grpc_says_what_it_cannot_do(server: Server) -> None:
    request = InferRequest("nothing", [InferInput("text", [1], "BYTES", [b"mug"])])
    with pytest.raises(grpc.RpcError) as unknown:
        asyncio.run(called(server, lambda client: client.infer(request)))
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    with grpc.insecure_channel(server.endpoint.grpc_url, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for ask in (
            lambda: stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="moon"), timeout=20),
            lambda: stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="moon"), timeout=20),
        ):
            with pytest.raises(grpc.RpcError) as forbidden:
                ask()
            assert forbidden.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
        assert stub.ModelReady(pb.ModelReadyRequest(name="moon"), timeout=20).ready
        known = stub.ModelMetadata(pb.ModelMetadataRequest(name="moon"), timeout=20)
        assert [one.name for one in known.inputs] == ["text", "image"]


def test_no_grpc_message_makes_the_server_fail(server: Server) -> None:
    chance = random.Random(0)
    fine = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    seen: Counter[grpc.StatusCode] = Counter()
    with grpc.insecure_channel(server.endpoint.grpc_url, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for _ in range(500):
            try:
                stub.ModelInfer(message(chance, server.photo()), timeout=30)
                seen[grpc.StatusCode.OK] += 1
            except grpc.RpcError as error:
                seen[error.code()] += 1
    assert seen.keys() == fine
    assert server.http.get("/v2/health/ready").status_code == 200


def message(chance: random.Random, photo: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=chance.choice(["moon"] * 6 + ["moon-search", "", "nothing"]))
    size = chance.choice([1, 1, 1, 2, 13])
    for name in chance.choice([["text"], ["text"], ["text", "image"], ["image"], ["text", "text"], [], ["title"]]):
        one = request.inputs.add(name=name, datatype=chance.choice(["BYTES"] * 8 + ["FP32", "", "BOOL", "FP16"]))
        one.shape.extend(chance.choice([[size]] * 6 + [[size, 1], [], [-1], [2**62], [size, 2], [size + 1]]))
        if chance.random() < 0.7:
            values = [chance.choice([b"mug", b"mug", photo, b"", b"\xff", photo[:200]]) for _ in range(size)]
            one.contents.bytes_contents.extend(values)
        if chance.random() < 0.05:
            one.contents.fp32_contents.append(1.0)
    if chance.random() < 0.2:
        for one in request.inputs:
            one.ClearField("contents")
        raw = [binary([b"mug"] * size), b"", b"\x01", chance.randbytes(40)]
        request.raw_input_contents.extend(chance.choices(raw, k=chance.choice([len(request.inputs), 1])))
    for name in chance.choice([[]] * 4 + [["embedding"], ["view", "error"], ["ids"], ["embedding"] * 2]):
        request.outputs.add(name=name).parameters["binary_data"].bool_param = chance.random() < 0.5
    for name in chance.choice([[]] * 4 + [["dimensions"], ["k"], ["category"], ["binary_data_output"]]):
        value = request.parameters[name]
        match chance.randrange(4):
            case 0:
                value.int64_param = chance.choice([0, 8, -1, 2**60])
            case 1:
                value.string_param = chance.choice(["", "[1]", '["home"]', "{"])
            case 2:
                value.bool_param = True
    return request


@pytest.mark.parametrize(("given", "code"), [("1", "DEADLINE_EXCEEDED"), ("soon", "INVALID_ARGUMENT")])
def test_grpc_keeps_the_deadline_of_its_metadata(server: Server, given: str, code: str) -> None:
    photos = [png(number, 100) for number in range(8)]  # not in the cache, and more than a millisecond's work
    inputs = [InferInput("image", [8], "BYTES", photos)]
    headers = (("x-request-timeout-ms", given),)
    with pytest.raises(grpc.RpcError) as late:
        asyncio.run(called(server, lambda client: client.infer(InferRequest("moon", inputs), headers=headers)))
    assert late.value.code() == grpc.StatusCode[code]
    answers = infer(server, inputs)
    assert answers.outputs[0].as_numpy().shape[0] == 8


def test_a_long_reason_fits_into_a_grpc_trailer(server: Server) -> None:
    names = "\U0001f375" * 20_000
    with pytest.raises(grpc.RpcError) as refused:
        infer(server, [InferInput(names, [1], "BYTES", [b"mug"])])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("inputs are 'text' and 'image'")
    with pytest.raises(grpc.RpcError) as every:
        infer(server, [InferInput("image", [12], "BYTES", [b"x" * 99] * 12)])
    assert "item 0: image" in every.value.details()
