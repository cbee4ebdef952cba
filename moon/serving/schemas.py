"""Bodies of the JSON requests, checked strictly: a wrong type or an unknown field is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moon.serving.errors import RequestError

Body = TypeVar("Body", bound="Strict")
_SHOWN_ERRORS = 3


class Strict(BaseModel):
    """No coercion, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


class InputItem(Strict):
    """A text, an image (base64 or ``data:`` URL) or both."""

    text: str = ""
    image: str = ""


class ImageUrl(Strict):
    """The ``image_url`` object of a content part."""

    url: str
    detail: str | None = None


class TextPart(Strict):
    """A text of a message."""

    type: Literal["text"]
    text: str


class ImagePart(Strict):
    """A picture of a message: a ``data:`` URL, or one of the web where the server allows it."""

    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Strict):
    """A message whose text and image make one item."""

    role: Literal["user"]
    content: str | list[ContentPart]


class EmbeddingsRequest(Strict):
    """Body of ``POST /v1/embeddings``."""

    model: str | None = None
    input: str | InputItem | list[str | InputItem] | None = None
    messages: list[Message] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    """Length of a Matryoshka prefix."""
    user: str | None = None


class Filters(Strict):
    """What a product must be to be found."""

    category: list[str] = []
    """Leading levels of the category path."""
    attributes: dict[str, list[str]] = {}
    """One of the values for every key."""


class SearchRequest(Strict):
    """Body of ``POST /search``."""

    text: str = ""
    image: str = ""
    k: int = Field(default=10, ge=1)
    filters: Filters = Filters()
    return_embedding: bool = False


class TensorParameters(Strict):
    """Parameters of an input tensor."""

    model_config = ConfigDict(strict=True, extra="allow")

    binary_data_size: int | None = None
    """Bytes of this tensor behind the JSON part."""


class Tensor(Strict):
    """An input tensor of the Open Inference Protocol."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters = TensorParameters()
    data: list[Any] | None = None


class OutputParameters(Strict):
    """Parameters of an output asked for."""

    model_config = ConfigDict(strict=True, extra="allow")

    binary_data: bool | None = None
    """Whether it comes as bytes behind the JSON part; unset: as the request's ``binary_data_output`` says."""


class RequestedTensor(Strict):
    """An output asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferParameters(Strict):
    """Parameters of an inference request; those of other models and servers are let through."""

    model_config = ConfigDict(strict=True, extra="allow")

    binary_data_output: bool = False
    dimensions: int | None = Field(default=None, ge=1)
    """Length of a Matryoshka prefix."""


class InferBody(Strict):
    """Body, or its JSON part, of ``POST /v2/models/{name}/infer``."""

    id: str | None = None
    parameters: InferParameters = InferParameters()
    inputs: list[Tensor]
    outputs: list[RequestedTensor] | None = None


class Instance(Strict):
    """One of V1's ``instances``; the image is ``{"b64": ...}`` or base64 text."""

    text: str = ""
    image: str | dict[Literal["b64"], str] = ""


class PredictBody(Strict):
    """Body of ``POST /v1/models/{name}:predict``."""

    instances: list[str | Instance]


def parse(body: bytes, kind: type[Body]) -> Body:
    """Reads a JSON body.

    Raises:
        RequestError: not JSON (NaN is none), or not of this shape.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not valid JSON: {error}", code="bad_json") from None
    return check(tree, kind)


def check(tree: Any, kind: type[Body]) -> Body:
    """Checks plain data against a body's shape.

    Raises:
        RequestError: names the fields that are wrong.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in found[:_SHOWN_ERRORS]]
        more = f" (and {len(found) - _SHOWN_ERRORS} more)" if len(found) > _SHOWN_ERRORS else ""
        param = str(found[0]["loc"][0]) if found[0]["loc"] else None
        raise RequestError("; ".join(lines) + more, code="wrong_shape", param=param) from None


async def read_body(request: Request, kind: type[Body]) -> Body:
    """Reads and checks the body of a request; see `parse`."""
    return parse(await request.body(), kind)


def openapi_body(kind: type[BaseModel]) -> dict[str, Any]:
    """What a route that reads its own body says of it in the OpenAPI document; see `moon.serving.openapi`."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def json_response(content: Any) -> Response:
    """An answer as JSON; float32 arrays are written with the digits that float32 has."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
