"""What a request can be refused with, and how each protocol says it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import ClassVar, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from grpc import StatusCode  # type: ignore[import-untyped]
from grpc_interceptor.exceptions import GrpcException
from kserve.errors import InvalidInput, ModelNotFound
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moon.serving import metrics

EMBEDDINGS_PATHS: Final = ("/v1/embeddings", "/openai/v1/embeddings")
_OPENAI: Final = re.compile(r"(/openai)?/v1(/|$)(?!models/.*:(predict|explain)$)")
"""Routes whose errors have OpenAI's shape; KServe's own V1 verbs are below ``/v1`` too and keep KServe's."""
_TYPES: Final = {429: "rate_limit_error", 500: "server_error", 503: "server_error", 504: "server_error"}
RETRY_SECONDS: Final = 1
_MAX_MESSAGE: Final = 8000
"""Characters of a message over REST; it may repeat what was sent."""
_MAX_PARAM: Final = 200
MAX_GRPC_MESSAGE: Final = 500
"""Characters of a message over gRPC, whose clients take 8 KiB of trailers, up to 12 bytes a character."""


class RequestError(InvalidInput):
    """A request, or an item of one, that its sender must change: HTTP 4xx, gRPC INVALID_ARGUMENT.

    Args:
        reason: what was wrong, where, and what was expected.
        status: HTTP status.
        code: short fixed name, the label of the error counter.
        param: the field it is about.
    """

    def __init__(self, reason: str, *, status: int = 400, code: str = "invalid_value", param: str | None = None):
        super().__init__(reason)
        self.status, self.code, self.param = status, code, param
        self.items: Sequence[RequestError] = ()
        """Why each item failed, where all of a request's items did."""


def every_item_failed(items: Sequence[RequestError]) -> RequestError:
    """One error for a request of which nothing could be answered; it names each item by its place."""
    lines = "; ".join(f"item {row}: {error.reason}" for row, error in enumerate(items))
    whole = RequestError(lines, status=max(one.status for one in items), code=items[0].code)
    whole.items = items
    return whole


class Refusal(GrpcException):
    """A request that nothing is wrong with and that is not answered all the same; pass ``details=`` to say why."""

    status: ClassVar[int]
    """HTTP status."""
    code: ClassVar[str]
    """Short fixed name, the label of the error counter."""
    retry: ClassVar[bool] = True
    """Whether HTTP says ``Retry-After``."""


class Overloaded(Refusal):
    """The queue is full: HTTP 429, gRPC RESOURCE_EXHAUSTED."""

    status_code, status, code = StatusCode.RESOURCE_EXHAUSTED, 429, "overloaded"


class Draining(Refusal):
    """The server is about to stop and takes nothing new: HTTP 503, gRPC UNAVAILABLE."""

    status_code, status, code = StatusCode.UNAVAILABLE, 503, "draining"


class NotReady(Refusal):
    """The model's worker does not answer: HTTP 503, gRPC UNAVAILABLE."""

    status_code, status, code = StatusCode.UNAVAILABLE, 503, "not_ready"


class DeadlinePassed(Refusal):
    """The request took longer than it may: HTTP 504, gRPC DEADLINE_EXCEEDED."""

    status_code, status, code, retry = StatusCode.DEADLINE_EXCEEDED, 504, "deadline", False


class ForwardFailed(Refusal):
    """The model failed on every item: HTTP 500, gRPC INTERNAL."""

    status_code, status, code, retry = StatusCode.INTERNAL, 500, "forward_failed", False


class Forbidden(Refusal):
    """Nobody may do this here: HTTP 403, gRPC PERMISSION_DENIED."""

    status_code, status, code, retry = StatusCode.PERMISSION_DENIED, 403, "forbidden", False


class UnknownModel(Refusal):
    """No model of this name is here: HTTP 404, gRPC NOT_FOUND."""

    status_code, status, code, retry = StatusCode.NOT_FOUND, 404, "model_not_found", False


def install(app: FastAPI) -> None:
    """Registers the handlers; they come before KServe's, which know only the parent classes."""
    app.add_exception_handler(RequestError, _wrong)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    app.add_exception_handler(ClientDisconnect, _gone)
    logging.getLogger("kserve").addFilter(_is_not_a_refusal)


def failed(path: str) -> JSONResponse:
    """The answer where the server is at fault; it says nothing of the inside."""
    metrics.ERRORS.labels("internal").inc()
    return answer(path, 500, "the server failed on this request; its log has the cause", "internal")


def answer(path: str, status: int, message: str, code: str, param: str | None = None) -> JSONResponse:
    """OpenAI's error object on its routes, KServe's ``{"error": message}`` and the code elsewhere."""
    message = shortened(message, _MAX_MESSAGE)
    if not _OPENAI.match(path):
        return JSONResponse({"error": message, "code": code}, status)
    param = param and shortened(param, _MAX_PARAM)
    kind = _TYPES.get(status, "invalid_request_error")
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def shortened(message: str, characters: int) -> str:
    """A message without its middle where it is longer than ``characters``."""
    if len(message) <= characters:
        return message
    half = (characters - 5) // 2
    return f"{message[:half]} ... {message[-half:]}"


async def _wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    metrics.ERRORS.labels(error.code).inc()
    return answer(request.url.path, error.status, error.reason, error.code, error.param)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    metrics.ERRORS.labels(error.code).inc()
    response = answer(request.url.path, error.status, str(error.details), error.code)
    if error.retry:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


async def _no_route(request: Request, error: Exception) -> Response:
    """An unknown path, or another method than the path has."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    metrics.ERRORS.labels(code).inc()
    allowed = f"; allowed: {error.headers['Allow']}" if error.headers and "Allow" in error.headers else ""
    message = f"{request.method} {request.url.path[:200]}: {error.detail}{allowed}"
    response = answer(request.url.path, error.status_code, message, code)
    response.headers.update(error.headers or {})
    return response


async def _wrong_parameters(request: Request, error: Exception) -> Response:
    """A parameter of the path or the query that is not of its type."""
    assert isinstance(error, RequestValidationError)
    metrics.ERRORS.labels("invalid_value").inc()
    wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
    return answer(request.url.path, 400, wrong, "invalid_value")


async def _gone(request: Request, error: Exception) -> Response:
    """The client left before its body was complete; nobody reads this answer."""
    metrics.ERRORS.labels("disconnected").inc()
    return Response(status_code=400)


def _is_not_a_refusal(record: logging.LogRecord) -> bool:
    """Keeps KServe from logging a traceback for every bad request."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, InvalidInput | ModelNotFound | GrpcException)
