"""KServe's server as we run it: what REST and gRPC share, and time limits for slow clients.

KServe's own loads a model anew, on the event loop, whenever a request finds it unhealthy, says that it is ready
whatever happens, and lets anybody unload a model over gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any, Final

import kserve
import uvicorn
import uvloop
from fastapi import FastAPI
from kserve import InferRequest, InferResponse, ModelServer
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from timing_asgi import TimingMiddleware  # type: ignore[import-untyped]

from moon.config import ServingParams
from moon.serving import http_protocol, metrics
from moon.serving.errors import (
    MAX_GRPC_MESSAGE,
    Forbidden,
    ForwardFailed,
    Refusal,
    RequestError,
    UnknownModel,
    shortened,
)

_OTHER_FILES: Final = 512
"""What is open besides HTTP connections: gRPC's, sockets of processes, the index, libraries."""
logger = logging.getLogger(__name__)


class Plane(DataPlane):
    """What both protocols ask: health, models and inference."""

    async def ready(self) -> bool:
        """Whether requests should be sent here."""
        return all([await model.healthy() for model in self.model_registry.get_models().values()])

    def get_model_from_registry(self, name: str) -> kserve.Model:
        """The model of this name.

        Raises:
            UnknownModel: there is none.
        """
        model = self.model_registry.get_model(name)
        if model is None:
            known = ", ".join(self.model_registry.get_models())
            raise UnknownModel(details=f"model '{name[:200]}' does not exist; this server has {known or 'none'}")
        return model

    async def get_model(self, name: str) -> kserve.Model:
        """The model of this name; whether it takes a request is for the engine to say.

        Raises:
            UnknownModel: there is none.
        """
        return self.get_model_from_registry(name)

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """Whether the model of this name takes requests; KServe sets the flag where it is about to send one anyway.

        Raises:
            UnknownModel: there is none.
        """
        model = self.get_model_from_registry(model_name)
        return disable_predictor_health_check or bool(await model.healthy())

    def decode(
        self, body: Any, headers: dict[str, str], protocol_version: str = "v1", model_name: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reads the body of a V1 request, which may be a CloudEvent.

        Raises:
            RequestError: it is neither JSON nor an event.
        """
        try:
            return super().decode(body, headers, protocol_version, model_name)
        except InvalidInput as error:
            raise RequestError(error.reason, code="bad_json") from None

    async def infer(
        self, model_name: str, request: InferRequest | Any, headers: dict[str, str] | None = None
    ) -> tuple[InferResponse | dict[str, Any], dict[str, str]]:
        """Asks a model; refusals over gRPC are counted here, those over REST by their handlers.

        Raises:
            RequestError: the request is wrong.
            Refusal: nothing is wrong with it, but it is not answered.
        """
        try:
            return await super().infer(model_name, request, headers)
        except (RequestError, Refusal) as error:
            if isinstance(request, InferRequest) and request.from_grpc:
                metrics.ERRORS.labels(error.code).inc()
                _make_fit_for_grpc(error)
            raise
        except InvalidInput as error:  # KServe's own check of a V1 body
            raise RequestError(error.reason, code="wrong_shape") from None


def _make_fit_for_grpc(error: RequestError | Refusal) -> None:
    """Keeps a message within what a trailer holds, and a failure of ours from being called the sender's.

    Raises:
        ForwardFailed: in place of an error that KServe would answer with INVALID_ARGUMENT.
    """
    if isinstance(error, RequestError):
        error.reason = shortened(error.reason, MAX_GRPC_MESSAGE)
        if error.status >= ForwardFailed.status:
            raise ForwardFailed(details=error.reason) from None


class Locked(ModelRepositoryExtension):
    """Loads and unloads nothing, for anybody could ask."""

    async def load(self, model_name: str) -> None:
        """Refused."""
        raise Forbidden(details="this server loads no models")

    async def unload(self, model_name: str) -> None:
        """Refused."""
        raise Forbidden(details="this server unloads no models")


class Server(ModelServer):
    """KServe's server with our data plane and time limits.

    Args:
        params: the limits.
        http_port: port of REST.
        grpc_port: port of gRPC.
    """

    def __init__(self, params: ServingParams, http_port: int, grpc_port: int) -> None:
        super().__init__(
            http_port=http_port,
            grpc_port=grpc_port,
            workers=1,
            enable_latency_logging=False,
            grace_period=params.grace_seconds,
        )
        connections = _room_for(params.max_connections)
        self._protocol = http_protocol.protocol(params.header_seconds, params.max_body_bytes, connections)
        self.dataplane = Plane(model_registry=self.registered_models)
        self.model_repository_extension = Locked(model_registry=self.registered_models)

    def setup_event_loop(self) -> None:
        """Keeps the promise of ``--event_loop``; KServe's own prepares a loop that is not the one it then runs."""
        if self.event_loop != "asyncio":
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def _serve(self) -> None:
        """Runs both protocols; between `start` and here is the only place to change how uvicorn runs."""
        self._rest_server.config.http = self._protocol
        self._rest_server._add_middlewares = _without_timings(self._rest_server._add_middlewares)
        _close_gently(self._rest_server._server)
        await super()._serve()


def _room_for(connections: int) -> int:
    """Raises the limit of open files as far as it must and may; returns how many connections fit under it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = min(connections, max(soft - _OTHER_FILES, soft // 2))
    if room < connections:
        logger.warning("%d HTTP connections at once, not %d, for `ulimit -Hn` is %d", room, connections, hard)
    return room


def _close_gently(server: uvicorn.Server) -> None:
    shutdown = server.shutdown

    async def gently(sockets: list[socket.socket] | None = None) -> None:
        await http_protocol.close_port(server)
        await shutdown(sockets)

    server.shutdown = gently  # type: ignore[method-assign]


def _without_timings(add_middlewares: Callable[[FastAPI], None]) -> Callable[[FastAPI], None]:
    """KServe times each request for a log that is off, and to name it compares its path with every route."""

    def add(app: FastAPI) -> None:
        add_middlewares(app)
        app.user_middleware[:] = [one for one in app.user_middleware if one.cls is not TimingMiddleware]

    return add
