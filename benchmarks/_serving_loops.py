"""The model without a server: a `SentenceTransformer.encode` loop on the exported folder, and the bare forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from _serving_inputs import KINDS, Inputs, item
from sentence_transformers import SentenceTransformer

from moon.model import Embedder, Item

MANY: Final = 32
_FEWEST: Final = 4


class Loops:
    """Both in this process, on one thread.

    Args:
        model: the model folder.
        exported: the same model as `moon export` writes it.
    """

    def __init__(self, model: Path, exported: Path) -> None:
        torch.set_num_threads(1)
        self._embedder = Embedder.load(model)
        self._stock = SentenceTransformer(str(exported), trust_remote_code=True, device="cpu")

    def measure(self, inputs: Inputs, seconds: float) -> list[dict[str, Any]]:
        """One row a kind.

        ``one`` and ``many`` are items a second of the encode loop with one and `MANY` items a call; ``forward_ms`` the
        median milliseconds of the forward pass of one item.
        """
        return [{"kind": kind, **self._measure(inputs, kind, seconds / 3)} for kind in KINDS]

    def work_ms(self, inputs: Inputs, kind: str, seconds: float) -> float:
        """Median milliseconds of one item from what a request holds to its vector."""
        taken = _seconds(lambda: _row(inputs, kind), lambda given: self._embedder.embed([item(*given)]), seconds)
        return 1000 * float(np.median(taken))

    def _measure(self, inputs: Inputs, kind: str, seconds: float) -> dict[str, float]:
        def row() -> tuple[str, str]:
            return _row(inputs, kind)

        one = _seconds(row, lambda given: self._encode([given]), seconds)
        many = _seconds(lambda: [row() for _ in range(MANY)], self._encode, seconds)
        forward = _seconds(
            lambda: self._embedder.processor.encode(item(*row())),
            lambda encoded: self._embedder.embed_encoded([encoded]),
            seconds,
        )
        return {
            "one": 1 / float(np.mean(one)),
            "many": MANY / float(np.mean(many)),
            "forward_ms": 1000 * float(np.median(forward)),
        }

    def _encode(self, rows: list[tuple[str, str]]) -> np.ndarray:
        inputs = [_stock_input(item(*row)) for row in rows]
        return self._stock.encode(inputs, batch_size=MANY, show_progress_bar=False)


def _row(inputs: Inputs, kind: str) -> tuple[str, str]:
    """Text and photo of another item of a kind."""
    return ("", inputs.photo()) if kind == "photo" else (inputs.text(kind), "")


def _stock_input(one: Item) -> dict[str, Any]:
    """An item in the words of the exported code, which takes decoded pictures."""
    if not one.images:
        return {"text": one.title}
    return {"images": [one.images[0].image()], "crops": [one.crops[0].image()]}


def _seconds(make: Callable[[], Any], work: Callable[[Any], Any], budget: float) -> list[float]:
    """Time of each call of ``work`` on a new input, for about so many seconds; the first call warms up."""
    work(make())
    taken: list[float] = []
    while sum(taken) < budget or len(taken) < _FEWEST:
        given = make()
        started = time.perf_counter()
        work(given)
        taken.append(time.perf_counter() - started)
    return taken
