"""Chooses the index for a gallery and finds within parts of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moon.config import MiningParams
from moon.retrieval.approximate import ApproximateIndex
from moon.retrieval.exact import exact_search
from moon.retrieval.topk import Rows, Scores
from moon.retrieval.vectors import Vectors, read_rows

_RECALL_SAMPLE = 256


@dataclass(frozen=True)
class Finder:
    """Search within some rows of a gallery."""

    find: Callable[[Vectors, int], tuple[Scores, Rows]]
    """Queries (Q, D) and k to scores (Q, K) and rows (Q, K) of the whole gallery; -1 is no result."""
    recall: float
    """Recall against exact search on a sample of the queries; 1 where the search is exact."""
    approximate: bool


def finder(products_ND: Vectors, rows_n: Rows, queries_QD: Vectors, k: int, params: MiningParams) -> Finder:
    """The search that the parameters ask for.

    Args:
        products_ND: (N, D) gallery.
        rows_n: rows that may be found, ascending.
        queries_QD: queries to come; an approximate index is tuned on a sample of them.
        k: results that it is tuned for.
        params: kind of index, limits and recall.
    """
    if params.index == "exact" or (params.index == "auto" and len(rows_n) <= params.exact_rows):
        return Finder(lambda queries_QD, k: exact_search(queries_QD, products_ND, k, rows_n), 1.0, False)
    whole = len(rows_n) == len(products_ND)
    part_ND = products_ND if whole else read_rows(products_ND, rows_n)
    index = ApproximateIndex.build([str(row) for row in rows_n.tolist()], part_ND, params.seed)
    reached = index.tune(queries_QD, min(k, len(rows_n)), params.recall, _RECALL_SAMPLE, params.seed)

    def find(queries_QD: Vectors, wanted: int) -> tuple[Scores, Rows]:
        scores_QK, found_QK = index.search_rows(queries_QD, max(wanted, k))  # never with less effort than was measured
        rows_QK = np.where(found_QK < 0, found_QK, rows_n[found_QK])
        return scores_QK[:, :wanted], rows_QK[:, :wanted]

    return Finder(find, reached, True)
