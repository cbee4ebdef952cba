"""From a catalogue to a search artefact: every product embedded, its picture made small, an index tuned on queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from moon.config import RegionsParams, ServingParams
from moon.items import ItemSource
from moon.model import Embedder, Item
from moon.progress import track
from moon.serving.artefact import Batch, Settings
from moon.serving.batcher import Vectors
from moon.serving.products import thumbnail
from moon.serving.query import Query
from moon.serving.shares import assemble

_CHUNK: Final = 1024
"""Products whose vectors and pictures are in memory at a time."""
_QUERIES: Final = 256
"""Queries of each view that stand for all."""

Row = Mapping[str, Any]


def build(
    embedder: Embedder,
    source: ItemSource,
    purchases: Sequence[Row],
    params: ServingParams,
    regions: RegionsParams,
    folder: Path,
) -> Settings:
    """Writes the artefact of a catalogue; the one that is there stays until the new one is whole.

    Args:
        embedder: the model.
        source: the catalogue's products.
        purchases: interactions whose queries are like those to come: the index is tuned on a sample of them, and
            drift is measured against their mean.
        params: settings of the server and its index.
        regions: the detector's parameters, the same as for the catalogue.
        folder: where to.

    Returns:
        The settings as written.

    Raises:
        ValueError: a picture cannot be decoded, or ``folder`` holds something else.
    """
    queries = embed_queries(embedder, source, sampled_queries(purchases))
    batches = embed_products(embedder, source, sorted(source.products), params.thumbnail_pixels)
    return assemble(embedder.revision, queries, batches, params, regions, folder)


def sampled_queries(purchases: Iterable[Row]) -> dict[str, list[Row]]:
    """View -> a seeded sample of the interactions whose query is of that view."""
    rows_of: dict[str, list[Row]] = {}
    for row in purchases:
        view = Query(row["query_text"] or "", row["query_image_id"] or "").view
        rows_of.setdefault(view, []).append(row)
    generator = np.random.default_rng(0)
    return {
        view: [rows[place] for place in generator.permutation(len(rows))[:_QUERIES].tolist()]
        for view, rows in sorted(rows_of.items())
    }


def embed_queries(embedder: Embedder, source: ItemSource, queries: Mapping[str, Sequence[Row]]) -> dict[str, Vectors]:
    """View -> (Q, D) vectors of its interactions' queries; a view without any is left out."""
    return {view: embedder.embed(source.query(row) for row in rows) for view, rows in queries.items() if rows}


def embed_products(embedder: Embedder, source: ItemSource, ids: Sequence[str], longest: int) -> Iterator[Batch]:
    """Vectors and small pictures of products.

    Args:
        embedder: the model.
        source: the catalogue's products.
        ids: which of them, in ascending order.
        longest: side of a picture in pixels; 0 makes none.
    """
    starts = range(0, len(ids), _CHUNK)
    for start in track(starts, "embedding products", len(starts)):
        yield _batch(embedder, source, ids[start : start + _CHUNK], longest)


def _batch(embedder: Embedder, source: ItemSource, ids: Sequence[str], longest: int) -> Batch:
    pictures: list[bytes] = []

    def items() -> Iterator[Item]:
        for product_id in ids:
            # Of its own pictures, for the model's would keep the pixels that were decoded for another size.
            images = source.product(product_id).images if longest else ()
            pictures.append(thumbnail(images[0], longest) if images else b"")
            yield source.product(product_id)

    vectors_ND = embedder.embed(items())
    return Batch(products=[source.products[product_id] for product_id in ids], vectors=vectors_ND, pictures=pictures)
