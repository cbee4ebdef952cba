"""Is one model better than another on the same queries: paired tests that keep the queries of a product together.

Both look at the difference of the two models' per-query values; queries for one product succeed and fail together, so
the product, not the query, is what varies.

- *Paired bootstrap*: products are drawn with replacement; the interval is that of the mean difference.
- *Randomisation*: if the models were exchangeable, the sign of a product's summed difference would be a coin. The
  two-sided p-value is the share of sign patterns with a mean at least as far from 0 (Smucker et al., 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import bootstrap_means
from moon.evaluation.ranks import Floats

RANDOMISATIONS: Final = 9999
_CELLS: Final = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The mean difference of one measure, second model less first."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def better(self) -> int:
        """1 where the second model is better, -1 where the first is, 0 where the interval holds 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def compare_values(
    first: Mapping[str, Floats], second: Mapping[str, Floats], clusters: Sequence[str], params: EvaluationParams
) -> dict[str, Comparison]:
    """Compares two models, measure by measure.

    Args:
        first: measure -> [Q] values of the first model.
        second: the same measures of the second, on the same queries in the same order.
        clusters: [Q] the product that each query belongs to.
        params: of the bootstrap; its seed also draws the sign patterns.

    Raises:
        ValueError: measures or lengths that do not fit.
    """
    if first.keys() != second.keys():
        raise ValueError(f"the models have different measures: {', '.join(sorted(first.keys() ^ second.keys()))}")
    differences = {name: second[name] - first[name] for name in first}
    intervals = bootstrap_means(
        differences, clusters, samples=params.bootstrap_samples, confidence=params.confidence, seed=params.seed
    )
    p_values = randomisation(differences, clusters, params.seed)
    return {
        name: Comparison(
            first=float(first[name].mean()),
            second=float(second[name].mean()),
            difference=interval.value,
            low=interval.low,
            high=interval.high,
            p_value=p_values[name],
        )
        for name, interval in intervals.items()
    }


def randomisation(
    differences: Mapping[str, Floats], clusters: Sequence[str], seed: int = 0, samples: int = RANDOMISATIONS
) -> dict[str, float]:
    """Two-sided p-values of the mean differences; the pattern seen counts as one of the draws, so none is 0."""
    _, cluster_Q = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums_CN = np.stack([np.bincount(cluster_Q, weights=values) for values in differences.values()], axis=1)
    seen_N = np.abs(sums_CN.sum(axis=0))
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // len(sums_CN))
    as_far_N = np.zeros(len(differences), dtype=np.int64)
    for start in range(0, samples, block):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(block, samples - start), len(sums_CN)))
        as_far_N += (np.abs(signs @ sums_CN) >= seen_N - 1e-9).sum(axis=0)
    return {name: float((1 + count) / (1 + samples)) for name, count in zip(differences, as_far_N, strict=True)}
