"""Hubness of the answers: how often two requests get the same best product.

A few products that answer everything are a sign that the space has collapsed, or that the catalogue lost products.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moon.monitoring.permutation import Statistic


def hubness_statistic(products: Sequence[str | None]) -> Statistic:
    """Distance of the two windows' hubness; None marks rows without an answer, which the test leaves out."""
    order, starts = _runs(products)

    def statistic(labels_NB: np.ndarray) -> np.ndarray:
        return np.abs(_difference(labels_NB[order], starts))

    return statistic


def hubness_change(products: Sequence[str | None], labels: np.ndarray) -> float:
    """Probability that two requests of the window share their best product, less that of the reference, -1 to 1."""
    order, starts = _runs(products)
    return float(_difference(labels[order, None].astype(np.float64), starts)[0])


def _runs(products: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Rows with an answer, sorted by it, and where each product's rows start."""
    known = np.flatnonzero([product is not None for product in products])
    if not len(known):
        return known, known
    _, codes = np.unique(np.array([products[row] for row in known.tolist()]), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    return known[order], np.flatnonzero(np.diff(codes[order], prepend=-1))


def _difference(labels_NB: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Hubness of label 1 minus hubness of label 0, for labels in the order of the products."""
    if not len(starts):
        return np.zeros(labels_NB.shape[1])
    ones_PB = np.add.reduceat(labels_NB, starts, axis=0, dtype=np.float64)
    sizes_P1 = np.diff(starts, append=len(labels_NB))[:, None]
    return _shared(ones_PB) - _shared(sizes_P1 - ones_PB)


def _shared(counts_PB: np.ndarray) -> np.ndarray:
    """Share of the pairs of rows that have the same product; 0 where there is no pair."""
    total_B = counts_PB.sum(axis=0)
    pairs_B = total_B * (total_B - 1)
    return np.asarray((counts_PB * (counts_PB - 1)).sum(axis=0) / np.where(pairs_B > 0, pairs_B, 1.0))
