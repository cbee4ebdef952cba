"""`MoonPredictor`: the KServe model behind the V1 and V2 protocols, over REST and gRPC."""

from __future__ import annotations

from typing import Any

import kserve
from kserve import InferRequest, InferResponse

from moon.serving import oip
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
        """Whether the model's thread can answer."""
        return bool(self.ready) and self._engine.alive

    def get_input_types(self) -> list[dict[str, Any]]:
        """Metadata of the V2 inputs."""
        return oip.input_types()

    def get_output_types(self) -> list[dict[str, Any]]:
        """Metadata of the V2 output."""
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
            route = "grpc" if payload.from_grpc else "v2"
            embedded = await self._engine.embed(oip.queries(payload), route)
            return oip.response(payload, embedded.vectors, self._engine.revision)
        if isinstance(payload, bytes):
            raise RequestError("the body is not JSON; expected content-type application/json", code="bad_json")
        queries = [_query(one) for one in check(payload, PredictBody).instances]
        embedded = await self._engine.embed(queries, "v1")
        return {"predictions": embedded.vectors.tolist(), "model_version": self._engine.revision}

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Refused: the model has no explainer."""
        raise RequestError("this model has no explainer; use :predict", status=404, code="not_found")


def _query(instance: str | Instance) -> Query:
    if isinstance(instance, str):
        return Query(instance)
    image = instance.image
    return Query(instance.text, image if isinstance(image, str) else image.get("b64", ""))
