"""What the numbers of retrieval do not say: are the embeddings alive, and does a query find the kind it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from moon.config import EvaluationParams
from moon.evaluation.health import health, modality_gap
from moon.evaluation.measure import Embedded
from moon.evaluation.modality import cross_view, search_mixed, target_hit_rate
from moon.evaluation.tasks import DIRECTIONS, MODALITIES, Benchmark


def health_of(embedded: Embedded, seed: int) -> dict[str, dict[str, Any]]:
    """Set of vectors -> its `moon.evaluation.health.Health`; sets of fewer than two vectors are left out."""
    sets = {f"product {view}": vectors for view, vectors in embedded.gallery.items()}
    sets |= {f"query {modality}": embedded.queries[modality] for modality in MODALITIES}
    found = {name: health(vectors, seed) for name, vectors in sets.items()}
    return {name: asdict(one) for name, one in found.items() if one is not None}


def modality_of(embedded: Embedded, benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """The gap between texts and pictures, the target-modality hit rates, and each product's own other view."""
    gallery = _mixed_gallery(embedded, benchmark)
    pictured = benchmark.gallery["image"]
    row_of = {product_id: row for row, product_id in enumerate(benchmark.gallery["text"])}
    text = embedded.gallery["text"][[row_of[product_id] for product_id in pictured]]
    return {
        "gap": modality_gap(text, embedded.gallery["image"]),
        "targets": _targets(embedded, benchmark, gallery, params),
        "cross_view": cross_view(pictured, text, embedded.gallery["image"], params),
    }


def _mixed_gallery(embedded: Embedded, benchmark: Benchmark) -> dict[str, tuple[list[str], Any]]:
    """View -> products that have it, and their vectors."""
    mixed = {}
    for view, ids in benchmark.gallery.items():
        rows = np.flatnonzero(np.any(embedded.gallery[view] != 0, axis=1)).tolist()
        mixed[view] = ([ids[row] for row in rows], embedded.gallery[view][rows])
    return mixed


def _targets(
    embedded: Embedded,
    benchmark: Benchmark,
    gallery: Mapping[str, tuple[list[str], Any]],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Direction -> `target_hit_rate` of its queries."""
    found = {}
    for direction in DIRECTIONS:
        rows, asked = benchmark.answerable(direction), benchmark.asked(direction)
        if rows:
            mixed = search_mixed(
                embedded.queries[direction.modality][rows],
                gallery,
                [query.positives for query in asked],
                [query.known for query in asked],
            )
            clusters = [query.positives[0] for query in asked]
            found[direction.name] = target_hit_rate(mixed, direction.view, clusters, params)
    return found
