"""Named vectors and how they are searched: exactly, or in shards; `moon.retrieval.approximate` searches more quickly.

Legend: N vectors, Q queries, D dimensions, K results a query.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moon.retrieval import topk
from moon.retrieval.exact import exact_search
from moon.retrieval.vectors import Vectors, check_finite, open_vectors, write_vectors

VECTORS, _IDS, _ABOUT = "vectors.npy", "ids.json", "index.json"
_WRITE_ROWS = 65_536


class VectorIndex(ABC):
    """Inner-product search over named vectors. Results are ordered by score, equal scores by row.

    Searching changes nothing, so threads may share an index.
    """

    ids: list[str]
    """Name of each row."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimensions of a vector."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the index into a folder, from which `load` of its class reads it."""

    @abstractmethod
    def _find(self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None) -> tuple[topk.Scores, topk.Rows]:
        """`search_rows` with checked arguments: k is at most the number of rows that may be found."""

    @abstractmethod
    def exact_rows(self, queries_QD: Vectors, k: int) -> tuple[topk.Scores, topk.Rows]:
        """`search_rows` by comparing with every vector."""

    def recall(self, queries_QD: Vectors, k: int, sample: int = 256, seed: int = 0) -> float:
        """Recall@k against exact search, on a seeded sample of the queries.

        A result is right if its score is at least that of the exact k-th, so equal scores are equally good.
        """
        chosen = sampled(queries_QD, sample, seed)
        return share_found(self.search_rows(chosen, k)[0], self.exact_rows(chosen, k)[0])

    def search_rows(
        self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[topk.Scores, topk.Rows]:
        """The k nearest vectors of each query, best first.

        Args:
            queries_QD: (Q, D) queries.
            k: results a query; fewer come back where the index, or ``allowed``, holds fewer.
            allowed: rows of the index that may be found; None allows all.

        Returns:
            Scores (Q, K) and rows (Q, K); an approximate index that finds fewer than K fills up with -inf and -1.
        """
        if queries_QD.ndim != 2 or queries_QD.shape[1] != self.dim:
            raise ValueError(f"queries must have shape (Q, {self.dim}), got {queries_QD.shape}")
        rows = None if allowed is None else np.unique(allowed)
        k = min(k, len(self) if rows is None else len(rows))
        if k < 1:
            return np.empty((len(queries_QD), 0), np.float32), np.empty((len(queries_QD), 0), np.int64)
        return self._find(queries_QD, k, rows)

    def search(
        self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[topk.Scores, list[list[str]]]:
        """`search_rows` with the ids of each query's results in place of their rows."""
        scores_QK, rows_QK = self.search_rows(queries_QD, k, allowed)
        return scores_QK, [[self.ids[row] for row in rows if row >= 0] for rows in rows_QK.tolist()]


class ExactIndex(VectorIndex):
    """Every search compares with every vector, so its result is exact.

    Args:
        ids: name of each vector, unique.
        vectors_ND: (N, D) vectors; a memory map stays one.

    Raises:
        ValueError: shapes do not agree, an id stands twice, or a vector is not finite.
    """

    def __init__(self, ids: Sequence[str], vectors_ND: Vectors) -> None:
        check_rows(ids, vectors_ND)
        check_finite(vectors_ND, "the vectors of an index")
        self.ids = list(ids)
        self._vectors_ND = vectors_ND

    @classmethod
    def build(cls, ids: Sequence[str], chunks: Iterable[Vectors], folder: Path) -> ExactIndex:
        """Writes an index a chunk of vectors at a time, so that they need not fit into memory.

        Raises:
            ValueError: as `ExactIndex`.
        """
        vectors_ND = write_vectors(folder / VECTORS, chunks)
        check_rows(ids, vectors_ND)
        write_about(folder, "exact", ids)
        return cls.load(folder)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self._vectors_ND.shape[1])

    def _find(self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None) -> tuple[topk.Scores, topk.Rows]:
        return exact_search(queries_QD, self._vectors_ND, k, allowed)

    def exact_rows(self, queries_QD: Vectors, k: int) -> tuple[topk.Scores, topk.Rows]:
        """`search_rows`."""
        return self.search_rows(queries_QD, k)

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        save_vectors(folder, self._vectors_ND)
        write_about(folder, "exact", self.ids)

    @classmethod
    def load(cls, folder: Path) -> ExactIndex:
        """Opens an index written by `save` or `build`; its vectors stay in the file.

        Raises:
            ValueError: the folder holds no index, or one whose parts do not belong together.
        """
        _, ids, vectors_ND = read_parts(folder, "exact")
        index = cls.__new__(cls)
        index.ids, index._vectors_ND = ids, vectors_ND
        return index


class ShardedIndex(VectorIndex):
    """Several indexes over disjoint vectors as one; exact where its shards are.

    Args:
        shards: the indexes; rows count through them in order.

    Raises:
        ValueError: no shard, shards of different dimensions, or an id in two of them.
    """

    def __init__(self, shards: Sequence[VectorIndex]) -> None:
        if len({shard.dim for shard in shards}) != 1:
            raise ValueError(f"expected shards of one dimension, got {[shard.dim for shard in shards]}")
        self.shards = list(shards)
        self.ids = [id_ for shard in shards for id_ in shard.ids]
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id stands in two shards of the index")
        self._starts = np.cumsum([0, *map(len, shards)])

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.shards[0].dim

    def _find(self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None) -> tuple[topk.Scores, topk.Rows]:
        parts = []
        for shard, start in zip(self.shards, self._starts, strict=False):
            within = None if allowed is None else allowed[(allowed >= start) & (allowed < start + len(shard))] - start
            scores, rows = shard.search_rows(queries_QD, k, within)
            parts.append((scores, np.where(rows < 0, rows, rows + start)))
        return topk.merge(parts, k)

    def exact_rows(self, queries_QD: Vectors, k: int) -> tuple[topk.Scores, topk.Rows]:
        """`search_rows` by comparing with every vector."""
        parts = []
        for shard, start in zip(self.shards, self._starts, strict=False):
            scores, rows = shard.exact_rows(queries_QD, k)
            parts.append((scores, rows + start))
        return topk.merge(parts, min(k, len(self)))

    def save(self, folder: Path) -> None:
        """Writes each shard into a folder of its own within ``folder``."""
        for number, shard in enumerate(self.shards):
            shard.save(folder / f"shard-{number:05d}")


def sampled(queries_QD: Vectors, sample: int, seed: int) -> Vectors:
    """At most ``sample`` of the queries, drawn without replacement."""
    rows = np.random.default_rng(seed).choice(len(queries_QD), min(sample, len(queries_QD)), replace=False)
    return queries_QD[np.sort(rows)]


def share_found(found_QK: topk.Scores, true_QK: topk.Scores) -> float:
    """Share of results that score as well as the exact k-th; 1 where nothing was asked."""
    return float((found_QK >= true_QK[:, -1:]).mean()) if true_QK.size else 1.0


def check_rows(ids: Sequence[str], vectors_ND: Vectors) -> None:
    """Refuses ids that do not fit the vectors.

    Raises:
        ValueError: shapes do not agree, there are too many rows, or an id stands twice.
    """
    if vectors_ND.ndim != 2 or len(ids) != len(vectors_ND):
        raise ValueError(f"expected one row of vectors for each of {len(ids)} ids, got shape {vectors_ND.shape}")
    if len(ids) > topk.MAX_ROWS:
        raise ValueError(f"an index holds at most {topk.MAX_ROWS} vectors, got {len(ids)}; make it of shards")
    if len(set(ids)) != len(ids):
        raise ValueError("an id stands twice in the index")


def save_vectors(folder: Path, vectors_ND: Vectors) -> None:
    """Writes the vectors of an index, unless they lie there already."""
    path = folder / VECTORS
    if isinstance(vectors_ND, np.memmap) and path.exists() and path.samefile(str(vectors_ND.filename)):
        return
    starts = range(0, len(vectors_ND) or 1, _WRITE_ROWS)
    write_vectors(path, (vectors_ND[start : start + _WRITE_ROWS] for start in starts))


def write_about(folder: Path, kind: str, ids: Sequence[str], **settings: Any) -> None:
    """Writes what an index is, and its ids."""
    (folder / _IDS).write_text(json.dumps(list(ids)), encoding="utf-8")
    (folder / _ABOUT).write_text(json.dumps({"kind": kind, **settings}) + "\n", encoding="utf-8")


def read_parts(folder: Path, kind: str) -> tuple[dict[str, Any], list[str], Vectors]:
    """What an index of a kind says of itself, its ids, and its vectors as a memory map.

    Raises:
        ValueError: the folder holds no such index, or one whose parts do not belong together.
    """
    needed = (_ABOUT, _IDS, VECTORS)
    if not all((folder / name).is_file() for name in needed):
        raise ValueError(f"no index in {folder}: expected {', '.join(needed)}")
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        ids = json.loads((folder / _IDS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the index in {folder} cannot be read ({error}); build it again") from None
    if about.get("kind") != kind:
        raise ValueError(f"the index in {folder} is of kind {about.get('kind')}, expected {kind}")
    vectors_ND = open_vectors(folder / VECTORS)
    if len(vectors_ND) != len(ids):
        raise ValueError(f"{folder}: {len(vectors_ND)} vectors but {len(ids)} ids")
    return about, ids, vectors_ND
