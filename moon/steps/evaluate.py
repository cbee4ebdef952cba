"""Step: measures the trained model, beside the untrained one where it is given, and embeds the catalogue."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from moon.catalog.schema import embeddings_schema
from moon.catalog.store import Catalog, TableWriter
from moon.config import EvaluationParams
from moon.evaluation.labels import LabelTask, label_tasks
from moon.evaluation.measure import (
    Embedded,
    example_queries,
    label_prediction,
    markdown,
    rank_all,
    ranks_by_query,
    retrieval,
)
from moon.evaluation.tasks import Benchmark, build_benchmark
from moon.items import ItemSource, query_key
from moon.model import Embedder
from moon.model.item import VIEWS, Item, View
from moon.progress import track
from moon.steps import outcome

_LOG = logging.getLogger(__name__)

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What was measured; a direction without queries is None."""

    split: str
    gallery: str
    """held_out or all, as chosen."""
    queries: int
    products: int
    """Products in the gallery."""
    skipped: dict[str, int]
    own_pictures: int
    """Photo queries that are themselves a picture of a gallery product."""
    model_revision: str
    retrieval: dict[str, dict[str, Any]]
    """trained, and untrained if asked for -> direction -> R@k and MRR with intervals, chance, tie rate."""
    labels: dict[str, dict[str, Any]]
    """category and attributes -> task -> trained and untrained accuracy and macro F1, baselines."""


def run(
    *,
    catalog: Path,
    regions: Path,
    model: Path,
    baseline: Path | None = None,
    params: EvaluationParams,
    out: Path,
    embeddings: bool = True,
) -> EvaluationResult:
    """Evaluates ``model`` and ``baseline`` on the same queries.

    Writes metrics.json, ranks.json (each query's rank by ``model``), examples.json (queries with their top 5), table.md
    and embeddings/ (the whole catalogue in the multimodal view of ``model``) to ``out``.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        model: folder of the trained model.
        baseline: folder of the untrained model; None measures ``model`` alone.
        params: split, gallery and sampling.
        out: where to write.
        embeddings: whether to embed the products outside the gallery too and write embeddings/.

    Raises:
        ValueError: the split has no interactions, or a gallery that does not hold what was bought.
    """
    store = Catalog.open(catalog)
    products = store.rows("products", ["product_id", "title", "category_path", "attributes", "image_ids", "split"])
    image_ids = set(store.table("images", ["image_id"]).column("image_id").to_pylist())
    benchmark = build_benchmark(products, store.rows("interactions"), image_ids, query_key, params)
    if benchmark.own_pictures:
        _LOG.warning("%d photo queries are themselves a picture of a gallery product", benchmark.own_pictures)
    tasks = label_tasks(products, benchmark.gallery["image"])
    models: dict[str, Embedded] = {}
    for name, folder in (("untrained", baseline), ("trained", model)):  # the trained one stays loaded
        if folder is None:
            continue
        embedder = Embedder.load(folder)
        source = ItemSource(catalog, regions, embedder.processor.max_images)
        models[name] = _embed_all(embedder, source, benchmark, tasks, name)
    ranks = {name: rank_all(embedded, benchmark) for name, embedded in models.items()}
    result = EvaluationResult(
        split=benchmark.split,
        gallery=benchmark.gallery_rule,
        queries=sum(map(len, benchmark.queries.values())),
        products=len(benchmark.gallery["multimodal"]),
        skipped=dict(benchmark.skipped),
        own_pictures=benchmark.own_pictures,
        model_revision=embedder.revision,
        retrieval={name: retrieval(found, benchmark, params) for name, found in ranks.items()},
        labels=label_prediction(models, benchmark, tasks, params),
    )
    out.mkdir(parents=True, exist_ok=True)
    titles = {row["product_id"]: row["title"] for row in products}
    examples = example_queries(models["trained"], ranks["trained"], benchmark, titles, params)
    (out / "examples.json").write_text(json.dumps(examples, indent=2) + "\n", encoding="utf-8")
    by_query = ranks_by_query(ranks["trained"], benchmark)
    (out / "ranks.json").write_text(json.dumps(by_query) + "\n", encoding="utf-8")
    table = markdown(result.split, result.gallery, result.retrieval)
    (out / "table.md").write_text(table, encoding="utf-8")
    if embeddings:
        _write_embeddings(embedder, source, list(titles), benchmark, models["trained"], out / "embeddings")
    return outcome.save(out, result)


def _embed_all(
    embedder: Embedder, source: ItemSource, benchmark: Benchmark, tasks: Sequence[LabelTask], name: str
) -> Embedded:
    gallery = benchmark.gallery["multimodal"]
    views = _embed(embedder, gallery, source.product, VIEWS, f"{name}: products")
    pictured = set(benchmark.gallery["image"])
    views["image"] = views["image"][[product_id in pictured for product_id in gallery]]
    queries = {
        modality: _embed(
            embedder, group, lambda query: source.query(query.row), ("multimodal",), f"{name}: {modality} queries"
        )
        for modality, group in benchmark.queries.items()
    }
    texts = sorted({text for task in tasks for text in task.texts})
    labels = _embed(embedder, texts, lambda text: Item(title=text), ("multimodal",), f"{name}: labels")
    return Embedded(
        queries={modality: vectors["multimodal"] for modality, vectors in queries.items()},
        gallery=views,
        labels=dict(zip(texts, labels["multimodal"], strict=True)),
    )


def _embed(
    embedder: Embedder, keys: Sequence[K], build: Callable[[K], Item], views: Sequence[View], progress: str
) -> dict[str, npt.NDArray[np.float32]]:
    """View -> one row a key; items are built as they are needed, and a view that an item lacks stays zero."""
    items = (build(key) for key in track(keys, progress))
    return {str(view): vectors for view, vectors in embedder.embed_views(items, views).items()}


def _write_embeddings(
    embedder: Embedder,
    source: ItemSource,
    product_ids: Sequence[str],
    benchmark: Benchmark,
    embedded: Embedded,
    folder: Path,
) -> None:
    """Writes the whole catalogue; gallery products are not embedded again."""
    vectors = dict(zip(benchmark.gallery["multimodal"], embedded.gallery["multimodal"], strict=True))
    rest = [product_id for product_id in product_ids if product_id not in vectors]
    others = _embed(embedder, rest, source.product, ("multimodal",), "trained: other products")["multimodal"]
    vectors.update(zip(rest, others, strict=True))
    with TableWriter(folder, embeddings_schema(embedder.dim)) as writer:
        for product_id in product_ids:
            writer.add(
                {
                    "id": product_id,
                    "view": "multimodal",
                    "vector": vectors[product_id],
                    "model_revision": embedder.revision,
                }
            )
