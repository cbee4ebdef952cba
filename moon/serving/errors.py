"""What a request can be refused with, and how each protocol says it."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from grpc import StatusCode  # type: ignore[import-untyped]
from grpc_interceptor.exceptions import GrpcException
from kserve.errors import InvalidInput, ModelNotFound
from starlette.requests import ClientDisconnect

from moon.serving import metrics

EMBEDDINGS_PATHS = ("/v1/embeddings", "/openai/v1/embeddings")
"""Routes whose errors have OpenAI's shape."""
RETRY_SECONDS = 1


class RequestError(InvalidInput):
    """A request that its sender must change: HTTP 4xx, gRPC INVALID_ARGUMENT.

    Args:
        reason: what was wrong, where, and what was expected.
        status: HTTP status.
        code: short fixed name, the label of the error counter.
        param: the field it is about.
    """

    def __init__(self, reason: str, *, status: int = 400, code: str = "invalid_value", param: str | None = None):
        super().__init__(reason)
        self.status, self.code, self.param = status, code, param


class Overloaded(GrpcException):
    """The queue is full: HTTP 429 with Retry-After, gRPC RESOURCE_EXHAUSTED."""

    status_code = StatusCode.RESOURCE_EXHAUSTED


def install(app: FastAPI) -> None:
    """Registers the handlers; they come before KServe's, which know only the parent classes."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(Overloaded, _overloaded)
    app.add_exception_handler(ClientDisconnect, _gone)
    logging.getLogger("kserve").addFilter(_is_not_a_refusal)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    metrics.ERRORS.labels(error.code).inc()
    return _response(request, error.status, error.reason, error.code, error.param)


async def _overloaded(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Overloaded)
    metrics.ERRORS.labels("overloaded").inc()
    response = _response(request, 429, str(error.details), "overloaded", None)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


async def _gone(request: Request, error: Exception) -> Response:
    """The client left before its body was complete; nobody reads this answer."""
    metrics.ERRORS.labels("disconnected").inc()
    return Response(status_code=400)


def _response(request: Request, status: int, message: str, code: str, param: str | None) -> JSONResponse:
    """OpenAI's error object on its routes, KServe's ``{"error": message}`` elsewhere."""
    if request.url.path not in EMBEDDINGS_PATHS:
        return JSONResponse({"error": message}, status)
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def _is_not_a_refusal(record: logging.LogRecord) -> bool:
    """Keeps KServe from logging a traceback for every bad request."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, InvalidInput | ModelNotFound | GrpcException)
