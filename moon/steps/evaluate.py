"""Step: measures the trained model, beside the untrained one where it is given, and embeds the catalogue."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from moon.catalog.schema import embeddings_schema
from moon.catalog.store import Catalog, TableWriter
from moon.config import EvaluationParams
from moon.evaluation.confusions import confusions
from moon.evaluation.diagnosis import health_of, modality_of
from moon.evaluation.labels import LabelTask, label_tasks
from moon.evaluation.measure import (
    Embedded,
    ProbeSplit,
    example_queries,
    label_prediction,
    rank_all,
    ranks_by_query,
    retrieval,
)
from moon.evaluation.photos import photo_prediction, photo_tasks, train_photos
from moon.evaluation.projection import embedding_map
from moon.evaluation.ranks import Ranks
from moon.evaluation.slices import DEPTH, curve, slices
from moon.evaluation.table import markdown
from moon.evaluation.tasks import DIRECTIONS, Benchmark, at_most, build_benchmark
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
    """category and attributes -> task -> trained and untrained zero-shot scores and linear probe, baselines."""
    health: dict[str, dict[str, Any]]
    """Model -> set of embeddings -> signs of a collapse."""
    collapsed: dict[str, bool]
    """Model -> whether any of its sets is collapsed."""
    modality: dict[str, dict[str, Any]]
    """Model -> modality gap, target-modality hit rates, retrieval of a product's own other view."""


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

    Writes to ``out``: metrics.json and table.md; ranks.json (each query's ranks by ``model``), by which two models are
    compared; for the report examples.json, curves.json, slices.json, confusions.json, map.json and experts.json; and
    embeddings/ (the whole catalogue in the multimodal view of ``model``).

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        model: folder of the trained model.
        baseline: folder of the untrained model; None measures ``model`` alone.
        params: split, gallery and sampling.
        out: where to write.
        embeddings: whether to embed products outside the gallery too, for embeddings/ and the linear probe.

    Raises:
        ValueError: the split has no interactions, or a gallery that does not hold what was bought.
    """
    store = Catalog.open(catalog)
    products = store.rows("products", ["product_id", "title", "category_path", "attributes", "image_ids", "split"])
    image_ids = set(store.table("images", ["image_id"]).column("image_id").to_pylist())
    interactions = store.rows("interactions")
    benchmark = build_benchmark(products, interactions, image_ids, query_key, params, store.same_products())
    if benchmark.own_pictures:
        _LOG.warning("%d photo queries are themselves a picture of a gallery product", benchmark.own_pictures)
    tasks = label_tasks(products, benchmark.gallery["image"])
    photos = _Photos(products, interactions, image_ids, benchmark, params if embeddings else None)
    split = _probe_split(products, image_ids, benchmark, params) if embeddings else None
    models: dict[str, Embedded] = {}
    experts: dict[str, Any] = {}
    for name, folder in (("untrained", baseline), ("trained", model)):  # the trained one stays loaded
        if folder is None:
            continue
        embedder = Embedder.load(folder)
        source = ItemSource(catalog, regions, embedder.processor.max_images)
        models[name] = _embed_all(embedder, source, benchmark, [*tasks, *photos.asked], split, photos.train, name)
        experts[name] = _by_layer(embedder.model.expert_load())
    ranks = {name: rank_all(embedded, benchmark) for name, embedded in models.items()}
    healths = {name: health_of(embedded, params.seed) for name, embedded in models.items()}
    for name, sets in healths.items():
        for kind, found in sets.items():
            if found["collapsed"]:
                _LOG.warning("%s model, %s: %s", name, kind, "; ".join(found["reasons"]))
    result = EvaluationResult(
        split=benchmark.split,
        gallery=benchmark.gallery_rule,
        queries=sum(map(len, benchmark.queries.values())),
        products=len(benchmark.gallery["multimodal"]),
        skipped=dict(benchmark.skipped),
        own_pictures=benchmark.own_pictures,
        model_revision=embedder.revision,
        retrieval={name: retrieval(found, benchmark, params) for name, found in ranks.items()},
        labels=label_prediction(models, benchmark, tasks, params, split) | {"photos": photos.predict(models, params)},
        health=healths,
        collapsed={name: any(found["collapsed"] for found in sets.values()) for name, sets in healths.items()},
        modality={name: modality_of(embedded, benchmark, params) for name, embedded in models.items()},
    )
    _write(out, "ranks.json", ranks_by_query(ranks["trained"], benchmark))
    _write_for_report(out, models["trained"], ranks, benchmark, products, params)
    _write(out, "experts.json", experts)
    table = markdown(result.split, result.gallery, result.retrieval, result.labels, result.health, result.modality)
    (out / "table.md").write_text(table, encoding="utf-8")
    if embeddings:
        product_ids = [row["product_id"] for row in products]
        _write_embeddings(embedder, source, product_ids, benchmark, models["trained"], out / "embeddings")
    return outcome.save(out, result)


class _Photos:
    """Category prediction for photo queries; without ``params`` there is no probe."""

    def __init__(
        self,
        products: Sequence[Mapping[str, Any]],
        interactions: Sequence[Mapping[str, Any]],
        image_ids: set[str],
        benchmark: Benchmark,
        params: EvaluationParams | None,
    ) -> None:
        rows = [row for row in interactions if row["query_image_id"] in image_ids]
        self.train = train_photos(rows, benchmark, params) if params else []
        queries = benchmark.queries["image"]
        self.asked = photo_tasks(products, {query.query_id: query.positives for query in queries})
        self._fitted = photo_tasks(products, {row["query_image_id"]: [row["product_id"]] for row in self.train})
        self._clusters = {query.query_id: query.positives[0] for query in queries}

    def predict(self, models: Mapping[str, Embedded], params: EvaluationParams) -> dict[str, Any]:
        """Level -> baselines and scores."""
        return photo_prediction(
            {name: embedded.queries["image"] for name, embedded in models.items()},
            {name: embedded.labels for name, embedded in models.items()},
            {name: embedded.photos for name, embedded in models.items()},
            self.asked,
            self._fitted,
            self._clusters,
            params,
        )


def _probe_split(
    products: Sequence[Mapping[str, Any]], image_ids: set[str], benchmark: Benchmark, params: EvaluationParams
) -> ProbeSplit | None:
    """At most ``probe_items`` products of train with a picture, and the held-out ones; None without either."""
    held_out = frozenset(row["product_id"] for row in products if row["split"] == benchmark.split)
    usable = [
        row["product_id"]
        for row in products
        if row["split"] == "train" and not image_ids.isdisjoint(row["image_ids"] or ())
    ]
    usable = at_most(params.probe_items, usable, params.seed)
    if not usable or held_out.isdisjoint(benchmark.gallery["image"]):
        return None
    return ProbeSplit(products=usable, train=label_tasks(products, usable), held_out=held_out)


def _embed_all(
    embedder: Embedder,
    source: ItemSource,
    benchmark: Benchmark,
    tasks: Sequence[LabelTask],
    split: ProbeSplit | None,
    photos: Sequence[Mapping[str, Any]],
    name: str,
) -> Embedded:
    """Everything once, with the pictures of the products that probes are fitted on; ``photos`` are train purchases."""
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
    inside = set(gallery)
    rest = [product_id for product_id in (split.products if split else ()) if product_id not in inside]
    others = _embed(embedder, rest, source.product, ("image", "multimodal"), f"{name}: train products")
    seen = _embed(embedder, photos, source.query, ("multimodal",), f"{name}: train photos")["multimodal"]
    return Embedded(
        queries={modality: vectors["multimodal"] for modality, vectors in queries.items()},
        gallery=views,
        labels=dict(zip(texts, labels["multimodal"], strict=True)),
        others={view: dict(zip(rest, vectors, strict=True)) for view, vectors in others.items()},
        photos=dict(zip([row["query_image_id"] for row in photos], seen, strict=True)),
    )


def _embed(
    embedder: Embedder, keys: Sequence[K], build: Callable[[K], Item], views: Sequence[View], progress: str
) -> dict[str, npt.NDArray[np.float32]]:
    """View -> one row a key; items are built as they are needed, and a view that an item lacks stays zero."""
    items = (build(key) for key in track(keys, progress))
    return {str(view): vectors for view, vectors in embedder.embed_views(items, views).items()}


def _by_layer(load: Mapping[str, float]) -> dict[str, dict[str, list[float]]]:
    """``load/LAYER/TOKEN TYPE/EXPERT`` -> share, as layer -> token type -> shares of the experts."""
    layers: dict[str, dict[str, list[float]]] = {}
    for name, share in load.items():
        _, layer, kind, _ = name.split("/")
        layers.setdefault(layer, {}).setdefault(kind, []).append(share)
    return layers


def _write_for_report(
    out: Path,
    embedded: Embedded,
    ranks: Mapping[str, Mapping[str, Ranks]],
    benchmark: Benchmark,
    products: Sequence[Mapping[str, Any]],
    params: EvaluationParams,
) -> None:
    """Curves, slices, confusions, map and examples."""
    titles = {row["product_id"]: row["title"] for row in products}
    paths = {row["product_id"]: list(row["category_path"] or ()) for row in products}
    _write(out, "examples.json", example_queries(embedded, ranks["trained"], benchmark, titles, params), indent=2)
    measured = [direction for direction in DIRECTIONS if direction.name in ranks["trained"]]
    depth = min([DEPTH, *(len(benchmark.gallery[direction.view]) for direction in measured)])
    curves: dict[str, Any] = {"k": list(range(1, depth + 1)), "chance": {}}
    sliced, confused = {}, {}
    for direction in measured:
        asked = benchmark.asked(direction)
        clusters = [query.positives[0] for query in asked]
        for name, found in ranks.items():
            drawn = curve(found[direction.name], depth)
            curves["chance"][direction.name] = drawn.pop("chance")
            curves.setdefault(name, {})[direction.name] = drawn
        by_model = {name: found[direction.name] for name, found in ranks.items()}
        sliced[direction.name] = slices(by_model, clusters, [paths[one] for one in clusters], params)
        gallery = benchmark.gallery[direction.view]
        confused[direction.name] = confusions(ranks["trained"][direction.name], asked, gallery, paths)
    _write(out, "curves.json", curves)
    _write(out, "slices.json", sliced)
    _write(out, "confusions.json", confused)
    drawn_map = embedding_map(benchmark, embedded.gallery["multimodal"], embedded.queries, paths, params.seed)
    _write(out, "map.json", drawn_map)


def _write(out: Path, file: str, content: Any, indent: int | None = None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / file).write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def _write_embeddings(
    embedder: Embedder,
    source: ItemSource,
    product_ids: Sequence[str],
    benchmark: Benchmark,
    embedded: Embedded,
    folder: Path,
) -> None:
    """Writes the whole catalogue in the multimodal view; what was embedded before is not embedded again."""
    vectors = dict(zip(benchmark.gallery["multimodal"], embedded.gallery["multimodal"], strict=True))
    vectors.update(embedded.others["multimodal"])
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
