"""A flat map of the embedding space: products and queries on the first two principal components of the products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from moon.evaluation.confusions import NO_CATEGORY
from moon.evaluation.tasks import Benchmark

POINTS: Final = 1500
_DECIMALS: Final = 4

Vectors = npt.NDArray[np.float32]


def embedding_map(
    benchmark: Benchmark,
    products_GD: Vectors,
    queries: Mapping[str, Vectors],
    categories: Mapping[str, Sequence[str]],
    seed: int,
    points: int = POINTS,
) -> dict[str, Any]:
    """Coordinates of products (multimodal view) and of queries, half of the points each where there are enough.

    PCA is linear and has no parameters, so distances on the map shrink but nothing is made up.

    Args:
        benchmark: its multimodal gallery and its queries.
        products_GD: vectors of the gallery.
        queries: modality -> vectors of the benchmark's queries.
        categories: product id -> category path.
        seed: of the sample, where there are more than ``points``.
        points: products and queries at most.
    """
    gallery = benchmark.gallery["multimodal"]
    centre_D = products_GD.mean(axis=0)
    axes_2D, explained = _principal_axes(products_GD - centre_D)
    rows = [
        ("product", "multimodal", product_id, product_id, vector)
        for product_id, vector in zip(gallery, products_GD, strict=True)
    ]
    asked = [
        ("query", modality, query.query_id, query.positives[0], vector)
        for modality, group in benchmark.queries.items()
        for query, vector in zip(group, queries[modality], strict=True)
    ]
    rng = np.random.default_rng(seed)
    shown = _sample(rows, max(points // 2, points - len(asked)), rng)
    shown += _sample(asked, points - len(shown), rng)
    return {
        "method": "PCA",
        "explained": explained,
        "points": [
            {
                "id": id_,
                "kind": kind,
                "modality": modality,
                "category": (categories[product_id] or [NO_CATEGORY])[0],
                "fine": (categories[product_id] or [NO_CATEGORY])[-1],
                "x": round(float(place[0]), _DECIMALS),
                "y": round(float(place[1]), _DECIMALS),
            }
            for kind, modality, id_, product_id, vector in shown
            for place in [axes_2D @ (vector - centre_D)]
        ],
    }


def _principal_axes(centred_GD: Vectors) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Two axes, signed so that their largest component is positive, and the share of variance along each."""
    covariance_DD = centred_GD.T.astype(np.float64) @ centred_GD
    values, vectors_DD = np.linalg.eigh(covariance_DD)
    axes_2D = vectors_DD[:, ::-1][:, :2].T
    largest = np.abs(axes_2D).argmax(axis=1)
    axes_2D = axes_2D * np.sign(axes_2D[np.arange(len(axes_2D)), largest])[:, None]
    shares = np.clip(values[::-1][:2], 0, None) / max(values.sum(), 1e-12)
    return axes_2D, [float(share) for share in shares]


def _sample(rows: list[Any], count: int, rng: np.random.Generator) -> list[Any]:
    if len(rows) <= count:
        return rows
    return [rows[place] for place in np.sort(rng.choice(len(rows), count, replace=False))]
