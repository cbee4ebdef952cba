"""Whether a query finds the kind of thing it asks for.

A catalogue that is searched as a whole holds texts, pictures and products of both. Models often answer with the kind
that resembles the query, whatever was asked (MMEB-V3, 2026). Here every product stands in one mixed gallery three
times, by its texts only, its pictures only, and both; a direction asks for one of the three.

Equal scores across kinds count in proportion: a constant embedding gets each kind's share of the gallery.

Shape suffixes: Q queries, G gallery of one view, D dimensions, C rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moon.config import EvaluationParams
from moon.evaluation.bootstrap import bootstrap_means
from moon.evaluation.ranking import chunks, inner_products, rank_embeddings

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The heads of rankings of one mixed gallery."""

    kinds: Mapping[str, Floats]
    """View -> [Q] share of the view among the candidates with the highest score."""
    right: Mapping[str, Floats]
    """View -> [Q] share of right products of the view among these candidates."""
    sizes: Mapping[str, int]


def search_mixed(
    queries_QD: Vectors,
    gallery: Mapping[str, tuple[Sequence[str], Vectors]],
    positives: Sequence[Collection[str]],
    excluded: Sequence[Collection[str]],
) -> Mixed:
    """Searches all views at once.

    Args:
        queries_QD: the queries.
        gallery: view -> product ids and their [G, D] vectors.
        positives: [Q] right products.
        excluded: [Q] products that are no candidates.
    """
    count = len(queries_QD)
    best = {view: np.empty(count) for view in gallery}
    tied = {view: np.empty(count) for view in gallery}
    right = {view: np.empty(count) for view in gallery}
    for view, (ids, vectors_GD) in gallery.items():
        column = {product_id: place for place, product_id in enumerate(ids)}
        for rows in chunks(count, len(ids)):
            scores_CG = inner_products(queries_QD[rows], vectors_GD)
            for query, scores_G in zip(range(rows.start, rows.stop), scores_CG, strict=True):
                scores_G[[column[one] for one in excluded[query] if one in column]] = -np.inf
                best[view][query] = scores_G.max(initial=-np.inf)
                tied[view][query] = np.count_nonzero(scores_G == best[view][query])
                own = [column[one] for one in positives[query] if one in column]
                right[view][query] = np.count_nonzero(scores_G[own] == best[view][query])
    highest = np.max(list(best.values()), axis=0)
    heads = {view: np.where(best[view] == highest, tied[view], 0.0) for view in gallery}
    total = np.sum(list(heads.values()), axis=0)
    return Mixed(
        kinds={view: heads[view] / total for view in gallery},
        right={view: np.where(best[view] == highest, right[view], 0.0) / total for view in gallery},
        sizes={view: len(ids) for view, (ids, _) in gallery.items()},
    )


def target_hit_rate(mixed: Mixed, view: str, clusters: Sequence[str], params: EvaluationParams) -> dict[str, Any]:
    """How often the top hit is of the ``view`` asked for, and how often it is right too, with intervals."""
    values = {
        "hit_rate": mixed.kinds[view],
        "R@1": mixed.right[view],
        "any_kind_R@1": np.sum(list(mixed.right.values()), axis=0),
    }
    intervals = bootstrap_means(
        values, clusters, samples=params.bootstrap_samples, confidence=params.confidence, seed=params.seed
    )
    return {
        "view": view,
        **{name: asdict(interval) for name, interval in intervals.items()},
        "chance": mixed.sizes[view] / sum(mixed.sizes.values()),
        "shares": {kind: float(share.mean()) for kind, share in mixed.kinds.items()},
    }


def cross_view(
    ids: Sequence[str], text_ND: Vectors, image_ND: Vectors, params: EvaluationParams
) -> dict[str, Any] | None:
    """How often a product's own pictures are nearest to its texts and the other way, and the paired difference.

    The same products on both sides make the two directions comparable, which those of the log are not. None for fewer
    than two products that have both.
    """
    both = np.flatnonzero(np.any(text_ND != 0, axis=1) & np.any(image_ND != 0, axis=1)).tolist()
    if len(both) < 2:
        return None
    kept = [ids[row] for row in both]
    own = [{product_id} for product_id in kept]
    there = rank_embeddings(text_ND[both], image_ND[both], kept, own).expected_hits(1)
    back = rank_embeddings(image_ND[both], text_ND[both], kept, own).expected_hits(1)
    values = {"text->image": there, "image->text": back, "asymmetry": there - back}
    intervals = bootstrap_means(
        values, kept, samples=params.bootstrap_samples, confidence=params.confidence, seed=params.seed
    )
    return {"products": len(kept), **{name: asdict(interval) for name, interval in intervals.items()}}
