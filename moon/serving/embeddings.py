"""``POST /v1/embeddings`` in OpenAI's shape, for texts, images and both."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from moon.serving.answers import Embeddings
from moon.serving.batcher import Vectors
from moon.serving.engine import Engine
from moon.serving.errors import EMBEDDINGS_PATHS, RequestError
from moon.serving.openapi import WORK, responses
from moon.serving.query import Query
from moon.serving.schemas import (
    ContentPart,
    EmbeddingsRequest,
    ImagePart,
    InputItem,
    Message,
    TextPart,
    json_response,
    openapi_body,
    read_body,
)


def router(engine: Engine, model_name: str) -> APIRouter:
    """The routes; they answer with the model's name whether or not the request gives it."""
    routes = APIRouter(tags=["embeddings"])
    documented = responses(Embeddings, *WORK, openai=True)

    async def create_embeddings(request: Request) -> Response:
        """Embeds the items of ``input``, or the one item that ``messages`` describe."""
        body = await read_body(request, EmbeddingsRequest)
        if body.model not in (None, model_name):
            reason = f"model '{body.model}' does not exist; this server has '{model_name}'"
            raise RequestError(reason, status=404, code="model_not_found", param="model")
        dimensions = check_dimensions(body.dimensions, engine.dim)
        embedded = await engine.embed(_queries(body), "openai")
        rows = zip(prefix(embedded.vectors, dimensions), embedded.errors, strict=True)
        data = [_row(index, vector, error, body.encoding_format) for index, (vector, error) in enumerate(rows)]
        total = sum(embedded.tokens)
        usage = {"prompt_tokens": total, "total_tokens": total}
        return json_response({"object": "list", "data": data, "model": model_name, "usage": usage})

    for path in EMBEDDINGS_PATHS:
        extra = openapi_body(EmbeddingsRequest)
        routes.add_api_route(
            path,
            create_embeddings,
            methods=["POST"],
            openapi_extra=extra,
            response_model=None,
            responses=documented,
            operation_id=path.strip("/").replace("/", "_"),
        )
    return routes


def check_dimensions(asked: int | None, dim: int) -> int:
    """Length of the vectors that a request asks for; the model's own where it does not say.

    Raises:
        RequestError: longer than the model's.
    """
    if asked is not None and not 1 <= asked <= dim:
        raise RequestError(f"dimensions must be 1 to {dim}, got {asked}", param="dimensions")
    return dim if asked is None else asked


def prefix(vectors_ND: Vectors, dimensions: int) -> Vectors:
    """The first dimensions of each vector, as unit vectors again (Matryoshka representation)."""
    if dimensions == vectors_ND.shape[1]:
        return vectors_ND
    short = vectors_ND[:, :dimensions]
    return np.asarray(short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12), np.float32)


def _row(index: int, vector: Vectors, error: RequestError | None, encoding: str) -> dict[str, Any]:
    """One element of ``data``. A failed item has an empty vector, so that nobody can take it for one."""
    row = {"object": "embedding", "index": index}
    if error is None:
        return {**row, "embedding": _base64(vector) if encoding == "base64" else vector}
    detail = {"message": error.reason, "type": "invalid_request_error", "param": None, "code": error.code}
    return {**row, "embedding": "" if encoding == "base64" else [], "error": detail}


def _base64(vector: Vectors) -> str:
    """Little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


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
        RequestError: several images.
    """
    parts = [part for message in messages for part in _parts(message)]
    images = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    if len(images) > 1:
        raise RequestError(f"a query holds one image, got {len(images)}", code="item_count", param="messages")
    return Query("\n".join(part.text for part in parts if isinstance(part, TextPart)), "".join(images))


def _parts(message: Message) -> list[ContentPart]:
    content = message.content
    return [TextPart(type="text", text=content)] if isinstance(content, str) else content
