"""From queries to vectors: admission, decoding off the event loop, one forward pass for many requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from moon.config import RegionsParams, ServingParams
from moon.model import Embedder
from moon.model.processing import Encoded
from moon.serving import metrics
from moon.serving.batcher import Batcher, Vectors
from moon.serving.errors import Overloaded, RequestError
from moon.serving.query import Prepared, Query, QueryReader, Region


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The answer to some queries, row by row."""

    vectors: Vectors
    """(N, D) unit vectors."""
    tokens: list[int]
    """Length of each sequence, pictures included."""
    regions: list[Region | None]


class Engine:
    """The model and everything that guards it. One engine serves all protocols.

    Args:
        embedder: the model; from here on only the engine's thread calls it.
        params: limits and batching.
        regions: the detector's parameters.
    """

    def __init__(self, embedder: Embedder, params: ServingParams, regions: RegionsParams) -> None:
        self.params, self.dim, self.revision = params, embedder.dim, embedder.revision
        self._embedder = embedder
        self._pending = 0
        self._reader = QueryReader(embedder.processor, params, regions)
        self._decoders = ThreadPoolExecutor(params.decode_threads, thread_name_prefix="moon-decode")
        delay = params.batch_delay_ms / 1000
        self._batcher = Batcher(self._forward, params.max_batch_items, delay, lambda: self._pending)

    @property
    def alive(self) -> bool:
        """Whether it can answer."""
        return self._batcher.alive

    async def embed(self, queries: Sequence[Query], route: str) -> Embedded:
        """Embeds the queries of one request.

        Args:
            queries: 1 to ``max_request_items``.
            route: the label of the items' counter.

        Raises:
            RequestError: there are too many, or some cannot be read; the message names each by its index.
            Overloaded: the server has as much to do as it may hold.
        """
        limit = self.params.max_request_items
        if not 1 <= len(queries) <= limit:
            raise RequestError(f"a request holds 1 to {limit} items, got {len(queries)}", code="item_count")
        if self._pending + len(queries) > self.params.max_pending_items:
            raise Overloaded(details=f"{self._pending} items are waiting; try again in a moment")
        self._pending += len(queries)
        try:
            prepared = await self._prepare(queries)
            vectors = await asyncio.wrap_future(self._batcher.submit([one.encoded for one in prepared]))
        finally:
            self._pending -= len(queries)
        for query in queries:
            metrics.ITEMS.labels(route, query.view).inc()
        tokens = [len(one.encoded) for one in prepared]
        return Embedded(vectors=vectors, tokens=tokens, regions=[one.region for one in prepared])

    def warm_up(self, seconds: float = 60.0) -> None:
        """One real forward pass through the queue.

        Raises:
            RuntimeError: the vector is not a unit vector, so the checkpoint is unusable.
        """
        one = self._reader.read(Query(text="warm-up"))
        vector = self._batcher.submit([one.encoded]).result(seconds)[0]
        if not abs(float(np.linalg.norm(vector)) - 1.0) < 1e-3:
            raise RuntimeError(f"model {self.revision} gives a vector of norm {np.linalg.norm(vector)}, expected 1")

    def close(self) -> None:
        """Finishes what is queued and ends the threads."""
        self._decoders.shutdown(cancel_futures=True)
        self._batcher.close()

    async def _prepare(self, queries: Sequence[Query]) -> list[Prepared]:
        """Reads all queries on the decoders' threads; refuses the request when any cannot be read."""
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._decoders, self._reader.read, query) for query in queries]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        errors = {row: error for row, error in enumerate(results) if isinstance(error, BaseException)}
        for error in errors.values():
            if not isinstance(error, RequestError):
                raise error
        if errors:
            first = next(error for error in errors.values() if isinstance(error, RequestError))
            raise RequestError("; ".join(f"item {row}: {error}" for row, error in errors.items()), code=first.code)
        return [one for one in results if isinstance(one, Prepared)]

    def _forward(self, items: Sequence[Encoded]) -> Vectors:
        """Vectors of items, at most ``max_batch_items`` at a time."""
        step = self.params.max_batch_items
        parts = [self._embedder.embed_encoded(items[start : start + step]) for start in range(0, len(items), step)]
        return np.concatenate(parts)
