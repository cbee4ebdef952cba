"""Exact ranks under the order of trec_eval: score descending, then document id descending.

Counting only the candidates that score strictly higher than the right answer gives a collapsed embedder, whose scores
are all equal, a perfect result. Here an equal score ranks ahead when its id is greater as a string, so the result does
not depend on the order in which the candidates arrive and a constant scorer stays at chance.

No row is sorted: a rank is one more than the candidates that beat the positive, counted while a block of scores is in
the processor's cache.

Shape suffixes: Q queries, G gallery, D dimensions, K results, C rows of one chunk, P positives of one query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moon.evaluation.ranks import Ints, Ranks

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

CHUNK_CELLS = 4_000_000
"""Scores held at a time by default, 32 MB as float64."""
_DECIMALS = 9
_MANY = 16
"""Positives of a query from which its scores are sorted once rather than compared with each."""


def rank_scores(
    scores_QG: Floats,
    gallery_ids: Sequence[str],
    positives: Sequence[Collection[str]],
    excluded: Sequence[Collection[str]] | None = None,
) -> Ranks:
    """Ranks the positives of each query from a score matrix.

    Args:
        scores_QG: higher is better; infinities are allowed, NaN is not.
        gallery_ids: [G] distinct ids.
        positives: [Q] ids of the right answers, at least one a query.
        excluded: [Q] ids that are no candidates for that query: itself, or answers known from elsewhere.

    Raises:
        ValueError: NaN, shapes that do not fit, duplicate ids, a query without a positive, an id that is not in the
            gallery, or one that is both positive and excluded.
    """
    counter = _Counter(gallery_ids, positives, excluded)
    _check_scores(scores_QG, len(positives), len(gallery_ids))
    counter.add(np.array(scores_QG, dtype=np.float64))
    return counter.ranks()


def rank_embeddings(
    queries_QD: Floats,
    gallery_GD: Floats,
    gallery_ids: Sequence[str],
    positives: Sequence[Collection[str]],
    excluded: Sequence[Collection[str]] | None = None,
    chunk_cells: int = CHUNK_CELLS,
) -> Ranks:
    """Ranks by inner product, like `rank_scores`, holding at most about ``chunk_cells`` scores at a time."""
    counter = _Counter(gallery_ids, positives, excluded)
    gallery_DG = gallery_GD.astype(np.float64).T
    for rows in chunks(len(positives), len(gallery_ids), chunk_cells):
        scores_CG = queries_QD[rows].astype(np.float64) * 10.0**_DECIMALS @ gallery_DG
        _check_scores(scores_CG, rows.stop - rows.start, len(gallery_ids))
        counter.add(np.rint(scores_CG, out=scores_CG))  # equal where `inner_products` are
    return counter.ranks()


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
    dropped_QG = np.zeros(scores_QG.shape, dtype=np.bool_)
    for query, members in enumerate(excluded or ()):
        dropped_QG[query, order.find(query, members)] = True
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

    def find(self, query: int, members: Collection[str]) -> Ints:
        """Columns of ``members``, which a query names."""
        try:
            return np.array([self.column[member] for member in members], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"query {query} refers to {error} which is not in the gallery") from None


@dataclass
class _Found:
    """The rows of `Ranks`, query by query."""

    ranks: list[Ints] = field(default_factory=list)
    columns: list[Ints] = field(default_factory=list)
    numbers: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


class _Counter:
    """Counts what beats the positives of one query after the other, in the order of the queries."""

    def __init__(
        self,
        gallery_ids: Sequence[str],
        positives: Sequence[Collection[str]],
        excluded: Sequence[Collection[str]] | None,
    ) -> None:
        order = _Order(gallery_ids)
        excluded = excluded if excluded is not None else [()] * len(positives)
        _check_members(positives, excluded)
        self._precedence_G = order.precedence_G
        self._positives = [order.find(query, set(members)) for query, members in enumerate(positives)]
        self._dropped = [order.find(query, set(members)) for query, members in enumerate(excluded)]
        self._found = _Found()

    def add(self, scores_CG: npt.NDArray[np.float64]) -> None:
        """Ranks the next queries; overwrites ``scores_CG``."""
        for scores_G in scores_CG:
            query = len(self._found.numbers)
            columns_P, dropped = self._positives[query], self._dropped[query]
            scores_P = scores_G[columns_P]
            scores_G[dropped] = np.nan  # neither more than anything nor equal to anything
            ahead_P, equal_P = _beaten_by(scores_G, scores_P)
            ranks_P = 1 + ahead_P
            for place in np.flatnonzero(equal_P > 1):
                tied = np.flatnonzero(scores_G == scores_P[place])
                ranks_P[place] += np.count_nonzero(self._precedence_G[tied] > self._precedence_G[columns_P[place]])
            order_P = np.argsort(ranks_P)
            first = order_P[0]
            self._found.ranks.append(ranks_P[order_P])
            self._found.columns.append(columns_P[order_P])
            self._found.numbers.append(
                (
                    len(columns_P),
                    len(scores_G) - len(dropped),
                    columns_P[first] if ranks_P[first] == 1 else self._top(scores_G),
                    int(ahead_P[first]),
                    int(equal_P[first]),
                    int(np.count_nonzero(scores_P == scores_P[first])),
                )
            )

    def _top(self, scores_G: npt.NDArray[np.float64]) -> int:
        best = np.flatnonzero(scores_G == np.fmax.reduce(scores_G))
        return int(best[self._precedence_G[best].argmax()])

    def ranks(self) -> Ranks:
        """Those of all queries."""
        numbers = np.array(self._found.numbers, dtype=np.int64).reshape(-1, 6)
        none = [np.zeros(0, np.int64)]
        return Ranks(
            ranks_F=np.concatenate(self._found.ranks or none),
            columns_F=np.concatenate(self._found.columns or none),
            counts=numbers[:, 0],
            candidates=numbers[:, 1],
            top=numbers[:, 2],
            ahead=numbers[:, 3],
            tie_size=numbers[:, 4],
            tie_right=numbers[:, 5],
        )


def _beaten_by(scores_G: npt.NDArray[np.float64], scores_P: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """[P] how many candidates score higher, and [P] how many the same; NaN is no candidate."""
    if len(scores_P) < _MANY:
        ahead = [np.count_nonzero(scores_G > score) for score in scores_P]
        equal = [np.count_nonzero(scores_G == score) for score in scores_P]
        return np.array(ahead, dtype=np.int64), np.array(equal, dtype=np.int64)
    ascending = np.sort(scores_G[~np.isnan(scores_G)])
    left, right = (np.searchsorted(ascending, scores_P, side=side) for side in ("left", "right"))
    return len(ascending) - right, right - left


def _check_members(positives: Sequence[Collection[str]], excluded: Sequence[Collection[str]]) -> None:
    if len(excluded) != len(positives):
        raise ValueError(f"expected one collection of excluded ids a query, got {len(excluded)} for {len(positives)}")
    for query, (right, left_out) in enumerate(zip(positives, excluded, strict=True)):
        if not right:
            raise ValueError(f"query {query} has no positive; leave such queries out before ranking")
        if both := set(right) & set(left_out):
            raise ValueError(f"query {query} has {sorted(both)[0]!r} both as a positive and as excluded")


def _check_scores(scores_QG: Floats, queries: int, gallery: int) -> None:
    if scores_QG.shape != (queries, gallery):
        raise ValueError(f"expected scores of shape ({queries}, {gallery}), got {scores_QG.shape}")
    if np.isnan(scores_QG.min(initial=np.inf)):
        raise ValueError(f"{int(np.isnan(scores_QG).sum())} scores are NaN; they have no place in a ranking")


def chunks(queries: int, gallery: int, chunk_cells: int = CHUNK_CELLS) -> Iterator[slice]:
    """Slices of queries that make about ``chunk_cells`` scores each, and at least one query."""
    rows = max(1, chunk_cells // max(1, gallery))
    for start in range(0, queries, rows):
        yield slice(start, min(start + rows, queries))
