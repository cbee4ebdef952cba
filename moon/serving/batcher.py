"""Micro-batching: concurrent requests share one forward pass, computed on the one thread that owns the model."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from moon.model.processing import Encoded
from moon.serving import metrics

Vectors: TypeAlias = NDArray[np.float32]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    items: Sequence[Encoded]
    future: Future[Vectors] = field(default_factory=Future)
    arrived: float = field(default_factory=time.perf_counter)


class Batcher:
    """Collects jobs into batches of about ``max_items`` and computes them on one thread.

    Args:
        forward: items to (N, D) vectors.
        max_items: a batch is full from here on.
        delay: longest wait for another job, seconds.
        expected: items accepted by the server and not answered. A batch waits only while some of them are still on
            their way here, so a lone client never waits.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Encoded]], Vectors],
        max_items: int,
        delay: float,
        expected: Callable[[], int],
    ) -> None:
        self._forward, self._max_items, self._delay, self._expected = forward, max_items, delay, expected
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="moon-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the model's thread runs."""
        return self._thread.is_alive()

    def submit(self, items: Sequence[Encoded]) -> Future[Vectors]:
        """Queues items; the future holds their vectors. A cancelled future gives up its place.

        Raises:
            RuntimeError: the batcher is closed.
        """
        if not self.alive:
            raise RuntimeError("the model's thread has stopped")
        job = _Job(items)
        self._queue.put(job)
        return job.future

    def close(self, seconds: float = 5.0) -> None:
        """Finishes what is queued and ends the thread."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while jobs := self._collect():
            now = time.perf_counter()
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            for job in running:
                metrics.QUEUE_SECONDS.observe(now - job.arrived)
            if running:
                self._run(running)

    def _collect(self) -> list[_Job]:
        """Waits for a job and takes what comes soon after it; empty when the batcher is closed."""
        job = self._queue.get()
        jobs: list[_Job] = []
        items, until = 0, time.perf_counter() + self._delay
        while job is not None:
            jobs.append(job)
            items += len(job.items)
            if items >= self._max_items:
                return jobs
            wait = until - time.perf_counter() if self._expected() > items else 0.0
            try:
                job = self._queue.get(timeout=max(wait, 0.0))
            except queue.Empty:
                return jobs
        if jobs:
            self._queue.put(None)  # seen again once these are done
        return jobs

    def _run(self, jobs: Sequence[_Job]) -> None:
        """Computes jobs together; when that fails, each alone, so that no request fails for another's item."""
        items = [item for job in jobs for item in job.items]
        started = time.perf_counter()
        try:
            vectors = self._forward(items)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._run([job])
                return
            logger.exception("the forward pass of %d items failed", len(items))
            jobs[0].future.set_exception(error)
            return
        metrics.FORWARD_SECONDS.observe(time.perf_counter() - started)
        metrics.BATCH_ITEMS.observe(len(items))
        row = 0
        for job in jobs:
            job.future.set_result(vectors[row : row + len(job.items)])
            row += len(job.items)
