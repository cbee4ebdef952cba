"""Pictures to pixels in processes of their own, so that no picture can stop, slow or kill the server.

Every process is looked after by one thread. A process that ends over a picture is replaced and the picture tried once
more; one that does not finish in time is replaced too, and the picture is refused.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from moon.config import to_json
from moon.serving import metrics
from moon.serving.decode_worker import Configuration
from moon.serving.errors import RequestError
from moon.serving.query import Region
from moon.serving.worker import Refused, Worker, pixels
from moon.vision.boxes import Box
from moon.vision.resize import Pixels

_START_SECONDS: Final = 120.0
"""Longest that a process may take to start and load its detector."""
_PAUSE_SECONDS: Final = 1.0
"""Between attempts to start a process that does not start."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A photo as the model wants it."""

    region: Region
    image: Pixels
    """(H, W, 3)."""
    crop: Pixels
    """(H, W, 3) of the core region; (0, 0, 3) where the model reads none."""

    @property
    def pictures(self) -> list[Pixels]:
        """What the model reads, in order."""
        return [self.image, self.crop] if self.crop.size else [self.image]


@dataclass(frozen=True)
class _Job:
    data: bytes
    future: Future[Decoded]


class DecodePool:
    """Decodes pictures in ``processes`` processes.

    Args:
        configuration: what the processes need to know.
        processes: how many.
        seconds: longest that one picture may take.
    """

    def __init__(
        self,
        configuration: Configuration,
        processes: int,
        seconds: float,
    ) -> None:
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._keepers = [_Keeper(configuration, seconds, self._queue, number) for number in range(processes)]

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [keeper.pid for keeper in self._keepers if keeper.pid]

    def submit(self, data: bytes) -> Future[Decoded]:
        """Queues a picture; a cancelled future gives up its place.

        The future raises `RequestError` where the picture cannot be used.
        """
        job = _Job(data, Future())
        self._queue.put(job)
        return job.future

    def wait_ready(self, seconds: float) -> None:
        """Waits until every process has started and loaded its detector.

        Raises:
            RuntimeError: one cannot; the message says why.
        """
        until = time.monotonic() + seconds
        for keeper in self._keepers:
            keeper.wait_ready(until - time.monotonic())

    def close(self) -> None:
        """Ends threads and processes; what is queued is cancelled."""
        with contextlib.suppress(queue.Empty):
            while job := self._queue.get_nowait():
                job.future.cancel()
        for _ in self._keepers:
            self._queue.put(None)
        for keeper in self._keepers:
            keeper.close()


class _Keeper:
    """One thread and the process that it looks after."""

    def __init__(
        self,
        configuration: Configuration,
        seconds: float,
        jobs: queue.SimpleQueue[_Job | None],
        number: int,
    ) -> None:
        self._configuration, self._seconds, self._jobs = configuration, seconds, jobs
        self._worker: Worker | None = None
        self._failure = ""
        self._settled, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"moon-decode-{number}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._worker.pid if self._worker else 0

    def wait_ready(self, seconds: float) -> None:
        if not self._settled.wait(max(seconds, 0.0)):
            raise RuntimeError(f"a decoding process did not start in {seconds:.0f} s")
        if self._failure:
            raise RuntimeError(f"a decoding process does not start: {self._failure}")

    def close(self) -> None:
        self._closed.set()
        self._thread.join(self._seconds)
        self._stop()

    def _work(self) -> None:
        self._start()
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                try:
                    job.future.set_result(self._decode(job.data))
                except RequestError as error:
                    job.future.set_exception(error)
                except Exception as error:
                    logger.exception("decoding failed")
                    job.future.set_exception(error)
                    self._restart("its thread failed")

    def _decode(self, data: bytes) -> Decoded:
        """One picture; tried a second time where the process ends over it."""
        for _ in range(2):
            try:
                if self._worker is None:
                    self._start()
                return self._ask(data)
            except BlockingIOError:
                self._restart(f"a picture took over {self._seconds} s")
                reason = f"image: decoding took over {self._seconds:g} s"
                raise RequestError(reason, code="decode_timeout") from None
            except (EOFError, OSError):
                self._restart(self._worker.ending() if self._worker else self._failure)
        raise RequestError("image: its decoder ended twice over it", code="decode_failed")

    def _ask(self, data: bytes) -> Decoded:
        if self._worker is None:
            raise RequestError(f"image: no decoder can be started: {self._failure}", code="no_decoder", status=503)
        try:
            found, arrays = self._worker.ask(data)
        except Refused as refused:
            raise RequestError(f"image: {refused.message}", code=refused.code) from None
        image, crop = pixels(arrays, found["shapes"])
        return Decoded(region=_region(found), image=image, crop=crop)

    def _start(self) -> None:
        """Starts the process; where it cannot, says why in ``_failure``."""
        worker = Worker("moon.serving.decode_worker", self._seconds)
        try:
            worker.load(to_json(self._configuration).encode(), _START_SECONDS)
        except (Refused, TimeoutError, EOFError, OSError) as error:
            self._failure = getattr(error, "message", "") or f"it ended or did not answer ({type(error).__name__})"
            logger.error("a decoding process does not start: %s", self._failure)
            worker.stop()
            self._closed.wait(_PAUSE_SECONDS)
        else:
            self._failure, self._worker = "", worker
        self._settled.set()

    def _restart(self, reason: str) -> None:
        logger.warning("a decoding process is replaced: %s", reason)
        metrics.DECODE_RESTARTS.inc()
        self._stop()
        if not self._closed.is_set():
            self._start()

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def _region(found: dict[str, Any]) -> Region:
    width, height = found["size"]
    box = Box(*found["box"])
    return Region(box=box, detector=found["detector"], score=found["score"], width=width, height=height)
