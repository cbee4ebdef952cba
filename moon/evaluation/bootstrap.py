"""Percentile bootstrap intervals that resample products.

Queries that led to the same product succeed and fail together, so resampling single queries would make intervals too
narrow. Here whole products are drawn with replacement and bring all their queries along (a cluster bootstrap; Field and
Welsh, Bootstrapping clustered data, 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DRAW_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over queries and its bootstrap interval."""

    value: float
    low: float
    high: float

    def above(self, other: Interval) -> bool:
        """Whether this interval lies wholly above the other one."""
        return self.low > other.high


def bootstrap_means(
    values: Mapping[str, npt.NDArray[np.float64]],
    clusters: Sequence[str],
    *,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals for the mean of each named array of per-query values.

    All names share the same draws. The interval collapses onto the value where there is one cluster only, or where
    every query has the same value: the data then say nothing about how much it varies.

    Args:
        values: name -> [Q] values.
        clusters: [Q] the product that each query belongs to.
        samples: bootstrap draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: of the draws.

    Raises:
        ValueError: no query, arrays of different lengths, or parameters out of range.
    """
    if not len(clusters):
        raise ValueError("no query to bootstrap over")
    for name, array in values.items():
        if array.shape != (len(clusters),):
            raise ValueError(f"'{name}' has shape {array.shape}, expected ({len(clusters)},), one value a query")
    if samples < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected samples >= 1 and 0 < confidence < 1, got {samples} and {confidence}")
    names = list(values)
    _, cluster_Q, sizes = np.unique(np.asarray(clusters, dtype=str), return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cluster_Q, weights=values[name]).astype(np.float64) for name in names], axis=1)
    means = _resample(sums, sizes, samples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return {
        name: Interval(value=float(values[name].mean()), low=float(low[column]), high=float(high[column]))
        for column, name in enumerate(names)
    }


def _resample(
    sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.integer], samples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """[samples, names] means of draws of as many clusters as there are."""
    clusters = len(sizes)
    block = max(1, _DRAW_CELLS // clusters)
    means = []
    for start in range(0, samples, block):
        times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=min(block, samples - start))
        means.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(means)
