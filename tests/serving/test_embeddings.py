from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from moon.serving.embeddings import prefix
from tests.serving.running import Server, b64


def create(server: Server, **body: Any) -> Any:
    answer = server.http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def vectors(answer: Any) -> np.ndarray:
    return np.array([one["embedding"] for one in answer["data"]], np.float32)


def test_answer_has_openai_shape_and_counts_tokens(server: Server) -> None:
    texts = ["red mug", "a blue lamp for the kitchen table"]
    answer = create(server, model="moon", input=texts, user="someone")
    assert answer.keys() == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "moon")
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    from moon.model import Item

    total = sum(len(server.embedder.processor.encode(Item(title=text))) for text in texts)
    assert answer["usage"] == {"prompt_tokens": total, "total_tokens": total}
    np.testing.assert_allclose(np.linalg.norm(vectors(answer), axis=1), 1, atol=1e-5)


def test_one_text_is_a_list_of_one(server: Server) -> None:
    np.testing.assert_array_equal(vectors(create(server, input="red mug")), vectors(create(server, input=["red mug"])))


def test_embeddings_equal_the_offline_ones(server: Server) -> None:
    rows = server.rows(9)
    queries = [server.query(row) for row in rows]
    items = [{"text": query.text, "image": b64(query.image)} for query in queries]
    online = np.concatenate([vectors(create(server, input=items[start : start + 3])) for start in (0, 3, 6)])
    np.testing.assert_allclose(online, server.offline(rows), atol=1e-5)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/openai/v1/embeddings"])
def test_base64_holds_the_same_numbers(server: Server, path: str) -> None:
    encoded = server.http.post(path, json={"input": ["red mug"], "encoding_format": "base64"}).json()
    decoded = np.frombuffer(base64.b64decode(encoded["data"][0]["embedding"]), "<f4")
    np.testing.assert_array_equal(decoded, vectors(create(server, input=["red mug"]))[0])


def test_messages_equal_the_item_they_describe(server: Server) -> None:
    url = f"data:image/jpeg;base64,{b64(server.photo())}"
    content = [{"type": "text", "text": "a red mug"}, {"type": "image_url", "image_url": {"url": url}}]
    talked = create(server, messages=[{"role": "user", "content": content}])
    listed = create(server, input=[{"text": "a red mug", "image": url}])
    np.testing.assert_allclose(vectors(talked), vectors(listed), atol=1e-6)
    assert talked["usage"] == listed["usage"]


def test_dimensions_give_a_unit_prefix(server: Server) -> None:
    whole, short = (
        vectors(create(server, input="red mug"))[0],
        vectors(create(server, input="red mug", dimensions=8))[0],
    )
    assert short.shape == (8,)
    np.testing.assert_allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)


def test_the_whole_prefix_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert prefix(rows, 5) is rows


def test_errors_have_openai_shape(server: Server) -> None:
    answer = server.http.post("/v1/embeddings", json={"input": "x", "model": "other"})
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "model 'other' does not exist; this server has 'moon'",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
