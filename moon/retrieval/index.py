"""Exact inner-product search over named vectors, by faiss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

_VECTORS, _IDS = "vectors.faiss", "ids.json"


class ExactIndex:
    """Every search compares with every vector, so its result is exact.

    Args:
        ids: name of each vector, unique.
        vectors_ND: (N, D) vectors.

    Raises:
        ValueError: shapes do not agree, an id stands twice, or a vector is not finite.
    """

    def __init__(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        if vectors_ND.ndim != 2 or len(ids) != len(vectors_ND):
            raise ValueError(f"expected one row of vectors for each of {len(ids)} ids, got shape {vectors_ND.shape}")
        if len(set(ids)) != len(ids):
            raise ValueError("an id stands twice in the index")
        if not np.isfinite(vectors_ND).all():
            raise ValueError("the vectors of an index must be finite")
        self.ids = list(ids)
        self._index: faiss.Index = faiss.IndexFlatIP(vectors_ND.shape[1])
        self._index.add(np.ascontiguousarray(vectors_ND, np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self._index.d)

    def search(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], list[list[str]]]:
        """The k nearest vectors of each query, best first.

        Args:
            queries_QD: (Q, D) queries.
            k: results a query; fewer come back where the index, or ``allowed``, holds fewer.
            allowed: rows of the index that may be found; None allows all.

        Returns:
            Scores (Q, k') and the ids of each query's results.
        """
        if queries_QD.ndim != 2 or queries_QD.shape[1] != self.dim:
            raise ValueError(f"queries must have shape (Q, {self.dim}), got {queries_QD.shape}")
        found = min(k, len(self) if allowed is None else len(allowed))
        if found < 1:
            return np.empty((len(queries_QD), 0), np.float32), [[] for _ in queries_QD]
        options = None if allowed is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed))  # type: ignore[call-arg]
        scores_QK, rows_QK = self._index.search(np.ascontiguousarray(queries_QD, np.float32), found, params=options)
        return scores_QK, [[self.ids[row] for row in rows] for rows in rows_QK]

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / _VECTORS))
        (folder / _IDS).write_text(json.dumps(self.ids), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ExactIndex:
        """Reads an index written by `save`.

        Raises:
            ValueError: the folder holds no index, or one whose parts do not belong together.
        """
        if not (folder / _VECTORS).is_file() or not (folder / _IDS).is_file():
            raise ValueError(f"no index in {folder}: expected {_VECTORS} and {_IDS}")
        index = cls.__new__(cls)
        index.ids = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        index._index = faiss.read_index(str(folder / _VECTORS))
        if index._index.ntotal != len(index.ids):
            raise ValueError(f"{folder}: {index._index.ntotal} vectors but {len(index.ids)} ids")
        return index
