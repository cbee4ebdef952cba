"""What follows from the ranks of a query's right answers: hit rate, recall, precision, MRR, average precision, nDCG.

Relevance is binary. With ``r_1 < r_2 < ...`` the ranks of a query's P positives, and one order for all measures:

    hit@k = [r_1 <= k]           recall@k = |{i: r_i <= k}| / P         precision@k = |{i: r_i <= k}| / k
    RR = 1 / r_1                 AP = 1/P sum_i i / r_i                  nDCG@k = sum_{r_i <= k} 1 / log2(1 + r_i)
                                                                                 / sum_{i <= min(P, k)} 1 / log2(1 + i)

These are trec_eval's success, recall, P, recip_rank, map and ndcg_cut. Of several positives the hit rate asks for one,
the recall for all: both are reported and never mixed.

Shape suffixes: Q queries, F all positives of all queries one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where the right answers of each query stand."""

    ranks_F: Ints
    """Ranks of the positives from 1, ascending within a query."""
    columns_F: Ints
    """The gallery position of each of them."""
    counts: Ints
    """[Q] positives of each query, at least 1."""
    candidates: Ints
    """[Q] candidates of each query: the gallery less what is excluded."""
    top: Ints
    """[Q] gallery position of the candidate at rank 1."""
    ahead: Ints
    """[Q] candidates that score higher than the first positive."""
    tie_size: Ints
    """[Q] candidates that score the same as the first positive, itself included."""
    tie_right: Ints
    """[Q] how many of these are positives."""

    @property
    def first(self) -> Ints:
        """[Q] rank of the first positive, from 1."""
        return self.ranks_F[self._starts]

    @property
    def tied(self) -> npt.NDArray[np.bool_]:
        """[Q] whether that positive has the same score as some non-positive."""
        return self.tie_size > self.tie_right

    def by_query(self) -> list[list[int]]:
        """The ranks of each query's positives."""
        return [part.tolist() for part in np.split(self.ranks_F, self._starts[1:])]

    def hits(self, k: int) -> Floats:
        """[Q] 1.0 where a positive is among the first ``k``: Recall@k as a hit rate, also with many positives."""
        return (self.first <= k).astype(np.float64)

    def recall(self, k: int) -> Floats:
        """[Q] share of the positives among the first ``k``."""
        return self.within(k) / self.counts

    def precision(self, k: int) -> Floats:
        """[Q] share of positives in the first ``k`` places, empty places counted as wrong."""
        return self.within(k) / k

    def reciprocal(self) -> Floats:
        """[Q] reciprocal rank of the first positive; its mean is the MRR."""
        return 1.0 / self.first

    def average_precision(self) -> Floats:
        """[Q] average precision over the whole ranking; its mean is the mAP."""
        return self._sum(self._place / self.ranks_F) / self.counts

    def ndcg(self, k: int) -> Floats:
        """[Q] normalised discounted cumulative gain of the first ``k``."""
        gain = self._sum(np.where(self.ranks_F <= k, 1 / np.log2(1 + self.ranks_F), 0.0))
        ideal = np.cumsum(1 / np.log2(1 + np.arange(1, k + 1)))
        return gain / ideal[np.minimum(self.counts, k) - 1]

    def within(self, k: int | Ints) -> Floats:
        """[Q] number of positives among the first ``k``, one number for all queries or one each."""
        return self._sum(self._shown(k).astype(np.float64))

    def average_precision_within(self, k: int | Ints) -> Floats:
        """[Q] mean precision at the positives among the first ``k``, 0 without any."""
        precision = np.where(self._shown(k), self._place / self.ranks_F, 0.0)
        return self._sum(precision) / np.maximum(self.within(k), 1)

    def expected_hits(self, k: int) -> Floats:
        """[Q] probability of a hit among the first ``k`` if candidates of equal score were put in a random order.

        For a scorer that gives every candidate the same score this is the chance level itself.
        """
        places = np.clip(k - self.ahead, 0, self.tie_size)
        return random_hits(self.tie_right, self.tie_size, places)

    def chance(self, k: int) -> Floats:
        """[Q] probability that a random order has a positive among its first ``k``."""
        return random_hits(self.counts, self.candidates, np.full(len(self.counts), k))

    def _shown(self, k: int | Ints) -> npt.NDArray[np.bool_]:
        return self.ranks_F <= np.repeat(np.broadcast_to(k, self.counts.shape), self.counts)

    @property
    def _starts(self) -> Ints:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)[:-1]])[: len(self.counts)]

    @property
    def _place(self) -> Ints:
        """[F] 1 for the first positive of its query, 2 for the second, and so on."""
        return np.arange(len(self.ranks_F)) - np.repeat(self._starts, self.counts) + 1

    def _sum(self, values_F: Floats) -> Floats:
        if not len(self.counts):
            return np.zeros(0)
        total: Floats = np.add.reduceat(values_F, self._starts)
        return total


def random_hits(right: Ints, candidates: Ints, places: Ints) -> Floats:
    """[Q] probability that a random order has one of ``right`` of ``candidates`` in its first ``places``."""
    miss = np.ones(len(right))
    for drawn in range(int(places.max(initial=0))):
        wrong = np.clip(candidates - right - drawn, 0, None) / np.maximum(candidates - drawn, 1)
        miss *= np.where(drawn < places, wrong, 1.0)
    return 1.0 - miss
