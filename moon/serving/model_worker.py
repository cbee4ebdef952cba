"""The process that holds the model and computes one forward pass after another.

What goes over the socket, in the frames of `moon.serving.worker`:

    server: first {"folder", "precision", "threads"}; then for each batch
            {"items": [[token ids, token types, shapes of the pictures], ...]} and the pixels of the pictures
    worker: first {"dim", "revision"}; then {} and the vectors, float32

It is started as ``python -m moon.serving.model_worker FILE_DESCRIPTOR``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from moon.model import Embedder
from moon.model.processing import Encoded
from moon.serving import precision
from moon.serving.worker import pack, pixels, refusal, serve, unpack

logger = logging.getLogger(__name__)


def packed(items: Sequence[Encoded]) -> bytes:
    """The frame of a batch."""
    rows = [[one.input_ids, one.token_types, [picture.shape for picture in one.pictures]] for one in items]
    return pack({"items": rows}, (picture for one in items for picture in one.pictures))


def unpacked(frame: bytes | bytearray) -> list[Encoded]:
    """The batch of a frame."""
    head, data = unpack(frame)
    pictures = iter(pixels(data, [shape for _, _, shapes in head["items"] for shape in shapes]))
    return [
        Encoded(tuple(ids), tuple(types), tuple(next(pictures) for _ in shapes)) for ids, types, shapes in head["items"]
    ]


def load(frame: bytearray) -> tuple[Mapping[str, Any], Callable[[bytearray], bytes]]:
    """The model of a folder in a precision: what it is called, and what it answers.

    Raises:
        ValueError: the folder is not a checkpoint, or it cannot be computed with like this.
    """
    wanted, _ = unpack(frame)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(wanted["threads"])
    embedder = Embedder.load(Path(wanted["folder"]))
    precision.apply(embedder, wanted["precision"])

    def answer(frame: bytearray) -> bytes:
        try:
            return pack({}, [embedder.embed_encoded(unpacked(frame)).astype(np.float32, copy=False)])
        except Exception as error:
            logger.exception("a forward pass failed")
            return refusal("forward_failed", f"{type(error).__name__}: {error}")

    return {"dim": embedder.dim, "revision": embedder.revision}, answer


if __name__ == "__main__":
    serve(load)
