"""`ModelProcess`: a model that computes in a process of its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from moon.model import MoonProcessor
from moon.model.processing import Encoded
from moon.serving import metrics
from moon.serving.batcher import Vectors
from moon.serving.model_worker import packed
from moon.serving.worker import Refused, Worker, pack

MODULE: Final = "moon.serving.model_worker"
logger = logging.getLogger(__name__)


class ModelProcess:
    """To an engine what an `moon.model.Embedder` is, without a share in the interpreter's lock.

    A forward pass is hundreds of short operations and wants the lock between any two of them. Beside an event loop
    that is busy with requests it gets it late, and takes two to five times as long as alone.

    A process that ends is replaced and its batch tried once more. Not thread-safe but for `close`.

    Args:
        folder: the model's.
        precision: see `moon.serving.precision`.
        threads: CPU threads of a forward pass.
        worker: a process of `moon.serving.model_worker` that has been started already; it is closed with this.

    Raises:
        ValueError: the folder is not a checkpoint, or it cannot be computed with like this.
        RuntimeError: the process ends while it loads.
    """

    def __init__(self, folder: Path, precision: str, threads: int, worker: Worker | None = None) -> None:
        self._wanted = {"folder": str(folder), "precision": precision, "threads": threads}
        self._closed = False
        self.dim, self.revision = 0, ""
        self._worker: Worker | None = self._loaded(worker or Worker(MODULE))
        self.processor = MoonProcessor.from_pretrained(folder)

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._worker.pid if self._worker else 0

    def embed_encoded(self, encoded: Sequence[Encoded]) -> Vectors:
        """Embeds one batch to (N, D) unit vectors.

        Raises:
            RuntimeError: the pass fails, or the process ends over it twice.
            ValueError: the process that is to replace another cannot load the model.
        """
        frame = packed(encoded)
        for _ in range(2):
            if self._closed:
                raise RuntimeError("the model is closed")
            if self._worker is None:
                self._worker = self._loaded(Worker(MODULE))
            try:
                _, data = self._worker.ask(frame)
            except Refused as refused:
                raise RuntimeError(refused.message) from None
            except (EOFError, OSError):
                self._drop()
            else:
                return np.frombuffer(data, np.float32).reshape(len(encoded), self.dim)
        raise RuntimeError(f"the model's process ended twice over {len(encoded)} items")

    def close(self) -> None:
        """Ends the process, also in the middle of a pass, which then fails."""
        self._closed = True
        if self._worker:
            self._worker.kill()

    def _drop(self) -> None:
        assert self._worker is not None
        if not self._closed:
            logger.warning("the model's process is replaced: %s", self._worker.ending())
            metrics.MODEL_RESTARTS.inc()
        self._worker.stop()
        self._worker = None

    def _loaded(self, worker: Worker) -> Worker:
        """The process when it has loaded the model."""
        with contextlib.ExitStack() as failure:
            failure.callback(worker.stop)
            try:
                hello = worker.load(pack(self._wanted))
            except Refused as refused:
                raise ValueError(refused.message) from None
            except (EOFError, OSError):
                raise RuntimeError(f"the model's process does not load the model: {worker.ending()}") from None
            if self.revision not in ("", hello["revision"]):
                raise RuntimeError(f"{self._wanted['folder']} now holds model {hello['revision']}, not {self.revision}")
            self.dim, self.revision = hello["dim"], hello["revision"]
            failure.pop_all()
        return worker
