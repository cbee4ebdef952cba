"""Products of earlier batches as further negatives (MOON, temporal expansion of the negatives).

Legend: Q products of a batch, M products in the bank, D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class MemoryBank:
    """The product embeddings of the last batches, first in, first out; they never get a gradient.

    [R]: the number of batches. The embeddings are as old as their batch, so a product may be in the bank several times.

    Args:
        batches: batches kept; 0 keeps nothing.
    """

    def __init__(self, batches: int) -> None:
        self._batches: deque[tuple[Tensor, tuple[str, ...]]] = deque(maxlen=batches)

    def push(self, vectors_QD: Tensor, ids: Sequence[str]) -> None:
        """Adds copies of one batch's product vectors; the oldest batch leaves a full bank.

        Args:
            vectors_QD: (Q, D) product embeddings.
            ids: their Q product ids.

        Raises:
            ValueError: not as many ids as vectors.
        """
        if len(vectors_QD) != len(ids):
            raise ValueError(f"a memory bank needs one id for each vector, got {len(vectors_QD)} and {len(ids)}")
        self._batches.append((vectors_QD.detach().clone(), tuple(ids)))

    @property
    def vectors_MD(self) -> Tensor:
        """(M, D) all vectors, the oldest first; (0, 0) when the bank is empty."""
        return torch.cat([vectors for vectors, _ in self._batches]) if self._batches else torch.empty(0, 0)

    @property
    def ids(self) -> tuple[str, ...]:
        """The M product ids of `vectors_MD`."""
        return tuple(id_ for _, ids in self._batches for id_ in ids)

    def __len__(self) -> int:
        return sum(len(ids) for _, ids in self._batches)

    def state_dict(self) -> dict[str, Any]:
        """What the bank holds, as lists, texts and tensors."""
        return {
            "vectors": [vectors for vectors, _ in self._batches],
            "ids": [list(ids) for _, ids in self._batches],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces what the bank holds by a `state_dict`; of more batches than fit, the newest stay."""
        self._batches.clear()
        for vectors_QD, ids in zip(state["vectors"], state["ids"], strict=True):
            self.push(vectors_QD, ids)
