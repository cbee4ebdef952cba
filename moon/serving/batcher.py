"""Micro-batching: what waits at the same time shares forward passes, which one thread asks for, one after another.

A pass is padded to its longest item, so it costs items times longest tokens. Every pass starts from the item that has
waited longest, which is why none starves, and takes the items nearest to it in length while the pass stays within the
budget and little of it is padding.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import SpanContext

from moon.model.processing import Encoded
from moon.serving import metrics, tracing

Vectors: TypeAlias = NDArray[np.float32]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """What one forward pass may hold."""

    max_items: int
    max_tokens: int
    """Items times longest item; an item longer than this is computed alone."""
    max_padding: float = 1.0
    """Largest share of it that is padding."""
    delay: float = 0.0
    """Longest wait for items that are on their way, seconds from the arrival of the oldest."""

    def admit(self, items: int, longest: int, tokens: int) -> bool:
        """Whether ``items`` with ``tokens`` together and the longest of ``longest`` may share a pass."""
        padded = items * longest
        return items <= self.max_items and padded <= self.max_tokens and padded - tokens <= self.max_padding * padded


def choose(lengths: Sequence[int], limits: BatchLimits) -> list[int]:
    """Which of the waiting items are computed next.

    Args:
        lengths: tokens of each, the one that has waited longest first; at least one.
        limits: what a pass may hold.

    Returns:
        Their indices in order of arrival; the first is always among them.
    """
    first = lengths[0]
    rest = range(1, len(lengths))
    shorter = sorted((row for row in rest if lengths[row] < first), key=lambda row: (lengths[row], -row))
    longer = sorted((row for row in rest if lengths[row] >= first), key=lambda row: (-lengths[row], -row))
    chosen, longest, tokens = [0], first, first
    while shorter or longer:
        # The next shorter pads one item, the next longer pads all: take the one that pads less.
        short = longest - lengths[shorter[-1]] if shorter else None
        long = (lengths[longer[-1]] - longest) * len(chosen) if longer else None
        side = longer if short is None or (long is not None and long <= short) else shorter
        length = lengths[side[-1]]
        if not limits.admit(len(chosen) + 1, max(longest, length), tokens + length):
            side.clear()  # nor would any further one of this side fit
            continue
        chosen.append(side.pop())
        longest, tokens = max(longest, length), tokens + length
    return sorted(chosen)


@dataclass(frozen=True, eq=False)
class _Entry:
    item: Encoded
    future: Future[Vectors] = field(default_factory=Future)
    arrived: float = field(default_factory=time.perf_counter)
    context: SpanContext | None = field(default_factory=tracing.current)


class Batcher:
    """Collects items into batches and computes them on one thread.

    Args:
        forward: items to (N, D) vectors.
        limits: what a batch may hold.
        coming: tokens of each item that is on its way here, about; a batch waits only while one of them would fit, so
            a lone client never waits.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Encoded]], Vectors],
        limits: BatchLimits,
        coming: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        self._forward, self._limits, self._coming = forward, limits, coming
        self._waiting: list[_Entry] = []
        self._closed = False
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._last_pass = 0.0
        self._thread = threading.Thread(target=self._work, name="moon-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the model's thread runs."""
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """How long the pass that is computed now has taken so far; 0 while there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.perf_counter() - since

    @property
    def idle_seconds(self) -> float:
        """Time since the last pass that succeeded."""
        return time.perf_counter() - self._last_pass

    def submit(self, item: Encoded) -> Future[Vectors]:
        """Queues an item; the future holds its vector (D,). A cancelled future gives up its place.

        Raises:
            RuntimeError: the batcher is closed.
        """
        entry = _Entry(item)
        with self._changed:
            if self._closed or not self.alive:
                raise RuntimeError("the model's thread has stopped")
            self._waiting.append(entry)
            self._changed.notify()
        return entry.future

    def close(self, seconds: float = 5.0) -> None:
        """Finishes what is queued and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while batch := self._collect():
            now = time.perf_counter()
            running = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            for entry in running:
                metrics.QUEUE_SECONDS.observe(now - entry.arrived)
            if running:
                self._run(running)

    def _collect(self) -> list[_Entry]:
        """Waits for items and takes the next batch; empty when the batcher is closed and nothing waits."""
        with self._changed:
            while True:
                self._waiting = [entry for entry in self._waiting if not entry.future.cancelled()]
                if not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                chosen = choose([len(entry.item) for entry in self._waiting], self._limits)
                wait = self._waiting[0].arrived + self._limits.delay - time.perf_counter()
                if wait > 0 and not self._closed and self._more_fit(chosen):
                    self._changed.wait(wait)
                    continue
                batch = [self._waiting[row] for row in chosen]
                taken = set(chosen)
                self._waiting = [entry for row, entry in enumerate(self._waiting) if row not in taken]
                return batch

    def _more_fit(self, chosen: Sequence[int]) -> bool:
        """Whether an item that is on its way could join a batch that takes all that waits."""
        if len(chosen) < len(self._waiting):
            return False
        lengths = [len(entry.item) for entry in self._waiting]
        longest, tokens = max(lengths), sum(lengths)
        return any(
            self._limits.admit(len(lengths) + 1, max(longest, length), tokens + length) for length in self._coming()
        )

    def _run(self, entries: Sequence[_Entry]) -> None:
        """Computes items together; when that fails, by halves, so that only the item at fault fails."""
        items = [entry.item for entry in entries]
        padded = len(items) * max(map(len, items))
        self._busy_since = started = time.perf_counter()
        try:
            with tracing.forward_span([entry.context for entry in entries], len(items), padded):
                vectors = self._forward(items)
        except Exception as error:
            if len(entries) > 1:
                half = len(entries) // 2
                self._run(entries[:half])
                self._run(entries[half:])
                return
            logger.exception("the forward pass of an item of %d tokens failed", padded)
            entries[0].future.set_exception(error)
            return
        finally:
            self._busy_since = None
        self._last_pass = time.perf_counter()
        for entry, vector in zip(entries, vectors, strict=True):
            entry.future.set_result(vector)
        metrics.FORWARD_SECONDS.observe(self._last_pass - started)
        metrics.BATCH_ITEMS.observe(len(items))
        metrics.BATCH_TOKENS.observe(padded)
        metrics.PADDING_RATIO.observe(1 - sum(map(len, items)) / padded)
