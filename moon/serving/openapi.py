"""The OpenAPI document: our routes, their bodies and every answer that they give, and none of KServe's behind them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from moon import __version__
from moon.config import ServingParams
from moon.serving import deadline
from moon.serving.answers import Error, OpenAIError

_REASONS: Final = {
    400: "The request, or every item of it, must be changed.",
    403: "Nobody may do this here.",
    404: "No such model, or nothing of this kind on this server.",
    408: "The body came too slowly.",
    413: "The body is over the limit.",
    429: "Too much is waiting; come again after Retry-After.",
    500: "The server failed; its log has the cause.",
    503: "The server is about to stop, or its model's worker does not answer.",
    504: "The deadline passed.",
}
_DEADLINE: Final = {
    "name": deadline.HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999},
    "description": "Milliseconds that the answer may take; then 504.",
}
Responses = dict[int | str, dict[str, Any]]


def responses(answer: type[BaseModel] | None, *refusals: int, openai: bool = False, **more: Any) -> Responses:
    """What a route answers.

    Args:
        answer: the body of a 200; None where ``more`` describes it.
        refusals: statuses of its errors.
        openai: whether errors have OpenAI's shape.
        more: further keys of the 200 response.
    """
    error = OpenAIError if openai else Error
    good: dict[str, Any] = {"description": "The answer.", **more}
    if answer is not None:
        good["model"] = answer
    return {200: good, **{status: {"model": error, "description": _REASONS[status]} for status in refusals}}


WORK: Final = (400, 404, 408, 413, 429, 500, 503, 504)
"""Statuses of a route that embeds."""


def install(app: FastAPI, params: ServingParams) -> None:
    """Makes the application describe the routes that it has now; those that KServe adds later are behind them."""
    routes = list(app.routes)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            tree = get_openapi(title="moon", version=__version__, description=_description(params), routes=routes)
            schemas = tree.setdefault("components", {}).setdefault("schemas", {})
            _hoist(tree["paths"], schemas)
            _leave_out_422(tree["paths"], schemas)
            for path in tree["paths"].values():
                if "post" in path:
                    path["post"].setdefault("parameters", []).append(_DEADLINE)
            app.openapi_schema = tree
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _hoist(node: Any, schemas: dict[str, Any]) -> None:
    """Moves ``$defs`` below the paths to the components, where their references point to."""
    if isinstance(node, dict):
        schemas.update(node.pop("$defs", {}))
        for value in node.values():
            _hoist(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _hoist(value, schemas)


def _leave_out_422(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """FastAPI adds this answer to every route with a parameter; ours say 400 or 404."""
    for path in paths.values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _description(params: ServingParams) -> str:
    return (
        "Embeddings of texts, photos or both in one space, and search over the products in it. "
        f"A body holds at most {params.max_body_bytes} bytes, a request {params.max_request_items} items, a text "
        f"{params.max_text_chars} characters, a photo {params.max_image_bytes} bytes and {params.max_image_pixels} "
        f"pixels. An answer takes at most {params.max_seconds:g} s."
    )
