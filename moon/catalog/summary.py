"""What a catalogue holds, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from moon.catalog.store import Catalog


@dataclass(frozen=True, kw_only=True)
class CatalogSummary:
    """Rows of a catalogue's tables and the version of its data."""

    products: int
    images: int
    interactions: int
    rejected: int
    digest: str
    """`Catalog.digest`."""


def summarise(catalog: Catalog) -> CatalogSummary:
    """Counts a catalogue's rows, reading one narrow column of each table."""
    return CatalogSummary(
        products=catalog.table("products", ["product_id"]).num_rows,
        images=catalog.table("images", ["image_id"]).num_rows,
        interactions=catalog.table("interactions", ["query_id"]).num_rows,
        rejected=catalog.table("rejected", ["reason"]).num_rows,
        digest=catalog.digest(),
    )
