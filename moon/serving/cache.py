"""Recent answers by the content of what was asked, so that a photo or text that comes again is not computed again."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from moon.serving import metrics
from moon.serving.batcher import Vectors
from moon.serving.query import Region

_ENTRY_BYTES: Final = 640
"""Memory of an entry beside its vector's numbers: key, objects and their places in the tables."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one item became."""

    vector: Vectors
    """(D,) unit vector."""
    norm: float
    """Its length as computed."""
    tokens: int
    region: Region | None


class AnswerCache:
    """Least recently used answers within a number of bytes. Used from one thread at a time.

    Args:
        max_bytes: memory it may take, about; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size(self) -> int:
        """Memory that the answers take, about, in bytes."""
        return self._bytes

    def get(self, key: bytes) -> Answer | None:
        """The answer of that name; None where there is none."""
        found = self._answers.get(key)
        if found is None:
            metrics.CACHE_MISSES.inc()
            return None
        self._answers.move_to_end(key)
        metrics.CACHE_HITS.inc()
        return found

    def put(self, key: bytes, answer: Answer) -> None:
        """Keeps an answer and drops the least recently used ones that have no room beside it."""
        size = answer.vector.nbytes + _ENTRY_BYTES
        if size > self._max_bytes:
            return
        if key not in self._answers:
            self._bytes += size
        # A copy: a row would keep the vectors of its whole batch.
        self._answers[key] = dataclasses.replace(answer, vector=answer.vector.copy())
        self._answers.move_to_end(key)
        while self._bytes > self._max_bytes:
            _, dropped = self._answers.popitem(last=False)
            self._bytes -= dropped.vector.nbytes + _ENTRY_BYTES
        metrics.CACHE_BYTES.set(self._bytes)
