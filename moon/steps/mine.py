"""Hard negatives of the training queries, over the embeddings of the current model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moon.catalog.schema import NEGATIVES
from moon.catalog.store import write_table
from moon.config import MiningParams
from moon.items import ItemSource, purchases_of, query_key
from moon.model import Embedder
from moon.retrieval.mining import mine
from moon.steps import outcome


@dataclass(frozen=True, kw_only=True)
class MineResult:
    """What was mined."""

    queries: int
    negatives: int
    starved: int
    """Queries with fewer negatives than asked for, since their category holds no more."""
    mean_similarity: float | None
    """Mean similarity of query and negative."""
    model_revision: str


def run(*, catalog: Path, regions: Path, model: Path, params: MiningParams, out: Path) -> MineResult:
    """Mines negatives for every interaction of the training split into ``out/negatives``.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        model: folder of the current model, whose embeddings say what is near.
        params: how many negatives, and from where.
        out: output folder.
    """
    embedder = Embedder.load(model)
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    interactions = source.purchases("train")
    product_ids = [id_ for id_, product in source.products.items() if product["split"] == "train"]
    if not interactions:
        raise ValueError(f"{catalog} has no usable interaction in split train, so there is nothing to mine for")
    products_ND = embedder.embed(map(source.product, product_ids), progress="embedding products")
    distinct = {query_key(row): row for row in interactions}
    vectors = embedder.embed(map(source.query, distinct.values()), progress="embedding queries")
    row_of = {key: number for number, key in enumerate(distinct)}

    def group(product_id: str) -> tuple[str, ...]:
        return tuple(source.products[product_id]["category_path"][: params.category_level])

    mined = mine(
        vectors[[row_of[query_key(row)] for row in interactions]],
        [group(row["product_id"]) for row in interactions],
        purchases_of(interactions),
        product_ids,
        products_ND,
        [group(id_) for id_ in product_ids],
        params,
    )
    rows = [
        {
            "query_id": row["query_id"],
            "product_id": row["product_id"],
            "negative_ids": found.negative_ids,
            "scores": found.scores,
            "miner": f"category-{params.category_level}",
        }
        for row, found in zip(interactions, mined, strict=True)
    ]
    write_table(out / "negatives", NEGATIVES, rows)
    scores = [score for found in mined for score in found.scores]
    return outcome.save(
        out,
        MineResult(
            queries=len(rows),
            negatives=len(scores),
            starved=sum(len(found.scores) < params.negatives for found in mined),
            mean_similarity=float(np.mean(scores)) if scores else None,
            model_revision=embedder.revision,
        ),
    )
