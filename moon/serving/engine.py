"""From queries to vectors: admission, cache, decoding in other processes, one forward pass for many requests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from PIL import Image

from moon.config import RegionsParams, ServingParams
from moon.model import MoonProcessor
from moon.model.processing import Encoded
from moon.serving import deadline, metrics, tracing
from moon.serving.batcher import Batcher, BatchLimits, Vectors
from moon.serving.cache import Answer, AnswerCache
from moon.serving.decode_worker import Configuration
from moon.serving.decoding import Decoded, DecodePool
from moon.serving.drift_gauges import DriftGauges
from moon.serving.errors import DeadlinePassed, Draining, Overloaded, RequestError, every_item_failed
from moon.serving.health import Pulse
from moon.serving.query import Opened, Query, QueryReader, Region, TakesLong

_INLINE_CHARS: Final = 2048
_INLINE_BYTES: Final = 2**19
"""Up to so much text, and so much of JPEG photos, of a request is read on the event loop: it takes less than a thread's
switch."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The answer to some queries, row by row."""

    vectors: Vectors
    """(N, D) unit vectors; zeros where the item failed."""
    tokens: list[int]
    """Length of each sequence, pictures included; 0 where the item failed."""
    regions: list[Region | None]
    """Core region of each photo; None where there is none or the item failed."""
    errors: list[RequestError | None]
    """Why each item failed; None where it did not."""


class Model(Protocol):
    """What an engine computes with: an `moon.model.Embedder`, or a `moon.serving.model_process.ModelProcess`."""

    processor: MoonProcessor
    revision: str

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    def embed_encoded(self, encoded: Sequence[Encoded]) -> Vectors:
        """(N, D) unit vectors of a batch."""


class Engine:
    """The model and everything that guards it. One engine serves all protocols, from one event loop at a time.

    Args:
        model: what computes; from here on only the engine's thread calls it.
        params: limits and batching.
        regions: the detector's parameters, the same as for the catalogue.
        centroids: view -> mean vector of a reference that drift is measured against.
    """

    def __init__(
        self,
        model: Model,
        params: ServingParams,
        regions: RegionsParams,
        centroids: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.params, self.dim, self.revision = params, model.dim, model.revision
        self._pending, self._draining, self._warm = 0, False, False
        self._coming: dict[int, int] = {}
        self._cache = AnswerCache(params.cache_mb * 2**20)
        self._drift = DriftGauges(centroids or {})
        self._reader = QueryReader(model.processor, params, model.revision)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="moon-read")
        configuration = Configuration.of(model.processor, regions, params.max_image_pixels)
        self._decoders = DecodePool(configuration, params.decode_processes, params.decode_seconds)
        limits = BatchLimits(
            max_items=params.max_batch_items,
            max_tokens=params.max_batch_tokens,
            max_padding=params.max_padding,
            delay=params.batch_delay_ms / 1000,
        )
        self._batcher = Batcher(model.embed_encoded, limits, lambda: tuple(self._coming.values()))
        tiny = self._reader.open(Query("a")).encoded
        assert tiny is not None, "a text is encoded at once"
        self._tiny = tiny
        self._pulse = Pulse(self._batcher, self._tiny, params.liveness_seconds)

    @property
    def pending(self) -> int:
        """Items accepted and not yet answered."""
        return self._pending

    @property
    def ready(self) -> bool:
        """Whether it takes requests: warm, not draining, and not known to be stuck. Costs nothing."""
        return self._warm and not self._draining and not self._pulse.stuck

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""
        return self._draining

    @property
    def decoder_pids(self) -> list[int]:
        """The decoding processes."""
        return self._decoders.pids

    async def live(self) -> bool:
        """Whether the model computes, by a real forward pass where none has been made in the last second."""
        return await self._pulse.beats()

    def drain(self) -> None:
        """Refuses all that comes from here on; what is accepted is finished."""
        self._draining = True

    async def embed(self, queries: Sequence[Query], route: str) -> Embedded:
        """Embeds the queries of one request. A cancelled call frees its places.

        Args:
            queries: 1 to ``max_request_items``.
            route: the label of the items' counter.

        Raises:
            RequestError: there are too many, or none can be embedded; the message names each by its index.
            Overloaded: the server has as much to do as it may hold.
            Draining: it is about to stop.
            DeadlinePassed: the request's time is over.
        """
        self._admit(len(queries))
        allowed = deadline.seconds_left(self.params.max_seconds)
        self._count(len(queries))
        try:
            async with asyncio.timeout(allowed) as clock:
                results = await self._embed_all(queries)
        except TimeoutError:
            if not clock.expired():
                raise
            raise DeadlinePassed(details="the request took longer than it may") from None
        finally:
            self._count(-len(queries))
        return self._embedded(queries, results, route)

    def warm_up(self, seconds: float = 60.0) -> None:
        """Real forward passes of a text and of a photo, through every queue; the engine is ready after them.

        Raises:
            RuntimeError: no decoder starts, or a vector is not a unit vector, so the checkpoint is unusable.
        """
        self._decoders.wait_ready(seconds)
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), (200, 60, 60)).save(picture, "JPEG")
        opened = self._reader.open(Query("warm-up", picture.getvalue()))
        photos = [self._decoders.submit(opened.photo) for _ in self._decoders.pids]
        pictures = [photo.result(seconds).pictures for photo in photos]
        for item in (self._tiny, *(self._reader.encode(opened, one) for one in pictures)):
            self._checked_norm(self._batcher.submit(item).result(seconds))
        self._warm = True

    def close(self) -> None:
        """Finishes what is queued and ends threads and processes."""
        self._readers.shutdown(cancel_futures=True)
        self._decoders.close()
        self._batcher.close()

    def _admit(self, items: int) -> None:
        limit = self.params.max_request_items
        if not 1 <= items <= limit:
            raise RequestError(f"a request holds 1 to {limit} items, got {items}", code="item_count")
        if self._draining:
            raise Draining(details="the server is about to stop; another one answers")
        if self._pending + items > self.params.max_pending_items:
            raise Overloaded(details=f"{self._pending} items are waiting; try again in a moment")

    def _count(self, items: int) -> None:
        self._pending += items
        metrics.PENDING.set(self._pending)

    async def _embed_all(self, queries: Sequence[Query]) -> list[Answer | RequestError]:
        started = time.perf_counter()
        opened = await self._opened(queries)
        if len(opened) == 1:
            return [await self._answer(opened[0], started)]
        return await asyncio.gather(*(self._answer(one, started) for one in opened))

    async def _opened(self, queries: Sequence[Query]) -> list[Opened | RequestError]:
        """The queries read: at once where that is quick, else on the thread for it."""
        chars, size = sum(len(query.text) for query in queries), sum(len(query.image) for query in queries)
        if chars <= _INLINE_CHARS and size <= _INLINE_BYTES:
            with contextlib.suppress(TakesLong):
                return self._open(queries, quick=True)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._open, queries)

    def _open(self, queries: Sequence[Query], quick: bool = False) -> list[Opened | RequestError]:
        opened: list[Opened | RequestError] = []
        for query in queries:
            try:
                opened.append(self._reader.open(query, quick))
            except RequestError as error:
                opened.append(error)
        return opened

    async def _answer(self, opened: Opened | RequestError, started: float) -> Answer | RequestError:
        """The answer to one item, or why it has none."""
        if isinstance(opened, RequestError):
            return opened
        if (known := self._cache.get(opened.key)) is not None:
            return known
        try:
            answer = await self._compute(opened, started)
        except RequestError as error:
            return error
        except Exception:
            logger.exception("an item failed")
            return RequestError("the model failed on it; the server's log says why", status=500, code="forward_failed")
        self._cache.put(opened.key, answer)
        return answer

    async def _compute(self, opened: Opened, started: float) -> Answer:
        encoded, region = opened.encoded, None
        if encoded is None:
            decoded = await self._decode(opened)
            encoded, region = self._reader.encode(opened, decoded.pictures), decoded.region
        metrics.PREPROCESS_SECONDS.observe(time.perf_counter() - started)
        with tracing.span("moon.queue_and_forward", **{"moon.tokens": len(encoded)}):
            vector = await asyncio.wrap_future(self._batcher.submit(encoded))
        norm = self._checked_norm(vector)
        return Answer(vector=vector, norm=norm, tokens=len(encoded), region=region)

    async def _decode(self, opened: Opened) -> Decoded:
        place = id(opened)
        self._coming[place] = opened.tokens
        try:
            with tracing.span("moon.preprocess"):
                return await asyncio.wrap_future(self._decoders.submit(opened.photo))
        finally:
            del self._coming[place]

    def _checked_norm(self, vector_D: Vectors) -> float:
        """Keeps what is no unit vector, such as one of NaN, from every answer and from the cache."""
        norm = math.sqrt(float(vector_D @ vector_D))
        if not abs(norm - 1.0) < 1e-3:
            raise RuntimeError(f"model {self.revision} gives a vector of norm {norm}, expected 1")
        return norm

    def _embedded(self, queries: Sequence[Query], results: Sequence[Answer | RequestError], route: str) -> Embedded:
        started = time.perf_counter()
        errors = [one if isinstance(one, RequestError) else None for one in results]
        failed = [error for error in errors if error]
        if len(failed) == len(results):
            raise every_item_failed(failed)
        for error in failed:
            metrics.ERRORS.labels(error.code).inc()
        vectors_ND = np.zeros((len(results), self.dim), np.float32)
        answers = [one if isinstance(one, Answer) else None for one in results]
        for row, (query, answer) in enumerate(zip(queries, answers, strict=True)):
            if answer is not None:
                vectors_ND[row] = answer.vector
                metrics.ITEMS.labels(route, query.view).inc()
                self._drift.observe(query.view, answer.vector, answer.norm)
        self._drift.publish()
        metrics.POSTPROCESS_SECONDS.observe(time.perf_counter() - started)
        return Embedded(
            vectors=vectors_ND,
            tokens=[one.tokens if one else 0 for one in answers],
            regions=[one.region if one else None for one in answers],
            errors=errors,
        )
