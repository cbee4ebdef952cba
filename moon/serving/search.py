"""``POST /search``: a text, a photo or both to the products that fit; their pictures, and what they are filtered by."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from moon.serving import metrics
from moon.serving.artefact import Hit, ProductSearch
from moon.serving.batcher import Vectors
from moon.serving.deadline import seconds_left
from moon.serving.engine import Engine
from moon.serving.errors import DeadlinePassed, RequestError
from moon.serving.hot_swap import LiveSearch
from moon.serving.openapi import WORK, responses
from moon.serving.query import Query, Region
from moon.serving.schemas import Filters, SearchRequest, json_response, openapi_body, read_body
from moon.serving.search_answers import Facets, Found

_MAX_FILTERS: Final = 1000
_CACHE: Final = "public, max-age=3600"
Tags = Annotated[str, Header(alias="If-None-Match", description="ETags of what the client has.")]
_JPEG: Final = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "As the client knows it by its ETag."}}


def router(engine: Engine, live: LiveSearch | None) -> APIRouter:
    """The routes; without products they say that this server has no index."""
    routes = APIRouter(tags=["search"])

    @routes.post(
        "/search", openapi_extra=openapi_body(SearchRequest), response_model=None, responses=responses(Found, *WORK)
    )
    async def search(request: Request) -> Response:
        """The best products, the core region found on the photo, and where the time went."""
        started = time.perf_counter()
        body = await read_body(request, SearchRequest)
        products = served(live)
        check_limits(engine, body.k, body.filters)
        embedded = await engine.embed([Query(body.text, body.image)], "search")
        computed = time.perf_counter()
        found = await find(engine, products, embedded.vectors, body.k, body.filters)
        done = time.perf_counter()
        answer = {
            "products": [dataclasses.asdict(hit) for hit in found[0]],
            "region": _region(embedded.regions[0]),
            "model_revision": engine.revision,
            "index_revision": products.revision,
            "latency_ms": {
                "embed": 1000 * (computed - started),
                "search": 1000 * (done - computed),
                "total": 1000 * (done - started),
            },
        }
        if body.return_embedding:
            answer["embedding"] = embedded.vectors[0].tolist()
        return json_response(answer)

    @routes.get("/facets", response_model=None, responses={**responses(Facets, 404, 500), **_UNCHANGED})
    async def facets(if_none_match: Tags = "") -> Response:
        """The categories and attribute values that products can be filtered by, the most frequent ones."""
        products = served(live)
        counts = {"products": len(products), "index_revision": products.revision, **products.facets}
        return _unchanged(if_none_match, products) or _cached(json_response(counts), products)

    @routes.get(
        "/products/{product_id:path}/picture",
        response_class=Response,
        responses={**responses(None, 404, 500, content=_JPEG), **_UNCHANGED},
    )
    async def picture(product_id: str, if_none_match: Tags = "") -> Response:
        """A small JPEG of a product."""
        products = served(live)
        data = await asyncio.to_thread(products.picture, product_id)
        if data is None:
            reason = f"there is no picture of product '{product_id[:200]}'"
            raise RequestError(reason, status=404, code="no_picture")
        return _unchanged(if_none_match, products) or _cached(Response(data, media_type="image/jpeg"), products)

    return routes


def served(live: LiveSearch | None) -> ProductSearch:
    """The products that one request searches from its beginning to its end.

    Raises:
        RequestError: the server has none.
    """
    if live is None:
        raise RequestError("this server was started without an index (--artefact_dir)", status=404, code="no_index")
    return live.current


def check_limits(engine: Engine, k: int, filters: Filters) -> None:
    """Refuses more results or filters than a request may ask for.

    Raises:
        RequestError: names the limit.
    """
    if not 1 <= k <= engine.params.max_top_k:
        raise RequestError(f"k must be 1 to {engine.params.max_top_k}, got {k}", param="k")
    values = filters.attributes.values()
    parts = len(filters.category) + len(filters.attributes) + sum(map(len, values))
    if parts > _MAX_FILTERS:
        reason = f"the filters have {parts} levels, keys and values, the limit is {_MAX_FILTERS}"
        raise RequestError(reason, param="filters")


async def find(
    engine: Engine, products: ProductSearch, vectors_QD: Vectors, k: int, filters: Filters
) -> list[list[Hit]]:
    """`ProductSearch.search` off the event loop, measured, before the request's deadline.

    Raises:
        DeadlinePassed: it took too long.
    """
    try:
        async with asyncio.timeout(seconds_left(engine.params.max_seconds)):
            with metrics.SEARCH_SECONDS.time():
                found = await asyncio.to_thread(products.search, vectors_QD, k, filters.category, filters.attributes)
    except TimeoutError:
        raise DeadlinePassed(details="the deadline passed while products were searched") from None
    for hits in found:
        if hits:
            metrics.SEARCH_TOP_SCORE.observe(hits[0].score)
    return found


def _region(region: Region | None) -> dict[str, Any] | None:
    if region is None:
        return None
    return {**dataclasses.asdict(region), "box": region.box._asdict()}


def _unchanged(tags: str, products: ProductSearch) -> Response | None:
    """304 where the client has what this index says; None otherwise."""
    known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    return _cached(Response(status_code=304), products) if _tag(products) in known else None


def _cached(response: Response, products: ProductSearch) -> Response:
    response.headers["ETag"] = _tag(products)
    response.headers["Cache-Control"] = _CACHE
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _tag(products: ProductSearch) -> str:
    return f'"{products.revision}"'
