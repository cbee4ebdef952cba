"""The search artefact: the folder that a server loads beside its model.

    server.json    model revision, limits and region parameters the server runs with, kind of index
    index/         one vector a product
    products/      titles, categories, filters and small pictures; see `products` and `filters`
    detector/      weights of the region detector, where it has any

It is made for one model revision; another model refuses it. It is written beside its place and put there when it is
whole, so a server may read it at any time; see `hot_swap`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from moon.catalog.store import folder_digest, take_place
from moon.config import RegionsParams, ServingParams, from_json, to_json
from moon.retrieval.index import VECTORS, ExactIndex, VectorIndex, sampled
from moon.retrieval.topk import Rows, Scores
from moon.retrieval.vectors import Vectors, write_vectors
from moon.serving.products import Products, ProductWriter

SETTINGS: Final = "server.json"
_INDEX, _PRODUCTS, _DETECTOR = "index", "products", "detector"
_EXACT, _APPROXIMATE = "exact", "approximate"
_TUNING_QUERIES: Final = 256
_WIDE: Final = 0.05
"""Share of the products from which on a filter is applied to what the approximate index finds, not before."""
_SPARE: Final = 2
"""How many times more is looked for then than should be needed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server needs to know besides its model."""

    model_revision: str = ""
    """The model that the index was made with; empty where there is no index."""
    index_revision: str = ""
    """Start of the SHA-256 over the artefact's files; `write` sets it."""
    index: str = _EXACT
    """Kind of index, ``exact`` or ``approximate``; `write` sets it."""
    index_recall: float = 1.0
    """Recall@``max_top_k`` of the index against exact search, on the queries it was tuned with; `write` sets it."""
    centroids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """view (text, image, multimodal) -> mean vector of the catalogue's queries, the reference of the drift gauges."""
    serving: ServingParams = field(default_factory=ServingParams)
    regions: RegionsParams = field(default_factory=RegionsParams)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some products to write."""

    products: Sequence[Mapping[str, Any]]
    """Rows of the catalogue's products table, attributes as ``{key: [values]}``."""
    vectors: Vectors
    """(n, D) unit vectors."""
    pictures: Sequence[bytes] = ()
    """A small JPEG of each, empty where there is none; may be left out for all."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One product found."""

    id: str
    title: str
    category_path: list[str]
    score: float
    """Inner product with the query, in [-1, 1]."""
    has_picture: bool


def write(folder: Path, settings: Settings, batches: Iterable[Batch], queries_QD: Vectors | None = None) -> Settings:
    """Writes an artefact a batch at a time, and puts it in the place of an older one when it is whole.

    Args:
        folder: where to.
        settings: the server's settings, with the revision of the model that made the vectors.
        batches: the products in ascending order of id.
        queries_QD: queries like those to come, which an approximate index is tuned on; without them, products.

    Returns:
        The settings as they were written.

    Raises:
        ValueError: ``folder`` holds something else, there is no product, or ids, vectors and pictures do not agree.
    """
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and ((folder / SETTINGS).exists() or not any(folder.iterdir()))):
        raise ValueError(f"{folder} holds something else than a search artefact; empty it or choose another folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        settings = _write(partial, settings, batches, queries_QD)
        take_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return settings


def _write(folder: Path, settings: Settings, batches: Iterable[Batch], queries_QD: Vectors | None) -> Settings:
    with ProductWriter(folder / _PRODUCTS) as products:
        vectors_PD = write_vectors(folder / _INDEX / VECTORS, _chunks(batches, products))
    index, kind, recall = _index(products.ids, vectors_PD, settings.serving, queries_QD)
    index.save(folder / _INDEX)
    regions = _keep_weights(settings.regions, folder)
    settings = dataclasses.replace(settings, regions=regions, index=kind, index_recall=recall)
    (folder / SETTINGS).write_text(to_json(settings) + "\n", encoding="utf-8")
    settings = dataclasses.replace(settings, index_revision=folder_digest(folder)[:12])
    (folder / SETTINGS).write_text(to_json(settings) + "\n", encoding="utf-8")
    return settings


def _chunks(batches: Iterable[Batch], products: ProductWriter) -> Iterator[Vectors]:
    """The vectors of batches; their products are written on the way."""
    for batch in batches:
        if len(batch.products) != len(batch.vectors):
            raise ValueError(f"expected a vector for each of {len(batch.products)} products, got {len(batch.vectors)}")
        products.add(batch.products, batch.pictures)
        yield batch.vectors


def _index(
    ids: Sequence[str], vectors_PD: Vectors, params: ServingParams, queries_QD: Vectors | None
) -> tuple[VectorIndex, str, float]:
    """The index that the parameters ask for, its kind and its recall."""
    if params.index == _EXACT or (params.index == "auto" and len(ids) <= params.exact_products):
        return ExactIndex(ids, vectors_PD), _EXACT, 1.0
    from moon.retrieval.approximate import ApproximateIndex  # faiss is loaded only where it is used

    index = ApproximateIndex.build(ids, vectors_PD)
    if queries_QD is None or not len(queries_QD):
        queries_QD = sampled(vectors_PD, _TUNING_QUERIES, 0)
    recall = index.tune(queries_QD, params.max_top_k, params.index_recall, _TUNING_QUERIES)
    return index, _APPROXIMATE, recall


def _keep_weights(regions: RegionsParams, folder: Path) -> RegionsParams:
    """Copies the detector's weights into the artefact, which a server may load on another machine."""
    if not regions.weights:
        return regions
    weights = Path(regions.weights)
    if not weights.exists():
        raise ValueError(f"regions.weights: there is no '{weights}'")
    kept = folder / _DETECTOR / weights.name
    kept.parent.mkdir(parents=True)
    if weights.is_dir():
        shutil.copytree(weights, kept)
    else:
        shutil.copyfile(weights, kept)
    return dataclasses.replace(regions, weights=str(kept.relative_to(folder)))


def read_settings(folder: Path) -> Settings:
    """Reads the settings of an artefact.

    Raises:
        ValueError: there is none, or it is of another version of moon.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise ValueError(f"no {SETTINGS} in {folder}: 'moon deploy' makes the folder")
    try:
        settings = from_json(Settings, path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; make it again with 'moon deploy'") from None
    if not settings.regions.weights:
        return settings
    kept = dataclasses.replace(settings.regions, weights=str(folder / settings.regions.weights))
    return dataclasses.replace(settings, regions=kept)


class ProductSearch:
    """The products of an artefact, searchable by vector; reads only, so threads may share it.

    Args:
        index: their vectors.
        products: what is known of them, in the same order.
        revision: name of the artefact's content.

    Raises:
        ValueError: the two are not of the same products.
    """

    def __init__(self, index: VectorIndex, products: Products, revision: str = "") -> None:
        if not products.ids.equals(pa.chunked_array([pa.array(index.ids, pa.string())])):
            raise ValueError("the index and the products beside it have different ids; make the artefact again")
        self.revision = revision
        self._index, self._products = index, products
        self._exact = isinstance(index, ExactIndex)

    @classmethod
    def load(cls, folder: Path, revision: str, dim: int) -> ProductSearch:
        """Opens an artefact for a model; vectors, products and pictures stay in their files.

        Raises:
            ValueError: it is incomplete or was made with another model.
        """
        settings = read_settings(folder)
        if settings.model_revision != revision:
            raise ValueError(
                f"the index in {folder} was made with model {settings.model_revision or 'unknown'}, the model loaded "
                f"is {revision}; make the artefact again with 'moon deploy'"
            )
        index = _load_index(folder / _INDEX, settings.index)
        if index.dim != dim:
            raise ValueError(f"the index in {folder} has {index.dim} dimensions, the model {dim}")
        return cls(index, Products(folder / _PRODUCTS), settings.index_revision)

    def __len__(self) -> int:
        return len(self._products)

    @property
    def facets(self) -> dict[str, Any]:
        """The categories and attribute values that most products have; see `filters`."""
        return self._products.filters.facets

    def picture(self, product_id: str) -> bytes | None:
        """The small JPEG of a product; None where there is no such product, or no picture of it."""
        row = self._products.row(product_id)
        return None if row is None else self._products.picture(row) or None

    def search(
        self, vectors_QD: Vectors, k: int, category: Sequence[str] = (), attributes: Mapping[str, Sequence[str]] = {}
    ) -> list[list[Hit]]:
        """The k best products of each query, best first.

        Args:
            vectors_QD: the queries.
            k: how many; fewer where fewer match.
            category: leading levels that the category path must have.
            attributes: for each key, values of which the product must have one.
        """
        allowed = self._products.filters.allowed(category, attributes)
        if allowed is None or self._exact or len(allowed) < _WIDE * len(self):
            scores_QK, rows_QK = self._index.search_rows(vectors_QD, k, allowed)
            found = [(scores, rows) for scores, rows in zip(scores_QK, rows_QK, strict=True)]
        else:
            found = [self._widely(vector_1D, k, allowed) for vector_1D in vectors_QD[:, None]]
        return [
            [self._hit(row, score) for score, row in zip(scores.tolist(), rows.tolist(), strict=True) if row >= 0]
            for scores, rows in found
        ]

    def _widely(self, vector_1D: Vectors, k: int, allowed: Rows) -> tuple[Scores, Rows]:
        """One query under a filter that many products pass: most of what is found without it passes too."""
        k = min(k, len(allowed))
        wanted = min(_SPARE * k * len(self) // len(allowed) + k, len(self))
        scores_1K, rows_1K = self._index.search_rows(vector_1D, wanted)
        place_K = np.minimum(np.searchsorted(allowed, rows_1K[0]), len(allowed) - 1)
        passed = np.flatnonzero(allowed[place_K] == rows_1K[0])[:k]
        if len(passed) < k:
            scores_1K, rows_1K = self._index.search_rows(vector_1D, k, allowed)
            return scores_1K[0], rows_1K[0]
        return scores_1K[0][passed], rows_1K[0][passed]

    def _hit(self, row: int, score: float) -> Hit:
        return Hit(
            id=self._products.id(row),
            title=self._products.title(row),
            category_path=self._products.category_path(row),
            score=score,
            has_picture=self._products.has_picture(row),
        )


def _load_index(folder: Path, kind: str) -> VectorIndex:
    if kind == _EXACT:
        return ExactIndex.load(folder)
    from moon.retrieval.approximate import ApproximateIndex

    return ApproximateIndex.load(folder)
