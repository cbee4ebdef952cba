"""What the real server is asked and answers, read as the collector reads it from KServe's logger."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon.config import DriftParams
from moon.monitoring.bodies import read_request, read_response
from moon.monitoring.probe import compare_probes, read_probe
from moon.steps import probe
from tests.serving.running import Server, b64

TEXTS = ["red mug", ""]


@pytest.fixture(scope="module")
def picture(server: Server) -> bytes:
    row = server.catalog.table("images").slice(0, 1).to_pylist()[0]
    return bytes(row["image"]["bytes"])


def requests(picture: bytes) -> dict[str, tuple[str, Any]]:
    """A text, and a photo, in every protocol: path and body."""
    names = {"text": TEXTS, "image": ["", b64(picture)]}
    tensors = [{"name": name, "shape": [2], "datatype": "BYTES", "data": data} for name, data in names.items()]
    raw = [
        b"".join(struct.pack("<I", len(one)) + one for one in column) for column in ([b"red mug", b""], [b"", picture])
    ]
    behind = [
        {"name": name, "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        for name, data in zip(names, raw, strict=True)
    ]
    head = json.dumps({"inputs": behind, "parameters": {"binary_data_output": True}}).encode()
    items = ["red mug", {"image": b64(picture)}]
    return {
        "oip": ("/v2/models/moon/infer", {"inputs": tensors}),
        "binary": ("/v2/models/moon/infer", (head, b"".join(raw))),
        "openai": ("/v1/embeddings", {"input": items}),
        "openai base64": ("/v1/embeddings", {"input": items, "encoding_format": "base64"}),
        "v1": ("/v1/models/moon:predict", {"instances": items}),
    }


def ask(server: Server, path: str, body: Any) -> tuple[bytes, bytes]:
    """Bodies of request and answer, which is all that the logger tells."""
    headers = {"content-type": "application/json"}
    if isinstance(body, tuple):
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(body[0]))}
        sent = b"".join(body)
    else:
        sent = json.dumps(body).encode()
    answer = server.http.post(path, content=sent, headers=headers)
    assert answer.status_code == 200, answer.text
    return sent, answer.content


@pytest.mark.parametrize("name", ["oip", "binary", "openai", "openai base64", "v1"])
def test_embeddings_are_read_from_every_protocol(server: Server, picture: bytes, name: str) -> None:
    sent, told = ask(server, *requests(picture)[name])
    queries = read_request(sent)
    assert [(one.text, one.image) for one in queries] == [("red mug", b""), ("", picture)]
    answers, revision = read_response(told)
    expected, _ = read_response(ask(server, *requests(picture)["oip"])[1])
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.embedding, other.embedding, atol=1e-5)
    assert revision == (None if "openai" in name else server.embedder.revision)


def test_searches_tell_the_best_product(server: Server, picture: bytes) -> None:
    body = {"text": "red mug", "image": b64(picture), "k": 3, "return_embedding": True}
    sent, told = ask(server, "/search", body)
    ((answer,), revision), tree = read_response(told), json.loads(told)
    best = tree["products"][0]
    assert (answer.top_product, answer.top_score) == (best["id"], best["score"])
    assert list(answer.top_category) == best["category_path"] and revision == server.embedder.revision
    np.testing.assert_allclose(answer.embedding, tree["embedding"], rtol=1e-6)
    assert read_request(sent)[0].image == picture

    sent, told = ask(server, "/v2/models/moon-search/infer", {**requests(picture)["oip"][1], "parameters": {"k": 2}})
    answers, revision = read_response(told)
    outputs = {one["name"]: one["data"] for one in json.loads(told)["outputs"]}
    assert [one.top_product for one in answers] == outputs["ids"][::2] and revision == server.embedder.revision
    assert [one.top_score for one in answers] == pytest.approx(outputs["scores"][::2])


def test_an_item_that_failed_is_no_row(server: Server) -> None:
    items = ["red mug", {"image": b64(b"no picture")}]
    for path, body in (("/v1/embeddings", {"input": items}), ("/v1/models/moon:predict", {"instances": items})):
        answers, _ = read_response(ask(server, path, body)[1])
        assert [one.failed for one in answers] == [False, True]
    texts = [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["red mug", ""]}]
    answers, _ = read_response(ask(server, "/v2/models/moon/infer", {"inputs": texts})[1])
    assert [one.failed for one in answers] == [False, True]


def test_the_probe_set_finds_the_same_server_unchanged(server: Server, tiny_catalog: Path, tmp_path: Path) -> None:
    params = DriftParams(probes=12, probe_k=3)
    url = server.endpoint.url
    results = [probe.run(url=url, catalog=tiny_catalog, params=params, out=tmp_path / name) for name in ("a", "b")]
    assert results[0] == results[1] and 0 < results[0].queries <= 12 and results[0].failed == 0
    assert results[0].model_revision == server.embedder.revision
    first, second = (read_probe(tmp_path / name / probe.PROBE) for name in ("a", "b"))
    compared = compare_probes(first, second)
    assert compared.distance == pytest.approx(0, abs=1e-6) and not compared.model_changed and not compared.index_changed
    assert compared.recall == results[0].recall == compared.reference_recall
    with pytest.raises(ValueError, match="answered none of"):
        probe.run(url="http://127.0.0.1:9", catalog=tiny_catalog, params=params, out=tmp_path / "c")
