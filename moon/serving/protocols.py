"""Routes of KServe's V1 and V2 protocols: what KServe's own do, with our limits, errors and metadata."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from kserve import InferResponse
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import metrics_handler
from kserve.protocol.rest.v1_endpoints import V1Endpoints

from moon.serving import answers, oip
from moon.serving.errors import Forbidden, NotReady, RequestError
from moon.serving.openapi import WORK, responses
from moon.serving.schemas import InferBody, PredictBody, json_response, openapi_body

_OCTETS: Final = {
    "schema": {"type": "string", "format": "binary"},
    "description": "The JSON part, as long as the header Inference-Header-Content-Length says, and raw tensors.",
}
_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of the JSON part, where raw tensors follow it.",
}
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}


def v1(dataplane: DataPlane, name: str) -> APIRouter:
    """Routes below ``/v1/models``, which OpenAI's clients and KServe's share."""
    routes = APIRouter(tags=["V1"])
    kserve = V1Endpoints(dataplane)
    started = int(time.time())

    async def card(model_name: str) -> dict[str, Any]:
        ready = await dataplane.model_ready(model_name)
        known = {"id": model_name, "object": "model", "created": started, "owned_by": "moon"}
        return {**known, "name": model_name, "ready": ready}

    for prefix in ("/v1", "/openai/v1"):
        slug = prefix.strip("/").replace("/", "_")

        @routes.get(
            f"{prefix}/models",
            response_model=None,
            responses=responses(answers.ModelCards, 500, openai=True),
            operation_id=f"{slug}_models",
        )
        async def models() -> Response:
            """The models, in OpenAI's form and KServe's."""
            names = list(dataplane.model_registry.get_models())
            cards = [await card(one) for one in names if one == name]
            return json_response({"object": "list", "data": cards, "models": names})

        @routes.get(
            f"{prefix}/models/{{model_name}}",
            response_model=None,
            responses=responses(answers.ModelCard, 404, 500, 503, openai=True),
            operation_id=f"{slug}_model",
        )
        async def model(model_name: str) -> Response:
            """One model; 503 while it is not ready."""
            known = await card(model_name)
            if not known["ready"]:
                raise NotReady(details=f"model '{model_name}' is not ready")
            return json_response(known)

    @routes.post(
        "/v1/models/{model_name}:predict",
        openapi_extra=openapi_body(PredictBody),
        response_model=None,
        responses=responses(answers.Predictions, *WORK),
    )
    async def predict(model_name: str, request: Request) -> Any:
        """Embeds ``instances``; the body may be a CloudEvent."""
        return await kserve.predict(model_name, request)

    @routes.post("/v1/models/{model_name}:explain", include_in_schema=False, response_model=None)
    async def explain(model_name: str, request: Request) -> Response:
        """No model here has an explainer."""
        raise RequestError(f"model '{model_name}' cannot explain; use :predict", status=404, code="not_found")

    return routes


def v2(dataplane: DataPlane, facts: Mapping[str, str]) -> APIRouter:
    """Routes of the Open Inference Protocol.

    Args:
        dataplane: KServe's.
        facts: revision of the weights, and what they were made from.
    """
    routes = APIRouter(tags=["V2"])
    body = openapi_body(InferBody)
    body["requestBody"]["content"]["application/octet-stream"] = _OCTETS
    answer = responses(answers.Inference, *WORK, content={"application/octet-stream": _OCTETS})

    @routes.post(
        "/v2/models/{model_name}/infer",
        openapi_extra={**body, "parameters": [_LENGTH]},
        response_model=None,
        responses=answer,
    )
    async def infer(model_name: str, request: Request) -> Response:
        """Embeds, or searches for, the rows of ``text`` and ``image``."""
        headers = dict(request.headers)
        inference = oip.read_rest(await request.body(), headers, model_name)
        response, _ = await dataplane.infer(model_name, inference, headers)
        assert isinstance(response, InferResponse)
        return oip.write_rest(response)

    @routes.get("/v2/models/{model_name}", response_model=None, responses=responses(answers.ModelMetadata, 404, 500))
    async def metadata(model_name: str) -> Response:
        """Inputs, outputs, the revision, and what the model was made from."""
        known = await dataplane.model_metadata(model_name)
        return json_response({**known, "versions": [facts["revision"]], "parameters": dict(facts)})

    @routes.get(
        "/v2/models/{model_name}/ready", response_model=None, responses=responses(answers.ModelReady, 404, 500, 503)
    )
    async def model_ready(model_name: str) -> Response:
        """Whether the model answers."""
        if not await dataplane.model_ready(model_name):
            raise NotReady(details=f"model '{model_name}' is not ready")
        return json_response({"name": model_name, "ready": True})

    @routes.get("/v2/models", response_model=None, responses=responses(answers.ModelNames, 500))
    async def models() -> Response:
        """Names of the models."""
        return json_response({"models": list(dataplane.model_registry.get_models())})

    @routes.get("/v2", response_model=None, responses=responses(answers.ServerMetadata, 500))
    async def server() -> Response:
        """Name, version and extensions of the server."""
        return json_response(dataplane.metadata())

    @routes.api_route("/v2/models/{model_name}/versions/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def versions(model_name: str, rest: str) -> Response:
        """One server serves one version; KServe would say 501."""
        raise RequestError(f"address the model as /v2/models/{model_name}", status=404, code="not_found")

    @routes.api_route("/v2/repository/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def repository(rest: str) -> Response:
        """Anybody could unload the model here."""
        raise Forbidden(details="this server loads and unloads no models")

    return routes


def health(dataplane: DataPlane) -> APIRouter:
    """Probes and metrics."""
    routes = APIRouter(tags=["health"])

    @routes.get("/v2/health/live", response_model=None, responses=responses(answers.Live, 500, 503))
    async def live() -> Response:
        """Whether the model's worker answers; if it does not, restart the server."""
        if (await dataplane.live())["status"] != "alive":
            raise NotReady(details="the model's worker does not answer")
        return json_response({"live": True})

    @routes.get("/v2/health/ready", response_model=None, responses=responses(answers.Ready, 500, 503))
    async def ready() -> Response:
        """Whether to send requests here."""
        if not await dataplane.ready():
            raise NotReady(details="the server is not ready")
        return json_response({"ready": True})

    @routes.get("/metrics", response_model=None, responses=responses(None, 500, content=_TEXT))
    async def metrics(request: Request) -> Response:
        """Prometheus metrics."""
        return await metrics_handler(request)

    return routes
