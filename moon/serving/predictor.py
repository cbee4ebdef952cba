"""`MoonPredictor`: the KServe model behind the V1 and V2 protocols, over REST and gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kserve
from kserve import InferRequest, InferResponse

from moon.serving import deadline, oip
from moon.serving.engine import Engine
from moon.serving.errors import RequestError
from moon.serving.query import Query
from moon.serving.schemas import Instance, PredictBody, check


class MoonPredictor(kserve.Model):
    """Embeddings of texts, images or both.

    Args:
        name: the model's name in every route.
        engine: the loaded model.
    """

    def __init__(self, name: str, engine: Engine) -> None:
        super().__init__(name)
        self._engine = engine

    def load(self) -> bool:
        """Ready only after a real forward pass."""
        self._engine.warm_up()
        self.ready = True
        return True

    async def healthy(self) -> bool:
        """Whether it takes requests."""
        return bool(self.ready) and self._engine.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """Metadata of the V2 inputs."""
        return oip.input_types()

    def get_output_types(self) -> list[dict[str, Any]]:
        """Metadata of the V2 outputs."""
        return oip.output_types(self._engine.dim)

    async def predict(
        self,
        payload: InferRequest | Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse | dict[str, Any]:
        """Embeds a V2 request (REST or gRPC) or the plain data of a V1 body.

        Raises:
            RequestError: the request is wrong; the message says where.
            Overloaded: the queue is full.
        """
        if isinstance(payload, InferRequest):
            return await self._infer(payload, headers or {})
        if isinstance(payload, bytes):
            raise RequestError("the body is not JSON; expected content-type application/json", code="bad_json")
        queries = [_query(one) for one in check(payload, PredictBody).instances]
        embedded = await self._engine.embed(queries, "v1")
        rows = zip(embedded.vectors.tolist(), embedded.errors, strict=True)
        predictions = [{"error": error.reason, "code": error.code} if error else vector for vector, error in rows]
        return {"predictions": predictions, "model_version": self._engine.revision}

    async def _infer(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        """Answers a V2 request; over gRPC nobody has started its clock yet."""
        if request.from_grpc:
            deadline.begin(headers.get(deadline.HEADER))
        names = oip.requested(request)
        dimensions = oip.dimensions(request, self._engine.dim)
        queries = oip.queries(request)
        embedded = await self._engine.embed(queries, "grpc" if request.from_grpc else "v2")
        tensors = oip.outputs(embedded, [query.view for query in queries], names, dimensions)
        return oip.response(request, tensors, self._engine.revision)

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Refused: the model has no explainer."""
        raise RequestError("this model has no explainer; use :predict", status=404, code="not_found")


def _query(instance: str | Instance) -> Query:
    if isinstance(instance, str):
        return Query(instance)
    image = instance.image
    return Query(instance.text, image if isinstance(image, str) else image.get("b64", ""))
