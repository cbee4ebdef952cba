"""Which products are no negatives of a query: what was bought for it, and whatever is the same as that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

Sames = Mapping[str, Set[Hashable]]
"""Groups that a product is in, such as near-duplicates or a stock-keeping unit; two that share one are the same."""


class Excluded:
    """Rows of a gallery that are the same as given products.

    Args:
        product_ids: id of each row.
        sames: groups of each product, also of products that are no row; absent ones are in none.
    """

    def __init__(self, product_ids: Sequence[str], sames: Sames) -> None:
        self._row = {id_: row for row, id_ in enumerate(product_ids)}
        self._sames = sames
        self._rows_of: dict[Hashable, list[int]] = defaultdict(list)
        for row, id_ in enumerate(product_ids):
            for group in sames.get(id_, ()):
                self._rows_of[group].append(row)

    def known(self, bought: Iterable[str]) -> list[int]:
        """The rows of products, without those that are no row."""
        return [self._row[id_] for id_ in bought if id_ in self._row]

    def rows(self, bought: Set[str]) -> set[int]:
        """The rows of products and of all that are the same as one of them."""
        found = set(self.known(bought))
        for id_ in bought:
            for group in self._sames.get(id_, ()):
                found.update(self._rows_of[group])
        return found


def pairs(rows_of_query: Sequence[Iterable[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(query, row) pairs in order, as two arrays."""
    ordered = [np.sort(np.fromiter(rows, np.int64)) for rows in rows_of_query]
    counts = [len(rows) for rows in ordered]
    return np.repeat(np.arange(len(ordered)), counts), np.concatenate([np.empty(0, np.int64), *ordered])


def marked(rows_QK: NDArray[np.int64], query_P: NDArray[np.int64], row_P: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the rows found for each query are among its pairs (from `pairs`)."""
    if not len(row_P):
        return np.zeros(rows_QK.shape, bool)
    width = max(int(rows_QK.max(initial=0)), int(row_P.max())) + 1
    wanted_QK = rows_QK + width * np.arange(len(rows_QK))[:, None]
    known_P = query_P * width + row_P
    place_QK = np.minimum(np.searchsorted(known_P, wanted_QK), len(known_P) - 1)
    same_QK: NDArray[np.bool_] = (known_P[place_QK] == wanted_QK) & (rows_QK >= 0)
    return same_QK
