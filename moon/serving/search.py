"""``POST /search``: a text, a photo or both to the products that fit."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from moon.serving.artefact import ProductSearch
from moon.serving.engine import Engine
from moon.serving.errors import RequestError
from moon.serving.query import Query, Region
from moon.serving.schemas import SearchRequest, json_response, openapi_body, read_body


def router(engine: Engine, products: ProductSearch | None) -> APIRouter:
    """The route; without products it says that this server has no index."""
    routes = APIRouter(tags=["search"])

    @routes.post("/search", openapi_extra=openapi_body(SearchRequest), response_model=None)
    async def search(request: Request) -> Response:
        """The best products, the core region found on the photo, and where the time went."""
        started = time.perf_counter()
        body = await read_body(request, SearchRequest)
        if products is None:
            raise RequestError("this server was started without an index (--artefact_dir)", status=404, code="no_index")
        if body.k > engine.params.max_top_k:
            raise RequestError(f"k must be 1 to {engine.params.max_top_k}, got {body.k}", param="k")
        embedded = await engine.embed([Query(body.text, body.image)], "search")
        computed = time.perf_counter()
        filters = (body.filters.category, body.filters.attributes)
        hits = await asyncio.to_thread(products.search, embedded.vectors[0], body.k, *filters)
        done = time.perf_counter()
        answer = {
            "products": [dataclasses.asdict(hit) for hit in hits],
            "region": _region(embedded.regions[0]),
            "model_revision": engine.revision,
            "latency_ms": {
                "embed": 1000 * (computed - started),
                "search": 1000 * (done - computed),
                "total": 1000 * (done - started),
            },
        }
        if body.return_embedding:
            answer["embedding"] = embedded.vectors[0].tolist()
        return json_response(answer)

    return routes


def _region(region: Region | None) -> dict[str, Any] | None:
    if region is None:
        return None
    return {**dataclasses.asdict(region), "box": region.box._asdict()}
