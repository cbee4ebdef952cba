"""The collector's HTTP server: CloudEvents in, health and metrics out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moon.config import CollectorParams
from moon.monitoring import collector_metrics as metrics
from moon.monitoring.collector import ACCEPTED, Busy, Collector, Unwritable
from moon.monitoring.drift_metrics import published
from moon.monitoring.events import REQUEST, EventError, from_http

_RETRY: dict[str, str] = {"Retry-After": "1"}


def make_app(root: Path, params: CollectorParams) -> Starlette:
    """The application; its collector starts and ends with it.

    ``POST /`` takes a CloudEvent and answers 200 when it needs no repetition. 400: it is none of KServe's logger; 413:
    too large; 429 and 503: send it again.

    Args:
        root: folder of the log, and of the decisions whose metrics are shown.
        params: what to keep and how much may wait.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.collector = Collector(root, params)
        try:
            yield
        finally:
            app.state.collector.close()

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics.REGISTRY) + published(root), media_type=CONTENT_TYPE_LATEST)

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def take(request: Request) -> Response:
        return await _take(request, params)

    routes = [
        Route("/", take, methods=["POST"]),
        Route("/healthz", healthy),
        Route("/metrics", show_metrics),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def serve(root: Path, params: CollectorParams) -> None:
    """Runs the server until SIGTERM or SIGINT; what was accepted by then is in the log."""
    config = uvicorn.Config(
        make_app(root, params), host=params.host, port=params.port, log_level="warning", access_log=False
    )
    uvicorn.Server(config).run()


async def _take(request: Request, params: CollectorParams) -> Response:
    try:
        collector = request.app.state.collector
        declared = request.headers.get("content-length", "")
        with collector.room.hold(int(declared) if declared.isdecimal() else params.max_body_bytes):
            body = await _body(request, params.max_body_bytes)
            if body is None:
                return _refuse(413, "too_large", f"an event has at most {params.max_body_bytes} bytes")
            event = from_http({name.lower(): value for name, value in request.headers.items()}, body)
            outcome = await collector.accept(event)
    except ClientDisconnect:
        return _refuse(400, "disconnected", "the sender left")
    except EventError as error:
        return _refuse(400, "bad_event", str(error))
    except Busy as error:
        return _refuse(429, "busy", str(error), _RETRY)
    except Unwritable as error:
        return _refuse(503, "unwritable", str(error), _RETRY)
    kind = "request" if event.kind == REQUEST else "response"
    metrics.EVENTS.labels(event.service, kind, outcome).inc()
    if outcome == ACCEPTED:
        metrics.LAST_EVENT.labels(event.service).set(time.time())
    return JSONResponse({"outcome": outcome})


async def _body(request: Request, limit: int) -> bytes | None:
    """The body; None where it is longer than ``limit``."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _refuse(status: int, code: str, reason: str, headers: dict[str, Any] | None = None) -> Response:
    metrics.REFUSED.labels(code).inc()
    return JSONResponse({"error": reason, "code": code}, status, headers)
