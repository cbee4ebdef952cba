"""Exact inner-product search on the CPU that computes most products in int8.

A score is the float64 dot product rounded to float32; results are ordered by score descending, then row ascending.

The gallery is read twice, some chunks at a time. First a cheap product bounds every score from above, and the best of
the bounds are kept. It is computed in int8 where the CPU can, else in float32, and it errs by no more than
Cauchy-Schwarz allows for what was rounded off. With m the gallery's mean, x' = x - m, and q and x' rounded to s Q and
t X:

    |<q, x> - <q, m> - s t <Q, X>| <= |q - s Q| |t X| + |q| |x' - t X|

Then the few vectors whose bound reaches the k-th best score that is certain are scored exactly. A sample of the gallery
gives a first guess of that score. A query for which it was too high, or for which more vectors than were kept could be
among the best, is searched again.

Legend: N gallery vectors, n of them in a chunk, Q queries, D dimensions, P pairs, C bounds kept, K results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from moon.retrieval import bounds, topk
from moon.retrieval.bounds import Block, Gallery
from moon.retrieval.vectors import Vectors, read_rows

_BLOCK_ROWS = 512
_TOGETHER = 4
"""Chunks that threads take before they wait for each other."""
_PAIRS = 256
"""Pairs scored at a time; their vectors fit into the cache."""
_SMALL_WORK = 1 << 31
"""Multiplications that one thread does faster than two can be started."""
_SPARE = 64
"""Bounds kept for each query besides twice as many as results."""

T = TypeVar("T")
R = TypeVar("R")


def exact_search(
    queries_QD: Vectors, vectors_ND: Vectors, k: int, rows: topk.Rows | None = None
) -> tuple[topk.Scores, topk.Rows]:
    """The k largest inner products of each query.

    Args:
        queries_QD: (Q, D) queries, finite.
        vectors_ND: (N, D) gallery, finite; of a read-only memory map only a chunk is in memory at a time.
        k: results a query.
        rows: rows of the gallery that may be found, ascending; None allows all.

    Returns:
        Scores (Q, K) and rows (Q, K), best first, K the smaller of k and the number of rows.
    """
    queries = np.ascontiguousarray(queries_QD, np.float32)
    total = len(vectors_ND) if rows is None else len(rows)
    k = min(k, total)
    if k < 1 or not len(queries):
        return np.empty((len(queries), max(k, 0)), np.float32), np.empty((len(queries), max(k, 0)), np.int64)
    gallery = Gallery(vectors_ND, np.arange(total) if rows is None else rows, len(queries))
    with _Workers(len(queries) * total * queries.shape[1]) as workers:
        keys_QK = _search(queries, gallery, k, 2 * k + _SPARE, workers, guess=True)
    return topk.decode(keys_QK)


class _Workers:
    """Calls a function on many things, in threads where the work is worth them."""

    def __init__(self, work: int) -> None:
        threads = 1 if work < _SMALL_WORK else len(os.sched_getaffinity(0))
        # Products run on one thread each, so that two threads never wait for each other.
        self._pool = (
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) if threads > 1 else None
        )

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """The results, in the order of the things."""
        return list((self._pool.map if self._pool else map)(function, things))


def _search(
    queries_QD: Vectors, gallery: Gallery, k: int, capacity: int, workers: _Workers, *, guess: bool = False
) -> topk.Keys:
    """The best keys of each query, largest first; a guess of the k-th score that was too high is taken back."""
    capacity = min(capacity, gallery.total)
    starts = range(0, len(queries_QD), _BLOCK_ROWS)
    blocks = workers.each(lambda start: Block(queries_QD[start : start + _BLOCK_ROWS], k, capacity, gallery), starts)
    if gallery.sample:
        workers.each(partial(Block.start, sample=gallery.sample, total=gallery.total, guess=guess), blocks)
    chunk_starts = range(0, gallery.total, bounds.CHUNK_ROWS)
    for first in range(0, len(chunk_starts), _TOGETHER):
        chunks = workers.each(gallery.chunk, chunk_starts[first : first + _TOGETHER])
        workers.each(partial(Block.scan, chunks=chunks), blocks)
    workers.each(Block.settle, blocks)
    kept_QC = np.concatenate([block.keys_QC for block in blocks])
    least_Q = np.concatenate([block.least_Q for block in blocks])
    upper_QC, rows_QC = topk.decode(kept_QC)
    place_P = np.flatnonzero((upper_QC >= least_Q[:, None]) & (rows_QC >= 0))
    row_P = rows_QC.ravel()[place_P]
    scores_P = _scored(queries_QD, gallery.read, place_P // capacity, row_P, workers)
    kept_QC[:] = topk.EMPTY
    kept_QC.ravel()[place_P] = topk.encode(scores_P, row_P)
    keys_QK = topk.best(kept_QC, k)
    dropped_Q = np.concatenate([block.dropped_Q for block in blocks])
    kth_Q, _ = topk.decode(keys_QK[:, -1])
    unsure = np.flatnonzero((dropped_Q > keys_QK[:, -1]) | (kth_Q < least_Q))
    if len(unsure):
        keys_QK[unsure] = _search(queries_QD[unsure], gallery, k, 8 * capacity, workers)
    return keys_QK


def exact_keys(queries_QD: Vectors, vectors_ND: Vectors, rows_QC: topk.Rows) -> topk.Keys:
    """The keys (Q, C), by exact score, of candidates (Q, C) that something else found; row -1 is none."""
    place_P = np.flatnonzero(rows_QC >= 0)
    row_P = rows_QC.ravel()[place_P]
    keys_QC = np.full(rows_QC.shape, topk.EMPTY)
    keys_QC.ravel()[place_P] = topk.encode(
        exact_scores(queries_QD, vectors_ND, place_P // rows_QC.shape[1], row_P), row_P
    )
    return keys_QC


def exact_scores(queries_QD: Vectors, vectors_ND: Vectors, query_P: NDArray[np.int64], row_P: topk.Rows) -> topk.Scores:
    """The scores (P,) of pairs of a query and a row of the gallery, which is read once, in order."""
    queries = np.ascontiguousarray(queries_QD, np.float32)
    with _Workers(64 * len(row_P) * queries.shape[1]) as workers:
        return _scored(queries, lambda rows: read_rows(vectors_ND, rows), query_P, row_P, workers)


def _scored(
    queries_QD: Vectors,
    read: Callable[[topk.Rows], Vectors],
    query_P: NDArray[np.int64],
    row_P: topk.Rows,
    workers: _Workers,
) -> topk.Scores:
    order_P = np.argsort(row_P, kind="stable")
    sorted_P = row_P[order_P]
    first_U = np.flatnonzero(np.diff(sorted_P, prepend=-1))  # where the pairs of each distinct row begin
    scores_P = np.empty(len(row_P), np.float32)

    def score(start: int) -> None:
        distinct = sorted_P[first_U[start : start + bounds.CHUNK_ROWS]]
        last = first_U[start + bounds.CHUNK_ROWS] if start + bounds.CHUNK_ROWS < len(first_U) else len(row_P)
        pairs = slice(first_U[start], last)
        column_P = np.searchsorted(distinct, sorted_P[pairs])
        scores_P[order_P[pairs]] = _scores(queries_QD, query_P[order_P[pairs]], read(distinct), column_P)

    workers.each(score, range(0, len(first_U), bounds.CHUNK_ROWS))
    return scores_P


def _scores(
    queries_QD: Vectors, query_P: NDArray[np.int64], vectors_nD: Vectors, column_P: NDArray[np.int64]
) -> topk.Scores:
    """The exact scores of pairs."""
    scores_P = np.empty(len(query_P))
    narrow = np.empty((2, _PAIRS, queries_QD.shape[1]), np.float32)
    wide = np.empty(narrow.shape)
    for start in range(0, len(query_P), _PAIRS):
        piece = slice(start, start + _PAIRS)
        p = len(query_P[piece])
        # Without bounds checks ("clip"), take writes straight into its output.
        np.take(queries_QD, query_P[piece], axis=0, out=narrow[0, :p], mode="clip")
        np.take(vectors_nD, column_P[piece], axis=0, out=narrow[1, :p], mode="clip")
        wide[:, :p] = narrow[:, :p]
        np.einsum("pd,pd->p", wide[0, :p], wide[1, :p], out=scores_P[piece])
    return scores_P.astype(np.float32)
