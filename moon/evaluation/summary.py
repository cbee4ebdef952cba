"""From the vectors of one direction to its ranks, measures and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import bootstrap_means
from moon.evaluation.product1m import product1m
from moon.evaluation.ranking import rank_embeddings
from moon.evaluation.ranks import Ranks
from moon.evaluation.tasks import Query


def rank_direction(
    queries: Sequence[Query],
    queries_QD: npt.NDArray[np.floating],
    gallery: Sequence[str],
    gallery_GD: npt.NDArray[np.floating],
) -> Ranks:
    """Ranks each query's positives among ``gallery``; every query must have one there."""
    ids = set(gallery)
    return rank_embeddings(
        queries_QD,
        gallery_GD,
        gallery,
        positives=[ids.intersection(query.positives) for query in queries],
        excluded=[ids.intersection(query.known) for query in queries],
    )


def summarise(
    ranks: Ranks,
    queries: Sequence[Query],
    gallery: Sequence[str],
    params: EvaluationParams,
    instances: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The measures of one direction and their intervals, with the chance level and the share of tied queries.

    ``R@k`` is the hit rate, ``recall@k`` the share of a query's positives among the first k; they differ only for
    queries with several positives. The cluster that a query is resampled with is the first, by id, of its bought
    products.
    """
    clusters = [query.positives[0] for query in queries]
    intervals = bootstrap_means(
        _values(ranks, params.ks),
        clusters,
        samples=params.bootstrap_samples,
        confidence=params.confidence,
        seed=params.seed,
    )
    known = instances or {}
    return {
        **{name: asdict(interval) for name, interval in intervals.items()},
        "queries": len(queries),
        "products": len(set(clusters)),
        "gallery": len(gallery),
        "positives": float(ranks.counts.mean()),
        "chance": {f"R@{k}": float(ranks.chance(k).mean()) for k in params.ks},
        "chance_r1": float(ranks.chance(1).mean()),
        "expected": {f"R@{k}": float(ranks.expected_hits(k).mean()) for k in params.ks},
        "tie_rate": float(ranks.tied.mean()),
        "product1m": product1m(ranks, [known.get(product_id, product_id) for product_id in gallery]),
    }


def _values(ranks: Ranks, ks: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
    """Measure -> [Q]."""
    return {
        **{f"R@{k}": ranks.hits(k) for k in ks},
        "MRR": ranks.reciprocal(),
        **{f"recall@{k}": ranks.recall(k) for k in ks},
        **{f"nDCG@{k}": ranks.ndcg(k) for k in ks},
        "mAP": ranks.average_precision(),
    }
