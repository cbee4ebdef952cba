"""``GET /``: the search page, plain files under ``page/`` that load nothing from any other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from kserve.protocol.dataplane import DataPlane
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from moon.config import ServingParams
from moon.serving.answers import Status
from moon.serving.openapi import responses

_FOLDER: Final = Path(__file__).parent / "page"
_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",  # asked again with its ETag, so that a new server shows its new page
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_HEADERS: Final = {
    **_HEADERS,
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Vary": "Accept",
}
_HTML: Final = {"text/html": {"schema": {"type": "string"}}}
_BASE64_GROWTH: Final = 4 / 3
_BODY_REST: Final = 8
"""Most bytes of JSON for one character of text, with 2 to spare for field names."""


def install(app: FastAPI, dataplane: DataPlane, params: ServingParams, revision: str, searches: bool) -> None:
    """Adds the page; call it before the server starts, when KServe adds its own ``/``.

    Args:
        app: the application.
        dataplane: KServe's, which answers ``/`` for clients that want no page.
        params: the limits that the page keeps to.
        revision: of the model, shown on the page.
        searches: whether the server has an index.
    """
    settings = _settings(params, revision, searches)

    @app.get("/", response_model=None, responses=responses(Status, 500, content=_HTML), tags=["health"])
    async def root(request: Request) -> Response | dict[str, Any]:
        """The page for a browser, KServe's answer for any other client."""
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(_FOLDER / "index.html", headers=_PAGE_HEADERS)
        live: dict[str, Any] = await dataplane.live()
        return JSONResponse(live, headers={"Vary": "Accept"})

    @app.get("/page/settings.json", include_in_schema=False, response_model=None)
    async def page_settings() -> Response:
        """What the page must know of the server."""
        return JSONResponse(settings, headers=_HEADERS)

    app.mount("/page", _Files(directory=_FOLDER))


class _Files(StaticFiles):
    """Files of the page, with its headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def _settings(params: ServingParams, revision: str, searches: bool) -> dict[str, Any]:
    room = params.max_body_bytes - _BODY_REST * params.max_text_chars
    return {
        "search": searches,
        "model_name": params.model_name,
        "model_revision": revision,
        "max_top_k": params.max_top_k,
        "max_text_chars": params.max_text_chars,
        "max_image_pixels": params.max_image_pixels,
        "max_image_bytes": max(1, min(params.max_image_bytes, int(room / _BASE64_GROWTH))),
    }
