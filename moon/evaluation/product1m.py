"""The measures of Product1M (Zhan et al., 2021) for queries that show several products at once: mAP@N, mAR@N, Prec@N.

A query shows one or more instances, and every gallery product of one of them is right. With P positives, L distinct
instances and k = min(N, P, candidates):

    AP@N   = mean precision at the positives among the first k, 0 without any
    Prec@N = positives among the first k / k
    AR@N   = 1/L sum over instances of min(found among the first N, e) / e,  e = min(floor(N / L), its gallery products)

[R]: e is at least 1. The published script keeps only the last instance's term of the sum; for queries of one instance
the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from moon.evaluation.ranks import Floats, Ranks

DEPTHS: Final = (10, 50, 100)


def product1m(ranks: Ranks, instances: Sequence[str], depths: Sequence[int] = DEPTHS) -> dict[str, float]:
    """``mAP@N``, ``mAR@N`` and ``Prec@N``, means over the queries.

    Args:
        ranks: of all positives.
        instances: [G] the instance that each gallery product is of.
        depths: the values of N.
    """
    found = {}
    for depth in depths:
        within = np.minimum(np.minimum(depth, ranks.counts), ranks.candidates)
        found[f"mAP@{depth}"] = float(ranks.average_precision_within(within).mean())
        found[f"mAR@{depth}"] = float(_average_recall(ranks, instances, depth).mean())
        found[f"Prec@{depth}"] = float((ranks.within(within) / within).mean())
    return found


def _average_recall(ranks: Ranks, instances: Sequence[str], depth: int) -> Floats:
    recalls = np.zeros(len(ranks.counts))
    ends = np.cumsum(ranks.counts)
    for query, (stop, count) in enumerate(zip(ends, ranks.counts, strict=True)):
        labels = [instances[column] for column in ranks.columns_F[stop - count : stop]]
        shown = ranks.ranks_F[stop - count : stop] <= depth
        distinct, label_P, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        expected = np.clip(depth // len(distinct), 1, sizes)
        retrieved = np.bincount(label_P, weights=shown, minlength=len(distinct))
        recalls[query] = (np.minimum(retrieved, expected) / expected).mean()
    return recalls
