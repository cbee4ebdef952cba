"""Step index: puts the shares of an embedded catalogue together to a search artefact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moon.catalog.store import Catalog
from moon.config import RegionsParams, ServingParams
from moon.steps import outcome
from moon.steps.shares import in_order

ARTEFACT: Final = "artefact"
"""Folder in the step's output that holds the artefact."""


@dataclass(frozen=True, kw_only=True)
class IndexResult:
    """The artefact."""

    model_revision: str
    index_revision: str
    """Name of its content."""
    index: str
    """Kind of index, exact or approximate."""
    index_recall: float
    """Recall of the index against exact search."""
    products: int


def run(
    *, catalog: Path, parts: Sequence[Path], params: ServingParams, regions_params: RegionsParams, out: Path
) -> IndexResult:
    """Writes ``out/artefact``: what one run over all products would have written.

    Args:
        catalog: catalogue folder.
        parts: outputs of `embed` with ``shard`` 1/n to n/n, in any order.
        params: settings of the server and its index.
        regions_params: how the server finds the core region of a photo; the same as for the catalogue.
        out: gets the artefact and ``metrics.json``.

    Raises:
        ValueError: a share is missing, the shares are of different models, or are not of this catalogue.
    """
    from moon.serving.shares import assemble, read_batches, read_queries

    ordered = in_order(parts, "moon embed")
    revisions = {str(outcome.read(part, "model_revision")["model_revision"]) for part in ordered}
    if len(revisions) > 1:
        raise ValueError(f"the shares were embedded by different models, {', '.join(sorted(revisions))}; embed anew")
    products = {row["product_id"]: row for row in Catalog.open(catalog).rows("products")}
    embedded = sum(int(outcome.read(part, "products")["products"]) for part in ordered)
    if embedded != len(products):
        raise ValueError(f"{embedded} products were embedded, {catalog} has {len(products)}; embed this catalogue anew")
    batches = read_batches(ordered, products)
    out.mkdir(parents=True, exist_ok=True)
    queries = read_queries(ordered)
    [revision] = revisions
    settings = assemble(revision, queries, batches, params, regions_params, out / ARTEFACT)
    return outcome.save(
        out,
        IndexResult(
            model_revision=settings.model_revision,
            index_revision=settings.index_revision,
            index=settings.index,
            index_recall=settings.index_recall,
            products=len(products),
        ),
    )
