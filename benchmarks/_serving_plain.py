"""The peer of `serving.py`: the same model as a plain KServe predictor that computes each request by itself.

    python benchmarks/_serving_plain.py --model_dir MODEL --http_port 8080 --way threads

It decodes, crops and encodes photos as a catalogue's are, with moon's library but nothing of its server, and so gives
the same vectors. ``--way queue`` takes one request after another on one thread, off the event loop; ``threads``
prepares two requests at once and takes turns only at the model, which is not thread-safe.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import logging
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import torch
from _serving_inputs import item
from kserve import InferOutput, InferRequest, InferResponse, ModelServer, model_server

from moon import telemetry
from moon.model import Embedder, MoonProcessor
from moon.threads import wait_asleep

WORKERS = {"queue": 1, "threads": 2}


class PlainPredictor(kserve.Model):
    """Embeds the rows of ``text`` and ``image``.

    Args:
        name: the model's name.
        folder: the model.
        workers: requests prepared at once.
    """

    def __init__(self, name: str, folder: Path, workers: int) -> None:
        super().__init__(name)
        self._embedder = Embedder.load(folder)
        self._pool, self._turn, self._own = ThreadPoolExecutor(workers), threading.Lock(), threading.local()
        self._embed([("warm-up", "")])
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> InferResponse:
        """Answers one request."""
        columns = {one.name: one.data for one in payload.inputs}
        empty = [""] * len(next(iter(columns.values())))
        rows = list(zip(columns.get("text", empty), columns.get("image", empty), strict=True))
        vectors = await asyncio.get_running_loop().run_in_executor(self._pool, self._embed, rows)
        output = InferOutput("embedding", list(vectors.shape), "FP32")
        output.set_data_from_numpy(vectors, binary_data=False)
        return InferResponse(payload.id or str(uuid.uuid4()), self.name, [output])

    def _embed(self, rows: list[tuple[str, str]]) -> np.ndarray:
        encoded = [self._processor().encode(item(*row)) for row in rows]
        with self._turn:
            return self._embedder.embed_encoded(encoded)

    def _processor(self) -> MoonProcessor:
        """This thread's copy, because a tokenizer is not thread-safe."""
        if not hasattr(self._own, "processor"):
            self._own.processor = copy.deepcopy(self._embedder.processor)
        processor: MoonProcessor = self._own.processor
        return processor


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(parents=[model_server.parser], allow_abbrev=False)
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--way", choices=sorted(WORKERS), default="queue")
    arguments = parser.parse_args()
    for noisy in ("kserve", "kserve.trace", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    torch.set_num_threads(1)  # as our server does
    model_server.args.configure_logging = False
    ModelServer(
        http_port=arguments.http_port, grpc_port=arguments.grpc_port, workers=1, enable_latency_logging=False
    ).start([PlainPredictor("moon", arguments.model_dir, WORKERS[arguments.way])])


if __name__ == "__main__":
    telemetry.disable()
    wait_asleep()
    main()
