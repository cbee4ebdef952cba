"""`SearchPredictor`: the KServe model ``{name}-search``, search over the Open Inference Protocol, REST and gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import kserve
import numpy as np
import orjson
from kserve import InferRequest, InferResponse
from pydantic import ConfigDict

from moon.serving import deadline, oip
from moon.serving.artefact import Hit
from moon.serving.engine import Engine
from moon.serving.errors import RequestError
from moon.serving.hot_swap import LiveSearch
from moon.serving.schemas import Filters, Strict, check
from moon.serving.search import check_limits, find

_OUTPUTS: Final = {"ids": "BYTES", "scores": "FP32", "titles": "BYTES", oip.ERROR: "BYTES"}
_NO_SCORE: Final = -1.0
"""Score in the place of a product that is not there; no product scores less."""


class Parameters(Strict):
    """Parameters of a search request; those of the protocol itself are let through."""

    model_config = ConfigDict(strict=True, extra="ignore")

    k: int = 10
    category: str | list[str] = []
    """Leading levels of the category path; in gRPC, which has no lists, their JSON text."""
    attributes: str | dict[str, list[str]] = {}
    """For each key the values, one of which a product must have; in gRPC their JSON text."""


class SearchPredictor(kserve.Model):
    """Products for texts, photos or both.

    Args:
        name: the model's name in every route.
        engine: what embeds the queries.
        live: the products.
    """

    def __init__(self, name: str, engine: Engine, live: LiveSearch) -> None:
        super().__init__(name)
        self._engine, self._live = engine, live

    def load(self) -> bool:
        """Ready at once: the products are open, and the embedding model answers for the weights."""
        self.ready = True
        return True

    async def healthy(self) -> bool:
        """Whether it can answer."""
        return bool(self.ready) and self._engine.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """Metadata of the inputs."""
        return oip.input_types()

    def get_output_types(self) -> list[dict[str, Any]]:
        """Metadata of the outputs."""
        return [
            {"name": name, "datatype": kind, "shape": [-1] if name == oip.ERROR else [-1, -1]}
            for name, kind in _OUTPUTS.items()
        ]

    async def predict(
        self,
        payload: InferRequest | Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """Searches for each row of ``text`` and ``image``.

        Raises:
            RequestError: the request is wrong; the message says where.
            Refusal: nothing is wrong with it, but it is not answered.
        """
        if not isinstance(payload, InferRequest):
            reason = f"model '{self.name}' is asked at /v2/models/{self.name}/infer or with POST /search"
            raise RequestError(reason, status=404, code="not_found")
        if payload.from_grpc:
            deadline.begin((headers or {}).get(deadline.HEADER))
        products = self._live.current
        names = oip.requested(payload, list(_OUTPUTS))
        parameters, filters = _parameters(payload)
        check_limits(self._engine, parameters.k, filters)
        embedded = await self._engine.embed(oip.queries(payload), "search")
        found = await find(self._engine, products, embedded.vectors, parameters.k, filters)
        rows = [[] if error else hits for hits, error in zip(found, embedded.errors, strict=True)]
        known = _tensors(rows)
        known[oip.ERROR] = np.array([error.reason if error else "" for error in embedded.errors], object)
        wanted = names or ["ids", "scores", "titles"]
        if any(embedded.errors) and oip.ERROR not in wanted:
            wanted.append(oip.ERROR)
        return oip.response(payload, {name: known[name] for name in wanted}, self._engine.revision)


def _parameters(request: InferRequest) -> tuple[Parameters, Filters]:
    """The parameters of a request, and its filters as ``POST /search`` has them."""
    parameters = check(oip.parameters(request), Parameters)
    given = {"category": parameters.category, "attributes": parameters.attributes}
    for name, value in given.items():
        if isinstance(value, str):
            try:
                given[name] = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                raise RequestError(f"parameter '{name}' is not JSON: {error}", param=name) from None
    return parameters, check(given, Filters)


def _tensors(rows: Sequence[Sequence[Hit]]) -> dict[str, Any]:
    """The outputs (N, K); a row with fewer products than another ends in empty ids and titles."""
    shape = (len(rows), max(map(len, rows)))
    ids, titles = np.full(shape, "", object), np.full(shape, "", object)
    scores = np.full(shape, _NO_SCORE, np.float32)
    for number, hits in enumerate(rows):
        for place, hit in enumerate(hits):
            ids[number, place], titles[number, place], scores[number, place] = hit.id, hit.title, hit.score
    return {"ids": ids, "scores": scores, "titles": titles}
