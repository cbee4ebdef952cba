"""Step embed: the vectors and small pictures of a share of a catalogue's products."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from moon.config import ServingParams
from moon.steps import outcome
from moon.steps.purchases import usable_purchases
from moon.steps.shares import share


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What was embedded."""

    products: int
    queries: int
    """Sampled queries, on which the index will be tuned."""
    dim: int
    model_revision: str
    seconds: float
    shard: str = ""
    """Which share of the products this is; empty: all of them."""


def run(*, model: Path, catalog: Path, regions: Path, params: ServingParams, out: Path, shard: str = "") -> EmbedResult:
    """Embeds products, and the same share of a sample of the queries; `index` puts the shares together.

    Args:
        model: model folder.
        catalog: catalogue folder.
        regions: output of the regions step.
        params: size of the small pictures.
        out: gets the two tables of `moon.serving.shares`, and ``metrics.json``.
        shard: ``i/n``, from ``1/n`` to ``n/n``; empty does all.

    Raises:
        ValueError: an input is wrong, or ``shard`` is malformed.
    """
    from moon.items import ItemSource
    from moon.model import Embedder
    from moon.serving import building
    from moon.serving.shares import write_share

    begun = time.monotonic()
    embedder = Embedder.load(model)
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    ids = share(sorted(source.products), shard)
    sampled = building.sampled_queries(usable_purchases(source, catalog))
    queries = building.embed_queries(embedder, source, {view: share(rows, shard) for view, rows in sampled.items()})
    batches = building.embed_products(embedder, source, ids, params.thumbnail_pixels)
    count = write_share(out, embedder.dim, batches, queries)
    return outcome.save(
        out,
        EmbedResult(
            products=count,
            queries=sum(map(len, queries.values())),
            dim=embedder.dim,
            model_revision=embedder.revision,
            seconds=round(time.monotonic() - begun, 2),
            shard=shard,
        ),
    )
