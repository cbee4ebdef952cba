"""Retrieval by category, and as a curve over k."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import bootstrap_means
from moon.evaluation.ranks import Ranks

DEPTH: Final = 100
"""Last k of a curve."""
MOST: Final = 50
"""Categories of one level."""


def curve(ranks: Ranks, depth: int) -> dict[str, list[float]]:
    """``hit``, ``recall`` and ``chance`` (of a hit), each a mean over queries for k = 1 to ``depth``."""
    ks = range(1, depth + 1)
    return {
        "hit": [float(ranks.hits(k).mean()) for k in ks],
        "recall": [float(ranks.recall(k).mean()) for k in ks],
        "chance": [float(ranks.chance(k).mean()) for k in ks],
    }


def slices(
    models: Mapping[str, Ranks], clusters: Sequence[str], paths: Sequence[Sequence[str]], params: EvaluationParams
) -> list[dict[str, Any]]:
    """R@k and MRR with intervals for the queries of each category, at every level of the path.

    Args:
        models: model -> ranks of the same queries.
        clusters: [Q] product that each query is resampled with.
        paths: [Q] category path of that product.
        params: ks and the bootstrap.

    Returns:
        One entry a category: level, category, path, queries, products, chance, and the measures of each model; by
        level, then from the category with most queries to that with fewest, the first 50 of each level.
    """
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for query, path in enumerate(paths):
        for level in range(1, len(path) + 1):
            members[tuple(path[:level])].append(query)
    first = next(iter(models.values()))
    chance = {f"R@{k}": first.chance(k) for k in params.ks}
    values = {
        model: {f"R@{k}": ranks.hits(k) for k in params.ks} | {"MRR": ranks.reciprocal()}
        for model, ranks in models.items()
    }
    found: list[dict[str, Any]] = []
    for path, queries in sorted(members.items(), key=lambda item: (len(item[0]), -len(item[1]), item[0])):
        if sum(entry["level"] == len(path) for entry in found) == MOST:
            continue
        rows = np.array(queries)
        products = [clusters[row] for row in queries]
        entry: dict[str, Any] = {
            "level": len(path),
            "category": path[-1],
            "path": list(path),
            "queries": len(queries),
            "products": len(set(products)),
            "chance": {name: float(by_query[rows].mean()) for name, by_query in chance.items()},
        }
        for model, measured in values.items():
            intervals = bootstrap_means(
                {name: by_query[rows] for name, by_query in measured.items()},
                products,
                samples=params.bootstrap_samples,
                confidence=params.confidence,
                seed=params.seed,
            )
            entry[model] = {name: asdict(interval) for name, interval in intervals.items()}
        found.append(entry)
    return found
