"""OpenAI's own client against the server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests.serving.running import Server, b64


@pytest.fixture(scope="module", params=["/v1", "/openai/v1"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.DefaultHttpxClient(trust_env=False) as http:
        base = server.endpoint.url + request.param
        yield openai.OpenAI(base_url=base, api_key="none", http_client=http, max_retries=0, timeout=30)


def test_texts(client: openai.OpenAI, server: Server) -> None:
    rows = [row for row in server.rows(9) if row["query_text"] and not row["query_image_id"]]
    answer = client.embeddings.create(model="moon", input=[row["query_text"] for row in rows])  # base64 by default
    np.testing.assert_allclose([one.embedding for one in answer.data], server.offline(rows), atol=1e-5)
    assert [one.index for one in answer.data] == list(range(len(rows)))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


def test_a_similar_pair_is_above_a_dissimilar_one(client: openai.OpenAI) -> None:
    texts = ["red enamel mug", "a red enamel mug", "folding garden chair of teak"]
    one, near, far = np.array([row.embedding for row in client.embeddings.create(model="moon", input=texts).data])
    assert one @ near > one @ far


def test_floats_equal_base64_and_dimensions_cut_both(client: openai.OpenAI) -> None:
    answers = [
        client.embeddings.create(model="moon", input="red mug", dimensions=8, encoding_format=form).data[0].embedding
        for form in ("float", "base64")
    ]
    decoded = np.array(answers[0], np.float32)
    assert len(decoded) == 8 and np.linalg.norm(decoded) == pytest.approx(1, abs=1e-5)
    assert isinstance(answers[1], str)


def test_messages(client: openai.OpenAI, server: Server) -> None:
    url = f"data:image/jpeg;base64,{b64(server.photo())}"
    content = [{"type": "text", "text": "red"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "moon", "messages": [{"role": "user", "content": content}]}
    answer = client.post("/embeddings", body=body, cast_to=openai.types.CreateEmbeddingResponse)
    item = client.post(
        "/embeddings",
        body={"model": "moon", "input": [{"text": "red", "image": url}]},
        cast_to=openai.types.CreateEmbeddingResponse,
    )
    np.testing.assert_allclose(answer.data[0].embedding, item.data[0].embedding, atol=1e-6)


@pytest.mark.parametrize("form", ["float", None])
def test_a_failed_item_has_no_vector(client: openai.OpenAI, form: str | None) -> None:
    asked = {} if form is None else {"encoding_format": form}
    answer = client.embeddings.create(model="moon", input=["mug", "", "lamp"], **asked)
    assert [len(one.embedding) > 0 for one in answer.data] == [True, False, True]
    assert answer.data[1].error["code"] == "empty"


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["moon"]
    assert client.models.retrieve("moon").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_errors_become_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model="moon", input="")
    assert empty.value.code == "empty" and "item 0" in empty.value.message
    with pytest.raises(openai.BadRequestError) as long:
        client.embeddings.create(model="moon", input="x", dimensions=10_000)
    assert long.value.param == "dimensions"
    with pytest.raises(openai.NotFoundError) as other:
        client.embeddings.create(model="other", input="x")
    assert other.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as route:
        client.completions.create(model="moon", prompt="x")
    assert route.value.code == "not_found"
