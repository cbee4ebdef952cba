"""The application: our routes on KServe's, in front of the ones that they replace."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from moon.serving import embeddings, errors, health, openapi, page_routes, protocols, search
from moon.serving.deadline import Deadline
from moon.serving.engine import Engine
from moon.serving.guards import BodyLimit, Disconnects, Failures
from moon.serving.host import Plane
from moon.serving.hot_swap import LiveSearch


def install(
    app: FastAPI, dataplane: Plane, engine: Engine, live: LiveSearch | None, lineage: Mapping[str, str]
) -> None:
    """Adds limits, error handlers and routes; call it before the server starts, when KServe adds its own.

    Args:
        app: KServe's application.
        dataplane: health and models.
        engine: the embedding model.
        live: the products; None where the server has no index.
        lineage: what the model was made from.
    """
    params = engine.params
    app.add_middleware(
        BodyLimit,
        max_bytes=params.max_body_bytes,
        max_held=params.max_pending_bytes,
        seconds=params.body_seconds,
    )
    app.add_middleware(Deadline)
    app.add_middleware(Disconnects)
    app.add_middleware(Failures)  # the outermost
    errors.install(app)
    page_routes.install(app, dataplane, params, engine.revision, live is not None)
    app.include_router(protocols.v2(dataplane, {"revision": engine.revision, **lineage}))
    app.include_router(embeddings.router(engine, params.model_name))
    app.include_router(search.router(engine, live))
    app.include_router(protocols.v1(dataplane, params.model_name))
    app.include_router(protocols.health(dataplane))
    health.install(app, dataplane, engine)
    openapi.install(app, params)
