"""Step: measures the trained model beside the untrained one and embeds the catalogue."""

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
from moon.evaluation.measure import Embedded, example_queries, label_prediction, markdown, rank_all, retrieval
from moon.evaluation.tasks import Benchmark, build_benchmark
from moon.model import Embedder
from moon.model.item import VIEWS, Item, View
from moon.progress import track
from moon.steps import outcome
from moon.steps.items import ItemSource, query_key

_LOG = logging.getLogger(__name__)
_CHUNK = 32
"""Items whose pictures are decoded at a time."""

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
    """trained and untrained -> direction -> R@k and MRR with intervals, chance, tie rate."""
    labels: dict[str, dict[str, Any]]
    """category and attributes -> task -> trained and untrained accuracy and macro F1, baselines."""


def run(
    *, catalog: Path, regions: Path, model: Path, baseline: Path, params: EvaluationParams, out: Path
) -> EvaluationResult:
    """Evaluates ``model`` and ``baseline`` on the same queries.

    Writes metrics.json, examples.json (queries with their top 5), table.md and embeddings/ (the whole catalogue in the
    multimodal view of ``model``) to ``out``.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        model: folder of the trained model.
        baseline: folder of the untrained model.
        params: split, gallery and sampling.
        out: where to write.

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
    table = markdown(result.split, result.gallery, result.retrieval)
    (out / "table.md").write_text(table, encoding="utf-8")
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
    """View -> one row a key; items are built a chunk at a time, and a view that an item lacks stays zero."""
    vectors = {str(view): np.zeros((len(keys), embedder.dim), np.float32) for view in views}
    starts = range(0, len(keys), _CHUNK)
    for start in track(starts, progress, len(starts)):
        items = [build(key) for key in keys[start : start + _CHUNK]]
        for view in views:
            seen = {start + row: item.view(view) for row, item in enumerate(items) if not item.view(view).is_empty}
            if seen:
                vectors[view][list(seen)] = embedder.embed(list(seen.values()), batch_items=_CHUNK)
    return vectors


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
