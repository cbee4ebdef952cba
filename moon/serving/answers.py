"""Shapes of the answers, for the OpenAPI document and for nothing else: the routes write their JSON themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What was wrong, in OpenAI's terms."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """An error of OpenAI's routes."""

    error: ErrorDetail


class Error(BaseModel):
    """An error of all other routes."""

    error: str
    code: str


class Embedding(BaseModel):
    """The vector of one item; ``[]``, or ``""`` with base64, and ``error`` where the item failed."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    error: ErrorDetail | None = None


class Usage(BaseModel):
    """Tokens of all sequences, pictures included."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Answer of ``POST /v1/embeddings``."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model as OpenAI's clients list it, and whether it is ready, as KServe's clients ask."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str
    ready: bool


class ModelCards(BaseModel):
    """Answer of ``GET /v1/models`` to OpenAI's clients (``data``) and KServe's (``models``)."""

    object: Literal["list"]
    data: list[ModelCard]
    models: list[str]


class ItemError(BaseModel):
    """What stands in the place of a V1 vector whose item failed."""

    error: str
    code: str


class Predictions(BaseModel):
    """Answer of ``POST /v1/models/{name}:predict``."""

    predictions: list[list[float] | ItemError]
    model_version: str


class TensorType(BaseModel):
    """Name, type and shape of an input or output; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Answer of ``GET /v2/models/{name}``."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorType]
    outputs: list[TensorType]
    parameters: dict[str, str]
    """Revision of the weights and, where they are known, the versions of data and recipe."""


class OutputTensor(BaseModel):
    """An output; ``data`` is absent where its bytes follow the JSON part."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class Inference(BaseModel):
    """Answer, or its JSON part, of ``POST /v2/models/{name}/infer``."""

    id: str
    model_name: str
    model_version: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputTensor]


class ServerMetadata(BaseModel):
    """Answer of ``GET /v2``."""

    name: str
    version: str
    extensions: list[str]


class ModelNames(BaseModel):
    """Answer of ``GET /v2/models``."""

    models: list[str]


class ModelReady(BaseModel):
    """Answer of ``GET /v2/models/{name}/ready``."""

    name: str
    ready: bool


class Status(BaseModel):
    """Answer of ``GET /`` to whoever wants no page."""

    status: Literal["alive", "dead"]


class Live(BaseModel):
    """Answer of ``GET /v2/health/live``."""

    live: bool


class Ready(BaseModel):
    """Answer of ``GET /v2/health/ready``."""

    ready: bool
