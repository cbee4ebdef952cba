"""Hard negatives: products of the same category that lie nearest to a query and were not bought for it (MOON).

Of a query's nearest products some are positives that nobody bought. They are kept out by what is known (purchases and
what is the same), by rank, and by score: no nearer than an absolute limit, or than a margin below the positive
(NV-Retriever, arXiv 2407.15831; ours is calibrated to the share it rejects [R]). What is rejected by score comes back,
for a person to look through.

Legend: Q queries, N products, D dimensions, K candidates of a query.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moon.config import MiningParams
from moon.progress import track
from moon.retrieval.build import Finder, finder
from moon.retrieval.choosing import Choice, calibrated, choose, draws, limits, shortfalls
from moon.retrieval.exact import exact_scores
from moon.retrieval.sameness import Excluded, Sames, marked, pairs
from moon.retrieval.topk import Rows, Scores
from moon.retrieval.vectors import Vectors, check_finite

_CALIBRATION_QUERIES = 8192
_ROOM = 32
"""Excluded products of a query that the first search leaves room for; a query with more is searched again."""
_WIDER = 4


@dataclass(frozen=True)
class Mined:
    """The negatives of one query, nearest first; fewer than asked for where there are no more to be had."""

    negative_ids: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Rejected:
    """A candidate that scored too high to be trusted as a negative: perhaps a positive without a label."""

    query: int
    product_id: str
    score: float
    positive_score: float
    """Lowest score of what was bought for the query; nan where none of it is a product of the gallery."""


@dataclass(frozen=True, kw_only=True)
class Mining:
    """What was mined for every query, and how it went."""

    mined: list[Mined]
    rejected: list[Rejected]
    """At most ``relabel``, the most suspicious first."""
    starved: int
    """Queries with fewer negatives than asked for."""
    widened: int
    """Queries that were searched more than once, since the first candidates left too few."""
    rejection_rate: float
    """Share of the candidates within the pools that the threshold rejected."""
    margin: float | None
    """Relative margin of the positive-aware threshold; None where it is off."""
    recall: float
    """Recall of the indexes against exact search, by sample, averaged over the queries; 1 where all are exact."""
    approximate: int
    """Groups searched by an approximate index."""


def mine(
    queries_QD: Vectors,
    query_groups: Sequence[Hashable],
    purchases: Sequence[Set[str]],
    product_ids: Sequence[str],
    products_ND: Vectors,
    product_groups: Sequence[Hashable],
    params: MiningParams,
    sames: Sames | None = None,
) -> Mining:
    """Mines the negatives of every query within its group.

    Args:
        queries_QD: (Q, D) query vectors.
        query_groups: group (category) of what each query bought.
        purchases: products bought for each query; neither they nor what is the same are mined for it.
        product_ids: ids of the products, unique.
        products_ND: (N, D) product vectors; a memory map is read a chunk at a time.
        product_groups: group of each product.
        params: how many, from where, and what is rejected.
        sames: groups of each product, such as near-duplicates; two products that share one are the same.

    Raises:
        ValueError: lengths do not agree, a product id stands twice, or a vector is not finite.
    """
    _check(queries_QD, query_groups, purchases, product_ids, products_ND, product_groups)
    rows_of, queries_of = _members(product_groups), _members(query_groups)
    parts = [(queries, rows_of[group]) for group, queries in queries_of.items() if group in rows_of]
    miner = _Miner(queries_QD, purchases, product_ids, products_ND, params, sames or {})
    return miner.run(parts)


def _check(
    queries_QD: Vectors,
    query_groups: Sequence[Hashable],
    purchases: Sequence[Set[str]],
    product_ids: Sequence[str],
    products_ND: Vectors,
    product_groups: Sequence[Hashable],
) -> None:
    if not len(queries_QD) == len(query_groups) == len(purchases):
        raise ValueError(
            f"expected one group and one set of purchases for each of {len(queries_QD)} queries, got "
            f"{len(query_groups)} and {len(purchases)}"
        )
    if not len(products_ND) == len(product_groups) == len(product_ids):
        raise ValueError(
            f"expected one id and one group for each of {len(products_ND)} products, got {len(product_ids)} and "
            f"{len(product_groups)}"
        )
    if len(set(product_ids)) != len(product_ids):
        raise ValueError("a product id stands twice")
    check_finite(queries_QD, "the vectors of queries")
    check_finite(products_ND, "the vectors of products")


def _members(groups: Sequence[Hashable]) -> dict[Hashable, NDArray[np.int64]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        members[group].append(number)
    return {group: np.array(numbers) for group, numbers in members.items()}


@dataclass(frozen=True)
class _Found:
    """The decided candidates of some queries."""

    queries_Q: NDArray[np.int64]
    scores_QK: Scores
    rows_QK: Rows
    choice: Choice


@dataclass(frozen=True)
class _Part:
    """Queries and the search within the products that they are mined from."""

    queries_Q: NDArray[np.int64]
    products: int
    finder: Finder


class _Miner:
    """What stays the same over the parts."""

    def __init__(
        self,
        queries_QD: Vectors,
        purchases: Sequence[Set[str]],
        product_ids: Sequence[str],
        products_ND: Vectors,
        params: MiningParams,
        sames: Sames,
    ) -> None:
        self._queries_QD, self._products_ND, self._params = queries_QD, products_ND, params
        self._purchases, self._product_ids = purchases, product_ids
        self._excluded = Excluded(product_ids, sames)
        self._limited = params.positive_aware != "off" or params.max_similarity < 1
        needs_positives = self._limited or params.sampling == "semi_hard"
        self._positive_Q = self._positives() if needs_positives else np.full(len(queries_QD), np.nan)
        pooled = self._limited or params.sampling != "top"
        self._first_k = params.skip_top + max(params.negatives, params.pool if pooled else 0)
        self.widened = 0

    def _positives(self) -> NDArray[np.float64]:
        """The lowest score among what was bought for each query, to be on the safe side."""
        query_P, row_P = pairs([self._excluded.known(bought) for bought in self._purchases])
        lowest_Q = np.full(len(self._queries_QD), np.inf)
        np.minimum.at(lowest_Q, query_P, exact_scores(self._queries_QD, self._products_ND, query_P, row_P))
        return np.where(np.isinf(lowest_Q), np.nan, lowest_Q)

    def run(self, members: Sequence[tuple[NDArray[np.int64], Rows]]) -> Mining:
        """Mines each part: some queries, and the rows of the products they are searched among."""
        parts = [_Part(queries, len(rows), self._finder(queries, rows)) for queries, rows in members]
        margin = self._margin(parts)
        limit_Q = limits(self._positive_Q, margin, self._params)
        mined = [Mined([], [])] * len(self._queries_QD)
        queue = _Queue(self._params.relabel)
        rejected = examined = 0
        self.widened = 0
        for found in self._search(parts, limit_Q, "mining"):
            rejected += int((found.choice.rejected & found.choice.examined).sum())
            examined += int(found.choice.examined.sum())
            for query, one in zip(found.queries_Q.tolist(), self._mined(found), strict=True):
                mined[query] = one
            queue.add(found, self._positive_Q)
        searched = sum(len(part.queries_Q) for part in parts)
        recalled = sum(part.finder.recall * len(part.queries_Q) for part in parts)
        return Mining(
            mined=mined,
            rejected=queue.listed(self._product_ids),
            starved=sum(len(one.negative_ids) < self._params.negatives for one in mined),
            widened=self.widened,
            rejection_rate=rejected / examined if examined else 0.0,
            margin=margin,
            recall=recalled / searched if searched else 1.0,
            approximate=sum(part.finder.approximate for part in parts),
        )

    def _finder(self, queries_Q: NDArray[np.int64], rows_n: Rows) -> Finder:
        k = min(self._first_k + _ROOM, len(rows_n))
        return finder(self._products_ND, rows_n, self._queries_QD[queries_Q], k, self._params)

    def _margin(self, parts: Sequence[_Part]) -> float | None:
        """The relative margin of the positive-aware threshold, None where it is off."""
        if self._params.positive_aware != "calibrated":
            return self._params.relative_margin if self._params.positive_aware == "margin" else None
        total = len(self._queries_QD)
        drawn = np.random.default_rng(self._params.seed).permutation(total)[:_CALIBRATION_QUERIES]
        chosen = np.zeros(total, bool)
        chosen[drawn] = True
        sample = [replace(part, queries_Q=part.queries_Q[chosen[part.queries_Q]]) for part in parts]
        below = [
            shortfalls(found.scores_QK, found.choice.examined, self._positive_Q[found.queries_Q])
            for found in self._search(sample, np.full(total, np.inf), "calibrating")
        ]
        return calibrated(np.concatenate([np.empty(0), *below]), self._params.rejection_rate)

    def _search(self, parts: Sequence[_Part], limit_Q: NDArray[np.float64], name: str) -> Iterator[_Found]:
        """The decided candidates of every query of the parts, each query once."""
        size = self._params.chunk_rows
        chunks = [
            replace(part, queries_Q=part.queries_Q[start : start + size])
            for part in parts
            for start in range(0, len(part.queries_Q), size)
        ]
        for chunk in track(chunks, name, len(chunks)):
            yield from self._search_chunk(chunk, limit_Q)

    def _search_chunk(self, chunk: _Part, limit_Q: NDArray[np.float64]) -> Iterator[_Found]:
        """Searches for more and more candidates until every query has enough, or there are no more."""
        queries_Q = chunk.queries_Q
        excluded = [self._excluded.rows(self._purchases[query]) for query in queries_Q.tolist()]
        k = min(self._first_k + min(max(map(len, excluded), default=0), _ROOM), chunk.products)
        while len(queries_Q):
            scores_QK, rows_QK = chunk.finder.find(self._queries_QD[queries_Q], k)
            choice = choose(
                scores_QK,
                rows_QK,
                marked(rows_QK, *pairs(excluded)),
                self._positive_Q[queries_Q],
                limit_Q[queries_Q],
                draws(self._params.seed, queries_Q),
                self._params,
            )
            done_Q = choice.complete_Q | (k >= chunk.products)
            yield _Found(queries_Q[done_Q], scores_QK[done_Q], rows_QK[done_Q], choice.of(done_Q))
            excluded = [rows for rows, done in zip(excluded, done_Q.tolist(), strict=True) if not done]
            queries_Q = queries_Q[~done_Q]
            self.widened += len(queries_Q)
            k = min(_WIDER * k, chunk.products)

    def _mined(self, found: _Found) -> Iterator[Mined]:
        """The chosen candidates as lists."""
        ends = np.cumsum(found.choice.chosen.sum(axis=1)).tolist()
        scores = found.scores_QK[found.choice.chosen].tolist()
        ids = [self._product_ids[row] for row in found.rows_QK[found.choice.chosen].tolist()]
        for start, end in zip([0, *ends], ends, strict=False):
            yield Mined(ids[start:end], scores[start:end])


class _Queue:
    """The most suspicious of the rejected candidates: those furthest above the positive's score.

    A candidate of a query without a known positive is set against 0.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept = np.empty((0, 4))  # query, row, score, positive score

    def add(self, found: _Found, positive_Q: NDArray[np.float64]) -> None:
        """Takes in what was rejected of some queries."""
        line, column = np.nonzero(found.choice.rejected)
        if not self._room or not len(line):
            return
        queries = found.queries_Q[line]
        scores, rows = found.scores_QK[line, column], found.rows_QK[line, column]
        both = np.concatenate([self._kept, np.stack([queries, rows, scores, positive_Q[queries]], axis=1)])
        above = both[:, 2] - np.nan_to_num(both[:, 3])
        self._kept = both[np.lexsort((both[:, 1], both[:, 0], -above))[: self._room]]

    def listed(self, product_ids: Sequence[str]) -> list[Rejected]:
        """What was kept, the most suspicious first."""
        return [
            Rejected(int(query), product_ids[int(row)], score, positive)
            for query, row, score, positive in self._kept.tolist()
        ]
