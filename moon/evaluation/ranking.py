"""Exact ranks under the order of trec_eval: score descending, then document id descending.

Counting only the candidates that score strictly higher than the right answer gives a collapsed embedder, whose scores
are all equal, a perfect result. Here an equal score ranks ahead when its id is greater as a string, so the result does
not depend on the order in which the candidates arrive and a constant scorer stays at chance.

Shape suffixes: Q queries, G gallery, D dimensions, K results, C rows of one chunk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

CHUNK_CELLS = 4_000_000
"""Scores held at a time by default, 32 MB as float64."""
_DECIMALS = 9


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where the first right answer of each query stands."""

    first: npt.NDArray[np.int64]
    """[Q] rank of the first positive, from 1."""
    tied: Bools
    """[Q] whether that positive has the same score as some non-positive."""

    def hits(self, k: int) -> npt.NDArray[np.float64]:
        """[Q] 1.0 where a positive is among the first ``k``: Recall@k as a hit rate, also with many positives."""
        return (self.first <= k).astype(np.float64)

    def reciprocal(self) -> npt.NDArray[np.float64]:
        """[Q] reciprocal rank of the first positive; its mean is the MRR."""
        return 1.0 / self.first


def rank_scores(
    scores_QG: Floats,
    gallery_ids: Sequence[str],
    positives: Sequence[Collection[str]],
    excluded: Sequence[Collection[str]] | None = None,
) -> Ranks:
    """Ranks the first positive of each query from a score matrix.

    Args:
        scores_QG: higher is better; infinities are allowed, NaN is not.
        gallery_ids: [G] distinct ids.
        positives: [Q] ids of the right answers, at least one a query.
        excluded: [Q] ids that are no candidates for that query: itself, or answers known from elsewhere.

    Raises:
        ValueError: NaN, shapes that do not fit, duplicate ids, a query without a positive, an id that is not in the
            gallery, or one that is both positive and excluded.
    """
    order = _Order(gallery_ids)
    positive, dropped = _membership(order, positives, excluded)
    _check_scores(scores_QG, len(positives), len(gallery_ids))
    return _rank_chunk(scores_QG, order.precedence_G, positive.mask(slice(None)), dropped.mask(slice(None)))


def rank_embeddings(
    queries_QD: Floats,
    gallery_GD: Floats,
    gallery_ids: Sequence[str],
    positives: Sequence[Collection[str]],
    excluded: Sequence[Collection[str]] | None = None,
    chunk_cells: int = CHUNK_CELLS,
) -> Ranks:
    """Ranks by inner product, like `rank_scores`, holding at most about ``chunk_cells`` scores at a time."""
    order = _Order(gallery_ids)
    positive, dropped = _membership(order, positives, excluded)
    parts = []
    for rows in chunks(len(positives), len(gallery_ids), chunk_cells):
        scores_CG = inner_products(queries_QD[rows], gallery_GD)
        _check_scores(scores_CG, rows.stop - rows.start, len(gallery_ids))
        parts.append(_rank_chunk(scores_CG, order.precedence_G, positive.mask(rows), dropped.mask(rows)))
    return Ranks(
        first=np.concatenate([part.first for part in parts] or [np.zeros(0, np.int64)]),
        tied=np.concatenate([part.tied for part in parts] or [np.zeros(0, np.bool_)]),
    )


def top_k(
    scores_QG: Floats,
    gallery_ids: Sequence[str],
    k: int,
    excluded: Sequence[Collection[str]] | None = None,
) -> npt.NDArray[np.int64]:
    """[Q, min(k, G)] gallery positions, best first, in the order that `rank_scores` counts in.

    Excluded ids come last; -1 stands where they would fall among the first ``k``.
    """
    order = _Order(gallery_ids)
    _check_scores(scores_QG, len(scores_QG), len(gallery_ids))
    dropped_QG = _Members(order, excluded or [()] * len(scores_QG)).mask(slice(None))
    best_QK = np.empty((len(scores_QG), min(k, len(gallery_ids))), dtype=np.int64)
    for row, (scores_G, dropped_G) in enumerate(zip(scores_QG, dropped_QG, strict=True)):
        best = np.lexsort((-order.precedence_G, -scores_G, dropped_G))[: best_QK.shape[1]]
        best_QK[row] = np.where(dropped_G[best], -1, best)
    return best_QK


def inner_products(queries_QD: Floats, gallery_GD: Floats) -> npt.NDArray[np.float64]:
    """[Q, G] scores in float64, rounded to nine decimals.

    A matrix product may sum the same numbers in another order for another row or chunk; the rounding makes identical
    vectors tie exactly wherever they stand.
    """
    scores_QG: npt.NDArray[np.float64] = queries_QD.astype(np.float64) @ gallery_GD.astype(np.float64).T
    return np.round(scores_QG, _DECIMALS, out=scores_QG)


class _Order:
    """Columns of the gallery by id, and which id goes first on equal scores."""

    def __init__(self, gallery_ids: Sequence[str]) -> None:
        self.column = {gallery_id: column for column, gallery_id in enumerate(gallery_ids)}
        if len(self.column) != len(gallery_ids):
            raise ValueError(f"gallery ids must be distinct, got {len(gallery_ids) - len(self.column)} repeated")
        ascending = sorted(range(len(gallery_ids)), key=gallery_ids.__getitem__)
        self.precedence_G = np.empty(len(gallery_ids), dtype=np.int64)
        self.precedence_G[ascending] = np.arange(len(gallery_ids))


class _Members:
    """A sparse [Q, G] boolean matrix from which dense rows are cut chunk by chunk."""

    def __init__(self, order: _Order, ids: Sequence[Collection[str]]) -> None:
        self._columns = [self._find(order, query, members) for query, members in enumerate(ids)]
        self._width = len(order.column)

    @staticmethod
    def _find(order: _Order, query: int, members: Collection[str]) -> list[int]:
        try:
            return [order.column[member] for member in members]
        except KeyError as error:
            raise ValueError(f"query {query} refers to {error} which is not in the gallery") from None

    def mask(self, rows: slice) -> Bools:
        columns = self._columns[rows]
        mask = np.zeros((len(columns), self._width), dtype=np.bool_)
        for row, members in enumerate(columns):
            mask[row, members] = True
        return mask


def _membership(
    order: _Order, positives: Sequence[Collection[str]], excluded: Sequence[Collection[str]] | None
) -> tuple[_Members, _Members]:
    excluded = excluded if excluded is not None else [()] * len(positives)
    if len(excluded) != len(positives):
        raise ValueError(f"expected one collection of excluded ids a query, got {len(excluded)} for {len(positives)}")
    for query, (right, left_out) in enumerate(zip(positives, excluded, strict=True)):
        if not right:
            raise ValueError(f"query {query} has no positive; leave such queries out before ranking")
        if both := set(right) & set(left_out):
            raise ValueError(f"query {query} has {sorted(both)[0]!r} both as a positive and as excluded")
    return _Members(order, positives), _Members(order, excluded)


def _check_scores(scores_QG: Floats, queries: int, gallery: int) -> None:
    if scores_QG.shape != (queries, gallery):
        raise ValueError(f"expected scores of shape ({queries}, {gallery}), got {scores_QG.shape}")
    if np.isnan(scores_QG).any():
        raise ValueError(f"{int(np.isnan(scores_QG).sum())} scores are NaN; they have no place in a ranking")


def chunks(queries: int, gallery: int, chunk_cells: int = CHUNK_CELLS) -> Iterator[slice]:
    """Slices of queries that make about ``chunk_cells`` scores each, and at least one query."""
    rows = max(1, chunk_cells // max(1, gallery))
    for start in range(0, queries, rows):
        yield slice(start, min(start + rows, queries))


def _rank_chunk(scores_CG: Floats, precedence_G: npt.NDArray[np.int64], positive_CG: Bools, dropped_CG: Bools) -> Ranks:
    best_C1 = np.where(positive_CG, scores_CG, -np.inf).max(axis=1, keepdims=True)
    equal_CG = (scores_CG == best_C1) & ~dropped_CG
    first_C1 = np.where(equal_CG & positive_CG, precedence_G, -1).max(axis=1, keepdims=True)
    ahead_CG = ((scores_CG > best_C1) & ~dropped_CG) | (equal_CG & (precedence_G > first_C1))
    return Ranks(first=1 + ahead_CG.sum(axis=1, dtype=np.int64), tied=(equal_CG & ~positive_CG).any(axis=1))
