"""The application: our routes on KServe's, in front of the ones that they replace."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from kserve import InferResponse
from kserve.protocol.dataplane import DataPlane
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moon.serving import embeddings, errors, oip, search
from moon.serving.artefact import ProductSearch
from moon.serving.engine import Engine
from moon.serving.errors import RequestError
from moon.serving.schemas import InferBody, json_response, openapi_body


def install(app: FastAPI, dataplane: DataPlane, engine: Engine, products: ProductSearch | None) -> None:
    """Adds limits, error handlers and routes; call it before the server starts, when KServe adds its own."""
    app.add_middleware(BodyLimit, max_bytes=engine.params.max_body_bytes)
    errors.install(app)
    app.include_router(embeddings.router(engine, engine.params.model_name))
    app.include_router(search.router(engine, products))
    app.include_router(_protocol(dataplane, engine))


class BodyLimit:
    """Refuses a body over the limit, from its declared length or as it streams in."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with a counting ``receive``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            if declared.isdigit() and int(declared) > self._max_bytes:
                self._refuse()
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                self._refuse()
            return message

        await self._app(scope, limited, send)

    def _refuse(self) -> None:
        raise RequestError(f"the body is over {self._max_bytes} bytes", status=413, code="body_too_large")


def _protocol(dataplane: DataPlane, engine: Engine) -> APIRouter:
    """The routes of the Open Inference Protocol that KServe's own do not serve well."""
    routes = APIRouter(tags=["V2"])

    @routes.post("/v2/models/{model_name}/infer", openapi_extra=openapi_body(InferBody), response_model=None)
    async def infer(model_name: str, request: Request) -> Response:
        """Embeds the rows of ``text`` and ``image``."""
        headers = dict(request.headers)
        inference = oip.read_rest(await request.body(), headers, model_name)
        response, _ = await dataplane.infer(model_name, inference, headers)
        assert isinstance(response, InferResponse)
        return oip.write_rest(response)

    @routes.get("/v2/models/{model_name}", response_model=None)
    async def metadata(model_name: str) -> Response:
        """Inputs, outputs and the revision, which KServe's answer lacks."""
        known = await dataplane.model_metadata(model_name)
        return json_response({**known, "platform": "pytorch", "versions": [engine.revision]})

    @routes.api_route("/v2/models/{model_name}/versions/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def versions(model_name: str, rest: str) -> Response:
        """One server serves one version; KServe would say 501."""
        raise RequestError(f"address the model as /v2/models/{model_name}", status=404, code="not_found")

    @routes.api_route("/v2/repository/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def repository(rest: str) -> Response:
        """Anybody could unload the model here."""
        raise RequestError("this server loads and unloads no models", status=403, code="forbidden")

    return routes
