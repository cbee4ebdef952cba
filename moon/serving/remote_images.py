"""Pictures that a request names by URL, where ``serving.image_urls`` allows it.

Whoever sends a request chooses the URL, so this is where the server could be turned against its own network (SSRF,
CWE-918). The fetching is the catalogue's (`moon.catalog.readers.fetch`): the address is checked on the socket that is
about to connect, also after each redirect, and the body is counted as it arrives. It has an event loop of its own, so
that a name server that does not answer holds up nothing but other fetches. No message tells an address.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from moon.catalog.readers.fetch import WEB, FetchError, fetch_web, scheme_of, web_session
from moon.config import CatalogParams, RegionsParams, ServingParams
from moon.model import Embedder
from moon.serving.deadline import seconds_left
from moon.serving.engine import Embedded, Engine
from moon.serving.errors import DeadlinePassed, Overloaded, RequestError, every_item_failed
from moon.serving.query import Query

if TYPE_CHECKING:
    import aiohttp

Result = TypeVar("Result")
logger = logging.getLogger(__name__)
_MAX_URL: Final = 2048


def engine_kind(params: ServingParams) -> type[Engine]:
    """The engine for these parameters: one that fetches, where they allow it."""
    return Engine if params.image_urls == "never" else FetchingEngine


class FetchingEngine(Engine):
    """An engine that fetches the pictures that queries name by http(s) URL.

    Raises:
        ValueError: the library that fetches is not installed.
    """

    def __init__(
        self,
        embedder: Embedder,
        params: ServingParams,
        regions: RegionsParams,
        centroids: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._remote = RemoteImages(params)
        super().__init__(embedder, params, regions, centroids)

    async def embed(self, queries: Sequence[Query], route: str) -> Embedded:
        """Embeds the queries of one request; a picture that cannot be fetched fails its item only."""
        urls = {row: url for row, query in enumerate(queries) if (url := remote_url(query.image))}
        if not urls or len(queries) > self.params.max_request_items:
            return await super().embed(queries, route)
        fetched = await self._fetch(sorted(set(urls.values())))
        lost = {row: found for row, url in urls.items() if isinstance(found := fetched[url], RequestError)}
        rest = [
            Query(query.text, fetched[urls[row]] if row in urls else query.image)
            for row, query in enumerate(queries)
            if row not in lost
        ]
        if not rest:
            raise every_item_failed([lost[row] for row in range(len(queries))])
        try:
            embedded = await super().embed(rest, route)
        except RequestError as error:
            if not lost or not error.items:
                raise
            others = iter(error.items)
            raise every_item_failed([lost.get(row) or next(others) for row in range(len(queries))]) from None
        return _spread(embedded, lost, len(queries), self.dim) if lost else embedded

    def close(self) -> None:
        """Ends the fetches and the engine."""
        self._remote.close()
        super().close()

    async def _fetch(self, urls: Sequence[str]) -> dict[str, bytes | RequestError]:
        left = seconds_left(self.params.max_seconds)
        try:
            async with asyncio.timeout(left):
                return dict(zip(urls, await self._remote.fetch(urls), strict=True))
        except TimeoutError:
            raise DeadlinePassed(details="the deadline passed while pictures were fetched") from None


class RemoteImages:
    """Fetches pictures by http(s) URL, at most ``image_url_fetches`` at once.

    Args:
        params: the limits.

    Raises:
        ValueError: the library that fetches is not installed.
    """

    def __init__(self, params: ServingParams) -> None:
        if importlib.util.find_spec("aiohttp") is None:
            raise ValueError(f"serving.image_urls={params.image_urls} needs the package aiohttp, which is missing")
        self._params = CatalogParams(
            fetch_workers=params.image_url_fetches,
            fetch_timeout=params.image_url_seconds,
            max_image_bytes=params.max_image_bytes,
            allow_private_hosts=params.image_urls == "any",
        )
        self._most_waiting, self._waiting = params.max_pending_items, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="moon-fetch", daemon=True)
        self._thread.start()
        self._session: aiohttp.ClientSession = self._run(self._open()).result()
        self._slots = asyncio.Semaphore(params.image_url_fetches)

    async def fetch(self, urls: Sequence[str]) -> list[bytes | RequestError]:
        """The bytes at each URL, or why they cannot be had; cancelled, it stops fetching.

        Raises:
            Overloaded: too many fetches are waiting.
        """
        if self._waiting + len(urls) > self._most_waiting:
            raise Overloaded(details=f"{self._waiting} pictures are being fetched; try again in a moment")
        self._waiting += len(urls)
        try:
            return await asyncio.gather(*(asyncio.wrap_future(self._run(self._one(url))) for url in urls))
        finally:
            self._waiting -= len(urls)

    def close(self) -> None:
        """Ends the thread."""
        self._run(self._session.close()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(self) -> aiohttp.ClientSession:
        return web_session(self._params)

    async def _one(self, url: str) -> bytes | RequestError:
        if len(url) > _MAX_URL:
            return RequestError(f"image: a URL has at most {_MAX_URL} characters, got {len(url)}", code="bad_url")
        async with self._slots:
            try:
                data = await fetch_web(self._session, url, self._params)
            except FetchError as error:
                return self._explained(error)
            except ValueError as error:  # aiohttp's parser of URLs
                return RequestError(f"image: not a URL that can be asked for: {error}", code="bad_url")
        return data or RequestError("image: nothing is at its URL", code="empty")

    def _explained(self, error: FetchError) -> RequestError:
        """Without the addresses that a name leads to, which are not for everybody to know."""
        if error.reason == "refused_address":
            return RequestError("image: its URL does not lead to a public address", code="url_not_allowed")
        if error.reason == "too_many_bytes":
            reason = f"image: more than {self._params.max_image_bytes} bytes are at its URL"
            return RequestError(reason, code="too_many_bytes")
        return RequestError(f"image: could not be fetched: {error}", code="fetch_failed")


def remote_url(image: bytes | str) -> str:
    """The http(s) URL that names a picture; empty where the picture itself is there."""
    url = image.strip() if isinstance(image, str) else ""
    return url if scheme_of(url[:8]) in WEB else ""


def _spread(embedded: Embedded, lost: dict[int, RequestError], count: int, dim: int) -> Embedded:
    """The answer with the rows that were lost put back in their places."""
    kept = [row for row in range(count) if row not in lost]
    vectors = np.zeros((count, dim), np.float32)
    vectors[kept] = embedded.vectors
    place = {row: number for number, row in enumerate(kept)}
    return Embedded(
        vectors=vectors,
        tokens=[embedded.tokens[place[row]] if row in place else 0 for row in range(count)],
        regions=[embedded.regions[place[row]] if row in place else None for row in range(count)],
        errors=[embedded.errors[place[row]] if row in place else lost[row] for row in range(count)],
    )
