"""The cheap first pass of the exact search: an upper bound of every score, and the best of the bounds.

See `moon.retrieval.exact` for what bounds what. Legend: N gallery vectors, n of them in a chunk, S of them in the
sample, Q queries, D dimensions, P pairs, C bounds kept.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moon.retrieval import topk
from moon.retrieval.vectors import Vectors, read_rows

CHUNK_ROWS = 2048
"""Gallery vectors whose products are computed at once."""
_SAMPLE_ROWS = 4096
SAMPLE_SHARE = 8
"""One of so many rows at most is in the sample."""
_FEW_QUERIES = 64
"""Below this, rounding the gallery to int8 costs more than it saves."""
_DENSE = 0.1
"""Share of pairs that pass the cheap product from which on scoring all of them is faster."""
_GROUP = 4
"""Vectors of the sample of which only the best counts: that is found faster, and nearly the same."""
_LUCK = 4
"""Standard deviations above the expectation that a guess allows for."""
_WAITING = 64
"""Bounds a query that may wait until they are merged."""
_FLOAT_ERROR = 2.0**-22
"""Four times the unit round-off of float32."""


@dataclass(frozen=True)
class Chunk:
    """A part of the gallery; ``rounded_Dn`` is what the cheap product multiplies with."""

    vectors_nD: Vectors
    rows_n: topk.Rows
    rounded_Dn: torch.Tensor
    scale: float
    lost: float
    """Largest norm of what rounding took off a vector."""
    norm: float
    """Largest norm of a rounded vector."""


class Gallery:
    """The gallery as chunks, and whether the cheap product is in int8."""

    def __init__(self, vectors_ND: Vectors, rows: topk.Rows, queries: int) -> None:
        self._vectors_ND, self.rows, self.total = vectors_ND, rows, len(rows)
        self.int8 = self.total > CHUNK_ROWS and queries >= _FEW_QUERIES and bool(torch.cpu._is_vnni_supported())
        self.mean_D = np.zeros(vectors_ND.shape[1], np.float32)
        self.sample: Chunk | None = None
        """Vectors that a first look at the gallery starts with."""
        if self.total > 2 * CHUNK_ROWS:
            step = max(self.total // _SAMPLE_ROWS, SAMPLE_SHARE)
            sample_SD = self.read(rows[::step])
            if self.int8:
                self.mean_D = sample_SD.mean(axis=0)
            self.sample = self._chunk(sample_SD, rows[::step])

    def read(self, rows: topk.Rows) -> Vectors:
        """Vectors (n, D) of these rows."""
        return read_rows(self._vectors_ND, rows)

    def chunk(self, start: int) -> Chunk:
        """The chunk that begins at a position."""
        rows = self.rows[start : start + CHUNK_ROWS]
        return self._chunk(self.read(rows), rows)

    def _chunk(self, vectors_nD: Vectors, rows_n: topk.Rows) -> Chunk:
        return self._rounded(vectors_nD, rows_n) if self.int8 else _plain(vectors_nD, rows_n)

    def _rounded(self, vectors_nD: Vectors, rows_n: topk.Rows) -> Chunk:
        rest_nD = vectors_nD - self.mean_D
        scale = np.float32(max(rest_nD.max(), -rest_nD.min()) / 127) or np.float32(1)
        rounded_nD = np.rint(rest_nD / scale)
        columns_Dn = np.ascontiguousarray(rounded_nD.astype(np.int8).T)
        rounded_nD *= scale
        norm = _norms(rounded_nD).max()
        rest_nD -= rounded_nD
        lost = _norms(rest_nD).max()
        return Chunk(vectors_nD, rows_n, torch.from_numpy(columns_Dn), float(scale), float(lost), float(norm))


def _plain(vectors_nD: Vectors, rows_n: topk.Rows) -> Chunk:
    return Chunk(vectors_nD, rows_n, torch.from_numpy(vectors_nD).T, 1.0, 0.0, float(_norms(vectors_nD).max()))


def _norms(vectors: Vectors) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors).astype(np.float64)) * (1 + _FLOAT_ERROR * vectors.shape[1])


class Block:
    """Some queries and the best bounds found for them so far."""

    def __init__(self, queries_QD: Vectors, k: int, capacity: int, gallery: Gallery) -> None:
        queries_QD = np.require(queries_QD, requirements=["C", "W"])  # torch takes no read-only memory
        self._queries_QD, self._k = queries_QD, k
        self._norm_Q = _norms(queries_QD)
        self._scale_Q = np.ones(len(queries_QD))
        self._lost_Q = np.zeros(len(queries_QD))
        self._offset_Q = np.zeros(len(queries_QD))
        self._rounded_QD = torch.from_numpy(queries_QD)
        if gallery.int8:
            self._round(gallery.mean_D)
        self.keys_QC: topk.Keys = np.full((len(queries_QD), capacity), topk.EMPTY)
        """The best keys by bound, in no order."""
        self.dropped_Q: topk.Keys = np.full(len(queries_QD), topk.EMPTY)
        """The best key that there was no room for."""
        self.least_Q = np.full(len(queries_QD), -np.inf, np.float32)
        """Vectors that score less are passed over: k that score this much are certain, or guessed."""
        self._error_Q = np.zeros(len(queries_QD))
        self._waiting: list[tuple[NDArray[np.int64], topk.Keys]] = []

    def _round(self, mean_D: NDArray[np.float32]) -> None:
        largest_Q = np.abs(self._queries_QD).max(axis=1).astype(np.float64)
        self._scale_Q = np.where(largest_Q > 0, largest_Q, 1) / 127
        rounded_QD = np.rint(self._queries_QD / self._scale_Q[:, None])
        self._lost_Q = np.linalg.norm(self._queries_QD - rounded_QD * self._scale_Q[:, None], axis=1)
        self._offset_Q = self._queries_QD.astype(np.float64) @ mean_D.astype(np.float64)
        self._rounded_QD = torch.from_numpy(rounded_QD.astype(np.int8))

    def start(self, sample: Chunk, total: int, guess: bool) -> None:
        """Sets the least score to the sample's k-th best, which is certain, or to what likely is above it.

        Of the gallery's k best, a number close to Poisson's lies in the sample: as many as it may hold but for bad luck
        are skipped.
        """
        expected = self._k * len(sample.rows_n) / total
        rank = math.ceil(expected + _LUCK * math.sqrt(expected)) + 2 if guess else self._k
        groups = len(sample.rows_n) // _GROUP
        if (guess and rank >= self._k) or rank > groups:
            return
        unit_Q, error_Q = self._unit_and_error(sample)
        products_QS = _multiply(self._rounded_QD, sample.rounded_Dn)
        best_QG = products_QS[:, : groups * _GROUP].reshape(-1, _GROUP, groups).max(axis=1)
        best_QG.partition(groups - rank, axis=1)
        least_Q = best_QG[:, groups - rank] * unit_Q + self._offset_Q
        if not guess:
            least_Q = np.nextafter((least_Q - error_Q).astype(np.float32), np.float32(-np.inf))
        self.least_Q = least_Q.astype(np.float32)

    def _unit_and_error(self, chunk: Chunk) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a product counts in scores, and how far the score that it stands for can be from the exact one."""
        error_Q = self._lost_Q * chunk.norm + self._norm_Q * chunk.lost
        error_Q += self._float_error(chunk.norm + chunk.lost + np.abs(self._offset_Q))
        return self._scale_Q * chunk.scale, error_Q

    def _float_error(self, norm: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """How far a float32 product with vectors of at most this norm can be from the exact score."""
        return _FLOAT_ERROR * self._queries_QD.shape[1] * self._norm_Q * norm + np.finfo(np.float32).tiny

    def scan(self, chunks: Iterable[Chunk]) -> None:
        """Takes in the bounds of the vectors of chunks."""
        for chunk in chunks:
            self._scan(chunk)

    def _scan(self, chunk: Chunk) -> None:
        unit_Q, error_Q = self._unit_and_error(chunk)
        # A bound is unit * product + shift; it is compared as an integer.
        shift_Q = self._offset_Q + error_Q
        products_Qn = _multiply(self._rounded_QD, chunk.rounded_Dn)
        lowest_Q = (self.least_Q - shift_Q) / unit_Q
        if products_Qn.dtype == np.int32:
            lowest_Q = np.clip(np.floor(lowest_Q), -(2**31), 2**31 - 1)
        places_P = _at_least(products_Qn, lowest_Q.astype(products_Qn.dtype))
        if len(places_P) > _DENSE * products_Qn.size:
            scores_Qn = _exact_product(self._queries_QD, chunk.vectors_nD)
            self._keep(np.arange(len(scores_Qn)), topk.encode(scores_Qn, chunk.rows_n[None]))
        elif len(places_P):
            query_P, column_P = np.divmod(places_P, len(chunk.rows_n))
            bounds_P = (products_Qn.ravel()[places_P] * unit_Q[query_P] + shift_Q[query_P]).astype(np.float32)
            self._error_Q = np.maximum(self._error_Q, error_Q)
            self._waiting.append((query_P, topk.encode(bounds_P, chunk.rows_n[column_P])))
            if sum(len(query_P) for query_P, _ in self._waiting) > _WAITING * len(self._queries_QD):
                self.settle()

    def settle(self) -> None:
        """Merges the bounds that wait."""
        if self._waiting:
            query_P, keys_P = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            order_P = np.argsort(query_P, kind="stable")
            self._keep(*_lines(query_P[order_P], keys_P[order_P]))

    def _keep(self, queries: NDArray[np.int64], keys_QC: topk.Keys) -> None:
        """Merges new keys into those of some queries and raises the least score that is certain."""
        new = keys_QC.shape[1]
        both = np.concatenate([self.keys_QC[queries], keys_QC], axis=1)
        both.partition((new, both.shape[1] - self._k), axis=1)
        self.keys_QC[queries] = both[:, new:]
        self.dropped_Q[queries] = np.maximum(self.dropped_Q[queries], both[:, :new].max(axis=1))
        kth_Q, _ = topk.decode(both[:, both.shape[1] - self._k])
        certain_Q = np.nextafter((kth_Q - 2 * self._error_Q[queries]).astype(np.float32), np.float32(-np.inf))
        self.least_Q[queries] = np.maximum(self.least_Q[queries], certain_Q)


_workspace = threading.local()
"""Memory for the products of a chunk, kept for each thread: fresh pages cost as much as the comparison."""


def _space(name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Memory of this thread, whatever was left in it."""
    kept: torch.Tensor | None = getattr(_workspace, name, None)
    if kept is None or len(kept) < size or kept.dtype != dtype:
        kept = torch.empty(size, dtype=dtype)
        setattr(_workspace, name, kept)
    return kept[:size]


def _multiply(left_QD: torch.Tensor, right_Dn: torch.Tensor) -> NDArray[np.int32] | NDArray[np.float32]:
    """The product, valid until this thread's next."""
    int8 = left_QD.dtype == torch.int8
    shape = len(left_QD), right_Dn.shape[1]
    out_Qn = _space("products", shape[0] * shape[1], torch.int32 if int8 else torch.float32).view(shape)
    (torch._int_mm if int8 else torch.mm)(left_QD, right_Dn, out=out_Qn)
    product: NDArray[np.int32] | NDArray[np.float32] = out_Qn.numpy()
    return product


def _at_least(
    products_Qn: NDArray[np.int32] | NDArray[np.float32], lowest_Q: NDArray[np.number[Any]]
) -> NDArray[np.int64]:
    """Flat places of the products that reach their query's lowest, ascending."""
    hits_Qn = _space("hits", products_Qn.size, torch.bool).view(products_Qn.shape).numpy()
    return np.flatnonzero(np.greater_equal(products_Qn, lowest_Q[:, None], out=hits_Qn))


def _exact_product(queries_QD: Vectors, vectors_nD: Vectors) -> topk.Scores:
    scores_Qn: topk.Scores = (
        (torch.from_numpy(queries_QD).double() @ torch.from_numpy(vectors_nD).double().T).float().numpy()
    )
    return scores_Qn


def _lines(query_P: NDArray[np.int64], keys_P: topk.Keys) -> tuple[NDArray[np.int64], topk.Keys]:
    """The queries of pairs sorted by query, and the keys of each as a line of a matrix."""
    queries, first, counts = np.unique(query_P, return_index=True, return_counts=True)
    keys_QC = np.full((len(queries), counts.max()), topk.EMPTY)
    line_P = np.repeat(np.arange(len(queries)), counts)
    keys_QC[line_P, np.arange(len(query_P)) - first[line_P]] = keys_P
    return queries, keys_QC
