"""``POST /v1/embeddings`` in OpenAI's shape, for texts, images and both."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from moon.serving.batcher import Vectors
from moon.serving.engine import Engine
from moon.serving.errors import EMBEDDINGS_PATHS, RequestError
from moon.serving.query import Query
from moon.serving.schemas import EmbeddingsRequest, InputItem, Message, json_response, openapi_body, read_body


def router(engine: Engine, model_name: str) -> APIRouter:
    """The routes; they answer with the model's name whether or not the request gives it."""
    routes = APIRouter(tags=["embeddings"])

    async def create_embeddings(request: Request) -> Response:
        """Embeds the items of ``input``, or the one item that ``messages`` describe."""
        body = await read_body(request, EmbeddingsRequest)
        if body.model not in (None, model_name):
            reason = f"model '{body.model}' does not exist; this server has '{model_name}'"
            raise RequestError(reason, status=404, code="model_not_found", param="model")
        dimensions = engine.dim if body.dimensions is None else body.dimensions
        if not 1 <= dimensions <= engine.dim:
            reason = f"dimensions must be 1 to {engine.dim}, got {dimensions}"
            raise RequestError(reason, code="invalid_value", param="dimensions")
        embedded = await engine.embed(_queries(body), "openai")
        vectors = prefix(embedded.vectors, dimensions)
        data = [
            {"object": "embedding", "index": row, "embedding": _encoded(vector, body.encoding_format)}
            for row, vector in enumerate(vectors)
        ]
        total = sum(embedded.tokens)
        usage = {"prompt_tokens": total, "total_tokens": total}
        return json_response({"object": "list", "data": data, "model": model_name, "usage": usage})

    for path in EMBEDDINGS_PATHS:
        extra = openapi_body(EmbeddingsRequest)
        routes.add_api_route(path, create_embeddings, methods=["POST"], openapi_extra=extra, response_model=None)
    return routes


def prefix(vectors_ND: Vectors, dimensions: int) -> Vectors:
    """The first dimensions of each vector, as unit vectors again (Matryoshka representation)."""
    if dimensions == vectors_ND.shape[1]:
        return vectors_ND
    short = vectors_ND[:, :dimensions]
    return np.asarray(short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12), np.float32)


def _encoded(vector: Vectors, encoding: str) -> Vectors | str:
    """Numbers, or the base64 text of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector


def _queries(body: EmbeddingsRequest) -> list[Query]:
    if (body.input is None) == (body.messages is None):
        raise RequestError("the request holds either 'input' or 'messages'", code="wrong_shape", param="input")
    if body.messages is not None:
        return [_conversation(body.messages)]
    items: Any = body.input if isinstance(body.input, list) else [body.input]
    return [Query(one.text, one.image) if isinstance(one, InputItem) else Query(one) for one in items]


def _conversation(messages: list[Message]) -> Query:
    """All texts and the one image of the messages as one query.

    Raises:
        RequestError: several images, or a part without what its type promises.
    """
    texts: list[str] = []
    images: list[str] = []
    for number, message in enumerate(messages):
        if isinstance(message.content, str):
            texts.append(message.content)
            continue
        for place, part in enumerate(message.content):
            value = part.text if part.type == "text" else part.image_url.url if part.image_url else None
            if value is None:
                where = f"messages.{number}.content.{place}"
                raise RequestError(f"{where}: a part of type '{part.type}' needs '{part.type}'", param="messages")
            (texts if part.type == "text" else images).append(value)
    if len(images) > 1:
        raise RequestError(f"a query holds one image, got {len(images)}", code="item_count", param="messages")
    return Query("\n".join(texts), "".join(images))
