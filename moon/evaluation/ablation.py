"""Which parts of a recipe earn their place: recipes with one part less against the full one, on the same queries.

Legend: S seeds, Q queries, C products (clusters of queries), B bootstrap draws.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import Interval

DIRECTIONS: Final = ("image->product", "text->product", "both->product")
KS: Final = (1, 10)
_DRAW_CELLS: Final = 4_000_000
_WORDS: Final = {1: "helps here", 0: "no clear effect", -1: "hurts here"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FirstRanks:
    """Where the first right answer of each query of one direction stands, in one run.

    Args:
        query_ids: Q ids, each once.
        products: Q products, the cluster that a query is resampled with.
        ranks: Q ranks, from 1.
    """

    query_ids: Sequence[str]
    products: Sequence[str]
    ranks: Sequence[int]


Runs = Mapping[int, Mapping[str, FirstRanks]]
"""Seed -> direction -> ranks; the runs of one recipe."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a recipe has more than the full one, on the seeds that both have."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the part does that this recipe lacks: whether the interval leaves out 0, and on which side."""
        return _WORDS[1 if self.high < 0 else -1 if self.low > 0 else 0]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measure of one recipe in one direction."""

    direction: str
    k: int
    """Of R@k, the share of queries with a right answer among the first k."""
    by_seed: Mapping[int, float]
    interval: Interval
    difference: Difference | None
    """None for the full recipe itself, and where no seed has both."""

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds; None of one seed."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


def scores(runs: Runs, full: Runs, params: EvaluationParams) -> list[Score]:
    """The scores of a recipe and what they differ by from those of the ``full`` one.

    Args:
        runs: of the recipe.
        full: of the full recipe; where it is ``runs``, no differences are made.
        params: of the bootstrap.

    Raises:
        ValueError: the runs were not measured on the same queries.
    """
    measured = []
    for direction in DIRECTIONS:
        if not all(direction in run for run in [*runs.values(), *full.values()]):
            continue
        first = next(iter(runs.values()))[direction]
        _check_same(first, [run[direction] for run in [*runs.values(), *full.values()]])
        for k in KS:
            hits = {number: _hits(run[direction], k) for number, run in runs.items()}
            more = {
                number: hits[number] - _hits(full[number][direction], k) for number in sorted(hits) if number in full
            }
            difference = None
            if more and runs is not full:
                found = crossed_bootstrap(np.stack(list(more.values())), first.products, params)
                difference = Difference(value=found.value, low=found.low, high=found.high)
            measured.append(
                Score(
                    direction=direction,
                    k=k,
                    by_seed={number: float(values.mean()) for number, values in hits.items()},
                    interval=crossed_bootstrap(np.stack(list(hits.values())), first.products, params),
                    difference=difference,
                )
            )
    return measured


def crossed_bootstrap(values_SQ: Floats, products: Sequence[str], params: EvaluationParams) -> Interval:
    """Percentile interval of the mean over seeds and queries.

    Every draw resamples the seeds and, independently, the products with all their queries, so that both the choice of
    products and the luck of training count (Owen, The pigeonhole bootstrap, 2007). With one seed only the products
    vary.

    Args:
        values_SQ: one value a seed and query.
        products: Q products of the queries.
        params: bootstrap_samples, confidence and seed are used.
    """
    _, cluster_Q = np.unique(np.asarray(products, dtype=str), return_inverse=True)
    sizes_C = np.bincount(cluster_Q)
    seeds, clusters = len(values_SQ), len(sizes_C)
    sums_CS = np.stack([np.bincount(cluster_Q, weights=values_Q, minlength=clusters) for values_Q in values_SQ], axis=1)
    random = np.random.default_rng(params.seed)
    block = max(1, _DRAW_CELLS // clusters)
    means = []
    for start in range(0, params.bootstrap_samples, block):
        draws = min(block, params.bootstrap_samples - start)
        times_BC = random.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
        weights_BS = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        means.append(((times_BC @ sums_CS) * weights_BS).sum(axis=1) / (times_BC @ sizes_C))
    tail = (1 - params.confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(value=float(values_SQ.mean()), low=float(low), high=float(high))


def _hits(found: FirstRanks, k: int) -> Floats:
    return (np.asarray(found.ranks) <= k).astype(np.float64)


def _check_same(first: FirstRanks, others: Sequence[FirstRanks]) -> None:
    for other in others:
        if list(other.query_ids) != list(first.query_ids):
            raise ValueError(
                f"the runs were measured on different queries ({len(first.query_ids)} and {len(other.query_ids)}); "
                f"compare runs of one catalogue and one section 'evaluation'"
            )
