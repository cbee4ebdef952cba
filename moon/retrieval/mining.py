"""Hard negatives: products of the same category that lie nearest to a query and were not bought for it (MOON)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moon.config import MiningParams
from moon.progress import track
from moon.retrieval.index import ExactIndex


@dataclass(frozen=True)
class Mined:
    """The negatives of one query, nearest first; fewer than asked for where the category holds no more."""

    negative_ids: list[str]
    scores: list[float]


def mine(
    queries_QD: NDArray[np.float32],
    query_groups: Sequence[Hashable],
    purchases: Sequence[Set[str]],
    product_ids: Sequence[str],
    products_ND: NDArray[np.float32],
    product_groups: Sequence[Hashable],
    params: MiningParams,
) -> list[Mined]:
    """Mines the negatives of every query within its group.

    Each group is an index of its own, so a search costs only the group's size, and queries are searched
    ``params.chunk_rows`` at a time.

    Args:
        queries_QD: (Q, D) query vectors.
        query_groups: group (category) of what each query bought.
        purchases: products bought for each query; never mined for it.
        product_ids: ids of the products.
        products_ND: (N, D) product vectors.
        product_groups: group of each product.
        params: how many, and which nearest ones to pass over.

    Returns:
        One entry a query, in order.
    """
    rows_of_group: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(product_groups):
        rows_of_group[group].append(row)
    queries_of_group: dict[Hashable, list[int]] = defaultdict(list)
    for query, group in enumerate(query_groups):
        queries_of_group[group].append(query)

    mined = [Mined([], [])] * len(queries_QD)
    for group, queries in track(queries_of_group.items(), "mining", len(queries_of_group)):
        rows = rows_of_group.get(group, [])
        if not rows:
            continue
        index = ExactIndex([product_ids[row] for row in rows], products_ND[rows])
        for start in range(0, len(queries), params.chunk_rows):
            chunk = queries[start : start + params.chunk_rows]
            bought = max(len(purchases[query]) for query in chunk)
            scores_QK, ids = index.search(queries_QD[chunk], params.negatives + params.skip_top + bought)
            for query, scores_K, found in zip(chunk, scores_QK, ids, strict=True):
                mined[query] = _select(found, scores_K, purchases[query], params)
    return mined


def _select(ids: Sequence[str], scores_K: NDArray[np.float32], bought: Set[str], params: MiningParams) -> Mined:
    candidates = [(id_, float(score)) for id_, score in zip(ids, scores_K, strict=True) if id_ not in bought]
    kept = [pair for pair in candidates[params.skip_top :] if pair[1] <= params.max_similarity][: params.negatives]
    return Mined([id_ for id_, _ in kept], [score for _, score in kept])
