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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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


class Room:
    """How much may be under way at once, counted before a body is read.

    Args:
        events: most events.
        size: most bytes of them; a single event may be larger.
    """

    def __init__(self, events: int, size: int) -> None:
        self._most_events, self._most_bytes = events, size
        self._events = self._bytes = 0

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """A place for one event of ``size`` bytes.

        Raises:
            Busy: there is none.
        """
        if self._events >= self._most_events or (self._events and self._bytes + size > self._most_bytes):
            raise Busy(f"{self._events} events of {self._bytes} bytes are under way; send it again later")
        self._count(1, size)
        try:
            yield
        finally:
            self._count(-1, -size)

    def _count(self, events: int, size: int) -> None:
        self._events += events
        self._bytes += size
        metrics.PENDING.set(self._events)


@dataclass(frozen=True)
class _Waiting:
    window: str
    line: bytes
    done: Future[None]


class Collector:
    """The log of one process; `accept` belongs to one event loop.

    Args:
        root: folder that gets ``log/``.
        params: what to keep and how much may wait.
        clock: the time now.
    """

    def __init__(
        self, root: Path, params: CollectorParams, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._params, self._clock, self._root = params, clock, root
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[str]] = {}
        self.room = Room(params.max_pending_events, params.max_pending_bytes)
        self._readers = ThreadPoolExecutor(params.threads, "moon-collector-read")
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = segments.Writer(root, params.segment_bytes)
        self._remember_log()
        self._thread = threading.Thread(target=self._write_all, name="moon-collector-write", daemon=True)
        self._thread.start()

    async def accept(self, event: Event) -> str:
        """Takes one event in; returns its outcome when the event needs no repetition.

        Raises:
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
        waiting = self._under_way[key] = asyncio.ensure_future(self._take(event))
        waiting.add_done_callback(lambda done: self._finish(key, done))
        # Whoever waits may be cancelled; what was begun is ended.
        return await asyncio.shield(waiting)

    def close(self) -> None:
        """Writes what is waiting and ends; nothing is accepted after it."""
        self._readers.shutdown()
        self._queue.put(None)
        self._thread.join()

    def _finish(self, key: bytes, done: asyncio.Future[str]) -> None:
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
        waiting = _Waiting(self._window(event), segments.encode(kept), Future())
        self._queue.put(waiting)
        try:
            await asyncio.wrap_future(waiting.done)
        except OSError as error:
            raise Unwritable(f"the log in {self._root} cannot be written: {error}") from error
        return ACCEPTED

    def _window(self, event: Event) -> str:
        """The window of the event's own time; of the present where that one was made, is too old or in the future."""
        now = self._clock()
        window = segments.window_of(event.time, self._params.window_minutes)
        age = now - event.time
        if timedelta(0) <= age <= timedelta(hours=self._params.keep_hours) and not segments.is_made(self._root, window):
            return window
        return segments.window_of(now, self._params.window_minutes)

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
                for window in {one.window for one in batch}:
                    self._writer.append(window, [one.line for one in batch if one.window == window])
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
