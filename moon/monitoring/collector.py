"""Takes events in and answers when they are safe: an event that was accepted is in the log.

An event goes through four steps: is there room, is it new, what is kept of it, is it written. Whatever goes wrong
before the last is told to the sender, who may send it again; a repetition is noticed by source, type and id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moon.config import CollectorParams
from moon.monitoring import collector_metrics as metrics
from moon.monitoring import segments
from moon.monitoring.bodies import BodyError
from moon.monitoring.events import Event, draw
from moon.monitoring.records import record

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
SAMPLED_OUT: Final = "sampled_out"
UNREADABLE: Final = "unreadable"
"""Outcomes that need no repetition; of the last two nothing is kept."""

_LOG = logging.getLogger(__name__)
_BATCH: Final = 512
"""Records that share one write and one fsync."""


class Busy(RuntimeError):
    """Too much is waiting; send the event again later."""


class Unwritable(RuntimeError):
    """The log cannot be written now; send the event again later."""


@dataclass(frozen=True)
class _Waiting:
    line: bytes
    done: Future[None]


class Collector:
    """The log of one process; `accept` belongs to one event loop.

    Args:
        root: folder that gets ``log/``.
        params: what to keep and how much may wait.
        clock: the time now; decides the window that an event is logged in.
    """

    def __init__(
        self, root: Path, params: CollectorParams, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._params, self._clock, self._root = params, clock, root
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[str]] = {}
        self._events = self._bytes = 0
        self._readers = ThreadPoolExecutor(params.threads, "moon-collector-read")
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = segments.Writer(root, params.segment_bytes, params.window_minutes)
        self._remember_log()
        self._thread = threading.Thread(target=self._write_all, name="moon-collector-write", daemon=True)
        self._thread.start()

    async def accept(self, event: Event) -> str:
        """Takes one event in; returns its outcome when the event needs no repetition.

        Raises:
            Busy: too many events or bytes are waiting.
            Unwritable: the log cannot be written.
        """
        key = event.key
        if draw(event.id) >= self._params.sample:
            return SAMPLED_OUT
        if key in self._seen:
            return DUPLICATE
        if (first := self._under_way.get(key)) is not None:
            # Safe when the first one is; fails with it too, and the sender repeats it.
            await asyncio.shield(first)
            return DUPLICATE
        self._make_room(len(event.data))
        waiting = self._under_way[key] = asyncio.ensure_future(self._take(event))
        waiting.add_done_callback(lambda done: self._finish(key, len(event.data), done))
        # The sender may leave; what was begun is ended.
        return await asyncio.shield(waiting)

    def close(self) -> None:
        """Writes what is waiting and ends; nothing is accepted after it."""
        self._readers.shutdown()
        self._queue.put(None)
        self._thread.join()

    @property
    def pending(self) -> int:
        """Events that have come and are not yet in the log."""
        return self._events

    def _make_room(self, size: int) -> None:
        params = self._params
        if self._events >= params.max_pending_events or (
            self._events and self._bytes + size > params.max_pending_bytes
        ):
            raise Busy(f"{self._events} events of {self._bytes} bytes are waiting; send it again later")
        self._events += 1
        self._bytes += size
        metrics.PENDING.set(self._events)

    def _finish(self, key: bytes, size: int, done: asyncio.Future[str]) -> None:
        self._events -= 1
        self._bytes -= size
        metrics.PENDING.set(self._events)
        del self._under_way[key]
        if not done.cancelled() and done.exception() is None and done.result() == ACCEPTED:
            self._remember(key)

    async def _take(self, event: Event) -> str:
        loop = asyncio.get_running_loop()
        try:
            kept = await loop.run_in_executor(self._readers, record, event, self._params)
        except BodyError as error:
            _LOG.info("event %s of %s: %s", event.id, event.service, error)
            return UNREADABLE
        waiting = _Waiting(segments.encode(kept), Future())
        self._queue.put(waiting)
        try:
            await asyncio.wrap_future(waiting.done)
        except OSError as error:
            raise Unwritable(f"the log in {self._root} cannot be written: {error}") from error
        return ACCEPTED

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        if len(self._seen) > self._params.remember_events:
            self._seen.popitem(last=False)

    def _remember_log(self) -> None:
        """Learns the keys of the latest two windows from the log, as a sender may repeat across a restart."""
        for window in segments.logged_windows(self._root)[-2:]:
            for kept in segments.read(self._root, window):
                self._remember(bytes.fromhex(kept["key"]))

    def _write_all(self) -> None:
        """The writer's thread: what has gathered while one batch was written is the next batch."""
        synced = time.monotonic()
        ending = False
        while not ending:
            batch, ending = self._gather()
            late = time.monotonic() - synced >= self._params.fsync_seconds
            try:
                if batch:
                    self._writer.append([one.line for one in batch], self._clock())
                if self._params.fsync == "always" or late or ending:
                    with metrics.FSYNC.time():
                        self._writer.sync()
                    synced = time.monotonic()
            except OSError as error:
                metrics.WRITE_ERRORS.inc()
                _LOG.error("the log in %s cannot be written: %s", self._root, error)
                for one in batch:
                    one.done.set_exception(error)
            else:
                for one in batch:
                    one.done.set_result(None)
        with contextlib.suppress(OSError):
            self._writer.close()

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """What waits to be written, and whether it is the last."""
        batch: list[_Waiting] = []
        try:
            one = self._queue.get(timeout=self._params.fsync_seconds)
            while one is not None:
                batch.append(one)
                if len(batch) >= _BATCH:
                    return batch, False
                one = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True
