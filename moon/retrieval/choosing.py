"""Which of a query's nearest candidates become its negatives: rank window, positive-aware threshold, sampling.

Legend: Q queries, K candidates of each, nearest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moon.config import MiningParams
from moon.retrieval.topk import Rows, Scores

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was decided on each candidate of some queries; masks are (Q, K)."""

    chosen: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    """Taken for a false negative by the threshold."""
    examined: NDArray[np.bool_]
    """The nearest candidates, on which the rejection rate is measured."""
    complete_Q: NDArray[np.bool_]
    """More candidates would change nothing."""

    def of(self, queries_Q: NDArray[np.bool_]) -> Choice:
        """The part of some queries."""
        return Choice(
            chosen=self.chosen[queries_Q],
            rejected=self.rejected[queries_Q],
            examined=self.examined[queries_Q],
            complete_Q=self.complete_Q[queries_Q],
        )


def limits(positive_Q: NDArray[np.float64], margin: float | None, params: MiningParams) -> NDArray[np.float64]:
    """Highest score that a negative of each query may have.

    It is ``positive - margin * |positive|``: with the absolute value, a margin lowers the limit of a negative positive
    score too. A query whose positive is unknown (nan) is limited by ``max_similarity`` alone.
    """
    if margin is None:
        return np.full(len(positive_Q), params.max_similarity if params.max_similarity < 1 else np.inf)
    aware_Q = positive_Q - margin * np.maximum(np.abs(positive_Q), _TINY)
    return np.fmin(aware_Q, params.max_similarity if params.max_similarity < 1 else np.inf)


def shortfalls(
    scores_QK: Scores, examined_QK: NDArray[np.bool_], positive_Q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The margin from which on `limits` rejects each examined candidate of a query with a known positive."""
    below_QK = (positive_Q[:, None] - scores_QK) / np.maximum(np.abs(positive_Q), _TINY)[:, None]
    return below_QK[examined_QK & ~np.isnan(positive_Q)[:, None]]


def calibrated(shortfalls_P: NDArray[np.float64], rate: float) -> float:
    """The margin that rejects a share of candidates; negative where most of them outscore the positive.

    A fixed margin means another share for every model: scores of one spread over 0.1, of another over 1.
    """
    below_P = np.sort(shortfalls_P)
    if not len(below_P):
        return 0.0
    place = round(rate * len(below_P))
    if place in (0, len(below_P)):
        return float(below_P[0] if place == 0 else np.nextafter(below_P[-1], np.inf))
    return float((below_P[place - 1] + below_P[place]) / 2)  # half-way between two, so that rounding decides nothing


def choose(
    scores_QK: Scores,
    rows_QK: Rows,
    excluded_QK: NDArray[np.bool_],
    positive_Q: NDArray[np.float64],
    limit_Q: NDArray[np.float64],
    draw_Q: NDArray[np.uint64],
    params: MiningParams,
) -> Choice:
    """Decides on the candidates of some queries.

    Args:
        scores_QK: scores, best first.
        rows_QK: rows, -1 where there is no candidate.
        excluded_QK: candidates that are positives.
        positive_Q: score of each query's positive, nan where it is unknown.
        limit_Q: from `limits`.
        draw_Q: a number for each query that its sample depends on.
        params: window, sampling and how many.
    """
    allowed = (rows_QK >= 0) & ~excluded_QK
    rank = np.cumsum(allowed, axis=1) - 1
    end = params.max_rank or np.iinfo(np.int64).max
    window = allowed & (rank >= params.skip_top) & (rank < end)
    rejected = window & (scores_QK > limit_Q[:, None])
    fit = window & ~rejected
    if params.sampling == "semi_hard":
        fit &= ~(scores_QK >= positive_Q[:, None])
    place = np.cumsum(fit, axis=1)
    if params.sampling == "top":
        wanted = params.negatives
        chosen = fit & (place <= wanted)
    else:
        wanted = max(params.pool, params.negatives)
        chosen = _drawn(fit & (place <= wanted), rows_QK, draw_Q, params.negatives)
    seen = rank[:, -1] + 1 if rank.shape[1] else np.zeros(len(rank), np.int64)
    complete_Q = (place[:, -1] >= wanted if place.shape[1] else np.full(len(place), wanted == 0)) | (seen >= end)
    return Choice(
        chosen=chosen,
        rejected=rejected,
        examined=window & (rank < params.skip_top + params.pool),
        complete_Q=complete_Q,
    )


def _drawn(pool_QK: NDArray[np.bool_], rows_QK: Rows, draw_Q: NDArray[np.uint64], count: int) -> NDArray[np.bool_]:
    """A uniform sample of each query's pool that depends on nothing but its number and the rows in the pool."""
    drawn = np.where(pool_QK, _hash(rows_QK.astype(np.uint64) ^ draw_Q[:, None]) >> np.uint64(1), np.uint64(2**63))
    order = np.argsort(drawn, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(pool_QK.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & pool_QK


def draws(seed: int, queries: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each query that its sample depends on."""
    return _hash(_hash(np.full(len(queries), seed, np.uint64)) ^ queries.astype(np.uint64))


def _hash(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood, 2014), one step from the state ``x``."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
