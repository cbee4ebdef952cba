"""Whether the server can answer, found out by answering, and how it stops without losing what it has accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from kserve.protocol.dataplane import DataPlane

from moon.model.processing import Encoded
from moon.serving.batcher import Batcher, Vectors

if TYPE_CHECKING:
    from moon.serving.engine import Engine

_FRESH_SECONDS: Final = 1.0
"""A pass no older than this proves that the model computes, so that probes are cheap."""
_ANSWER_SECONDS: Final = 0.5
"""Longest that a probe waits for its own pass, below the time limit of any prober."""
_POLL_SECONDS: Final = 0.02
logger = logging.getLogger(__name__)


class Pulse:
    """Liveness of the batch loop, by a real forward pass of one tiny item through it.

    Args:
        batcher: the loop.
        item: what is computed.
        seconds: the loop is dead when a pass, or the wait for one, takes longer.
    """

    def __init__(self, batcher: Batcher, item: Encoded, seconds: float) -> None:
        self._batcher, self._item, self._seconds = batcher, item, seconds
        self._probe: Future[Vectors] | None = None
        self._asked = 0.0

    @property
    def stuck(self) -> bool:
        """Whether the loop is known to be dead, without asking it."""
        if not self._batcher.alive or self._batcher.busy_seconds > self._seconds:
            return True
        return self._probe is not None and not self._probe.done() and self._overdue

    async def beats(self) -> bool:
        """Whether the loop computes. Answers within a second; costs nothing while the loop is busy."""
        if self.stuck:
            return False
        if self._batcher.idle_seconds < _FRESH_SECONDS:
            return True
        if self._probe is None or self._probe.done():
            self._asked = time.perf_counter()
            self._probe = self._batcher.submit(self._item)
        until = time.perf_counter() + _ANSWER_SECONDS
        while not self._probe.done() and time.perf_counter() < until:
            await asyncio.sleep(_POLL_SECONDS)
        if self._probe.done():
            return self._probe.exception() is None
        return not self.stuck

    @property
    def _overdue(self) -> bool:
        """Whether neither the probe nor anything else has been computed for too long."""
        return min(time.perf_counter() - self._asked, self._batcher.idle_seconds) > self._seconds


def install(app: FastAPI, dataplane: DataPlane, engine: Engine) -> None:
    """Makes KServe's liveness, REST and gRPC, ask the engine, and SIGTERM drain it before the ports close."""

    async def live() -> dict[str, str]:
        return {"status": "alive" if await engine.live() else "dead"}

    dataplane.live = live  # a static method of KServe's that both of its servers call
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        async with inner(application) as state:
            if threading.current_thread() is threading.main_thread():  # no other is told of signals
                _drain_on_sigterm(engine)
            yield state

    app.router.lifespan_context = lifespan


def _drain_on_sigterm(engine: Engine) -> None:
    """Puts the drain in front of the handler that is there, uvicorn's, which closes the ports."""
    loop = asyncio.get_running_loop()
    close = signal.getsignal(signal.SIGTERM)
    started: list[asyncio.Task[None]] = []

    async def drain() -> None:
        logger.info("draining %d items", engine.pending)
        engine.drain()
        await asyncio.sleep(engine.params.drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_idle(engine), engine.params.grace_seconds)
        _call(close)

    def received() -> None:
        if started:  # a second time: at once
            _call(close)
        else:
            started.append(loop.create_task(drain()))

    loop.add_signal_handler(signal.SIGTERM, received)


def _call(handler: object) -> None:
    if callable(handler):
        handler(signal.SIGTERM, None)


async def _idle(engine: Engine) -> None:
    while engine.pending:
        await asyncio.sleep(_POLL_SECONDS)
