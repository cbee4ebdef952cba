"""Approximate inner-product search: faiss's inverted file and product quantiser propose, exact scores decide.

faiss keeps each vector as half a byte a pair or quadruple of dimensions and looks into the cells nearest to the query;
what it proposes is scored with the vectors themselves, which stay in a memory map. So scores and order are exact, and
what can be missed is measured against exact search.

Legend: N vectors, Q queries, D dimensions, K results a query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from moon.progress import track
from moon.retrieval import topk
from moon.retrieval.exact import exact_keys, exact_search
from moon.retrieval.index import (
    VectorIndex,
    check_rows,
    read_parts,
    sampled,
    save_vectors,
    share_found,
    write_about,
)
from moon.retrieval.vectors import Vectors, check_finite, read_rows

_CELLS = "cells.faiss"
_CHUNK_ROWS = 16_384
_QUERY_ROWS = 4096
_TRAINING_ROWS_PER_CELL = 40
_LEAST_ROWS = 4096
"""Fewer vectors do not train a quantiser worth having."""
_LEAST_PROPOSALS = 64
_MOST_REFINE = 64


class ApproximateIndex(VectorIndex):
    """An inverted file whose proposals are scored exactly; `build` makes one.

    Args:
        ids: name of each vector.
        vectors_ND: (N, D) vectors, best a memory map.
        cells: faiss's trained and filled index over the same rows.
        probes: cells searched for a query.
        refine: proposals for each result.
    """

    def __init__(self, ids: Sequence[str], vectors_ND: Vectors, cells: Any, probes: int = 8, refine: int = 4) -> None:
        check_rows(ids, vectors_ND)
        if cells.ntotal != len(ids):
            raise ValueError(f"the index holds {cells.ntotal} vectors but {len(ids)} ids")
        self.ids = list(ids)
        self.probes, self.refine = probes, refine
        self._vectors_ND, self._cells = vectors_ND, cells

    @classmethod
    def build(cls, ids: Sequence[str], vectors_ND: Vectors, seed: int = 0) -> ApproximateIndex:
        """Trains on a seeded sample and adds the vectors a chunk at a time.

        Args:
            ids: name of each vector.
            vectors_ND: (N, D) vectors; of a memory map only a chunk and the sample are in memory at a time.
            seed: of the sample and of the clustering.

        Raises:
            ValueError: too few vectors to train on, ids that do not fit, or a vector that is not finite.
        """
        check_rows(ids, vectors_ND)
        total, dim = vectors_ND.shape
        if total < _LEAST_ROWS:
            raise ValueError(
                f"an approximate index needs at least {_LEAST_ROWS} vectors, got {total}; use an exact one"
            )
        check_finite(vectors_ND, "the vectors of an index")
        cells = 2 ** int(math.log2(min(3 * math.sqrt(total), total / _TRAINING_ROWS_PER_CELL)))
        wanted = min(total, _TRAINING_ROWS_PER_CELL * cells)
        chosen = np.sort(np.random.default_rng(seed).choice(total, wanted, replace=False))
        sample = read_rows(vectors_ND, chosen)
        # Half a byte for every four dimensions; dimensions that four does not divide are taken one by one.
        quantizers = dim // 4 if dim % 4 == 0 else dim
        index: Any = faiss.index_factory(dim, f"IVF{cells},PQ{quantizers}x4fs", faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed + 1
        index.train(sample)
        starts = range(0, total, _CHUNK_ROWS)
        for start in track(starts, "indexing vectors", len(starts)):
            index.add(read_rows(vectors_ND, np.arange(start, min(start + _CHUNK_ROWS, total))))
        return cls(ids, vectors_ND, index)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self._vectors_ND.shape[1])

    def _find(self, queries_QD: Vectors, k: int, allowed: NDArray[np.int64] | None) -> tuple[topk.Scores, topk.Rows]:
        if allowed is not None:
            return exact_search(queries_QD, self._vectors_ND, k, allowed)
        return self._refined(queries_QD, k, self.probes, self.refine)

    def _refined(self, queries_QD: Vectors, k: int, probes: int, refine: int) -> tuple[topk.Scores, topk.Rows]:
        """The best by exact score of what faiss proposes."""
        queries = np.ascontiguousarray(queries_QD, np.float32)
        options: Any = faiss.SearchParametersIVF()
        options.nprobe = probes
        proposals = min(max(refine * k, _LEAST_PROPOSALS), len(self))
        found = []
        for start in range(0, len(queries), _QUERY_ROWS):
            block = queries[start : start + _QUERY_ROWS]
            _, rows = self._cells.search(block, proposals, params=options)
            found.append(topk.best(exact_keys(block, self._vectors_ND, rows), k))
        return topk.decode(np.concatenate(found))

    def exact_rows(self, queries_QD: Vectors, k: int) -> tuple[topk.Scores, topk.Rows]:
        """`search_rows` by comparing with every vector."""
        return exact_search(queries_QD, self._vectors_ND, k)

    def tune(self, queries_QD: Vectors, k: int, target: float, sample: int = 256, seed: int = 0) -> float:
        """Doubles the cells searched or the proposals, whichever helps more, until a sample reaches a recall.

        Args:
            queries_QD: (Q, D) queries like those to come.
            k: results a query.
            target: recall@k wanted.
            sample: queries to measure on.
            seed: of the sample.

        Returns:
            The recall@k reached, which is below ``target`` only if all cells do not suffice.
        """
        chosen = sampled(queries_QD, sample, seed)
        k = min(k, len(self))
        true_QK, _ = self.exact_rows(chosen, k)
        reached = share_found(self.search_rows(chosen, k)[0], true_QK)
        while reached < target:
            tried = []
            for probes, refine in ((2 * self.probes, self.refine), (self.probes, 2 * self.refine)):
                if refine <= _MOST_REFINE and probes < 2 * self._cells.nlist:
                    tried.append((share_found(self._refined(chosen, k, probes, refine)[0], true_QK), probes, refine))
            if not tried:
                break
            reached, self.probes, self.refine = max(tried, key=lambda one: one[0])
        return reached

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        save_vectors(folder, self._vectors_ND)
        faiss.write_index(self._cells, str(folder / _CELLS))
        write_about(folder, "approximate", self.ids, probes=self.probes, refine=self.refine)

    @classmethod
    def load(cls, folder: Path) -> ApproximateIndex:
        """Opens an index written by `save`; its vectors stay in the file.

        Raises:
            ValueError: the folder holds no such index, or one whose parts do not belong together.
        """
        about, ids, vectors_ND = read_parts(folder, "approximate")
        if not (folder / _CELLS).is_file():
            raise ValueError(f"no index in {folder}: expected {_CELLS}")
        cells = faiss.read_index(str(folder / _CELLS))
        return cls(ids, vectors_ND, cells, about["probes"], about["refine"])
