"""Hard negatives of the training queries, over the embeddings of the current model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moon.catalog.duplicates import load_groups
from moon.catalog.schema import NEGATIVES, RELABEL
from moon.catalog.store import Catalog, write_table
from moon.config import MiningParams
from moon.items import ItemSource, purchases_of, query_key
from moon.model import Embedder
from moon.retrieval.mining import Mining, mine
from moon.steps import outcome, relabel_sheet

RELABEL_TABLE, SHEET = "relabel", "relabel.html"


@dataclass(frozen=True, kw_only=True)
class MineResult:
    """What was mined."""

    queries: int
    negatives: int
    starved: int
    """Queries with fewer negatives than asked for, since there are no more that may be used."""
    widened: int
    """Distinct queries searched more than once, since their nearest candidates left too few negatives."""
    rejection_rate: float
    """Share of the nearest candidates that the score threshold took for unlabelled positives."""
    relative_margin: float | None
    """Margin of the positive-aware threshold; null where it is off."""
    relabel: int
    """Rejected candidates kept for a person to look through."""
    index_recall: float
    """Recall of the index against exact search, on a sample; 1 where the search is exact."""
    same_products: int
    """Products that share a near-duplicate group, a stock-keeping unit or a relation ``same`` with another."""
    mean_similarity: float | None
    """Mean similarity of query and negative."""
    model_revision: str


def run(
    *, catalog: Path, regions: Path, model: Path, params: MiningParams, out: Path, duplicates: Path | None = None
) -> MineResult:
    """Mines negatives for every interaction of the training split into ``out/negatives``.

    Candidates that score too high to be trusted go to ``out/relabel`` and, with pictures, to ``out/relabel.html``.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        model: folder of the current model, whose embeddings say what is near.
        params: how many negatives, and from where.
        out: output folder.
        duplicates: output of the duplicates step; near-duplicates of what was bought are no negatives.

    Raises:
        ValueError: there is nothing to mine for, or ``duplicates`` is of another catalogue.
    """
    embedder = Embedder.load(model)
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    interactions = source.purchases("train")
    product_ids = [id_ for id_, product in source.products.items() if product["split"] == "train"]
    if not interactions:
        raise ValueError(f"{catalog} has no usable interaction in split train, so there is nothing to mine for")
    sames = _sames(catalog, source.products, params.sku_attribute, duplicates)

    def group(product_id: str) -> tuple[str, ...]:
        return tuple((source.products[product_id]["category_path"] or ())[: params.category_level])

    # One search for each distinct query and category; the interactions of one share its negatives.
    units = {(query_key(row), group(row["product_id"])): number for number, row in reversed([*enumerate(interactions)])}
    firsts = sorted(units.values())
    place = {first: number for number, first in enumerate(firsts)}
    bought = purchases_of(interactions)
    products_ND = embedder.embed(map(source.product, product_ids), progress="embedding products")
    queries = {query_key(row): row for row in interactions}
    vectors = embedder.embed(map(source.query, queries.values()), progress="embedding queries")
    vector_of = {key: number for number, key in enumerate(queries)}
    mining = mine(
        vectors[[vector_of[query_key(interactions[first])] for first in firsts]],
        [group(interactions[first]["product_id"]) for first in firsts],
        [bought[first] for first in firsts],
        product_ids,
        products_ND,
        [group(id_) for id_ in product_ids],
        params,
        sames,
    )
    found = [mining.mined[place[units[query_key(row), group(row["product_id"])]]] for row in interactions]
    rows = [
        {
            "query_id": row["query_id"],
            "product_id": row["product_id"],
            "negative_ids": one.negative_ids,
            "scores": one.scores,
            "miner": _miner(params),
        }
        for row, one in zip(interactions, found, strict=True)
    ]
    write_table(out / "negatives", NEGATIVES, rows)
    _write_queue(out, source, mining, [interactions[first] for first in firsts])
    scores = [score for one in found for score in one.scores]
    return outcome.save(
        out,
        MineResult(
            queries=len(rows),
            negatives=len(scores),
            starved=sum(len(one.scores) < params.negatives for one in found),
            widened=mining.widened,
            rejection_rate=mining.rejection_rate,
            relative_margin=mining.margin,
            relabel=len(mining.rejected),
            index_recall=mining.recall,
            same_products=len(sames),
            mean_similarity=float(np.mean(scores)) if scores else None,
            model_revision=embedder.revision,
        ),
    )


def _miner(params: MiningParams) -> str:
    """How the negatives were chosen, as the table says it."""
    level = f"category-{params.category_level}" if params.category_level else "catalogue"
    return "/".join([level, *(word for word in (params.sampling, params.positive_aware) if word not in ("top", "off"))])


def _sames(
    catalog: Path, products: Mapping[str, Mapping[str, Any]], sku_attribute: str, duplicates: Path | None
) -> dict[str, frozenset[Hashable]]:
    """Groups of each product that is the same as another: near-duplicates, one SKU, or related as ``same``."""
    groups: dict[str, set[Hashable]] = defaultdict(set)
    for number, pair in enumerate(Catalog.open(catalog).same_products()):
        for id_ in pair:
            groups[id_].add(("relation", number))
    if duplicates:
        near = load_groups(duplicates)
        if near and not near.keys() & products.keys():
            raise ValueError(f"{duplicates} names no product of {catalog}; make it with 'moon duplicates'")
        for id_, group_id in near.items():
            groups[id_].add(("duplicate", group_id))
    if sku_attribute:
        for id_, product in products.items():
            groups[id_] |= {("sku", value) for value in product["attributes"].get(sku_attribute, ())}
    members: dict[Hashable, int] = defaultdict(int)
    for names in groups.values():
        for name in names:
            members[name] += 1
    shared = {id_: frozenset(name for name in names if members[name] > 1) for id_, names in groups.items()}
    return {id_: names for id_, names in shared.items() if names}


def _write_queue(out: Path, source: ItemSource, mining: Mining, asked: list[dict[str, Any]]) -> None:
    """Writes the rejected candidates as a table, and the first of them as a sheet to look through."""
    rows = [
        {
            "query_id": asked[one.query]["query_id"],
            "product_id": asked[one.query]["product_id"],
            "candidate_id": one.product_id,
            "score": one.score,
            "positive_score": None if math.isnan(one.positive_score) else one.positive_score,
        }
        for one in mining.rejected
    ]
    write_table(out / RELABEL_TABLE, RELABEL, rows)
    by_id = {row["query_id"]: row for row in asked}
    (out / SHEET).write_text(relabel_sheet.render(source, rows, by_id), encoding="utf-8")
