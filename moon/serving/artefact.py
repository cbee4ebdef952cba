"""The search artefact: the folder that a server loads beside its model.

    server.json                  model revision, limits and region parameters the server runs with
    index/                       one vector a product
    products/part-*.parquet      what an answer says of a product, in the catalogue's schema
    detector/                    weights of the region detector, where it has any

It is made for one model revision; another model refuses it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moon.catalog.schema import PRODUCTS
from moon.catalog.store import attributes_dict, attributes_list, read_table, write_table
from moon.config import RegionsParams, ServingParams, from_json, to_json
from moon.retrieval.index import ExactIndex
from moon.serving.batcher import Vectors

_SETTINGS, _INDEX, _PRODUCTS, _DETECTOR = "server.json", "index", "products", "detector"
_COLUMNS = ("product_id", "title", "category_path", "attributes")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server needs to know besides its model."""

    model_revision: str = ""
    """The model that the index was made with; empty where there is no index."""
    serving: ServingParams = field(default_factory=ServingParams)
    regions: RegionsParams = field(default_factory=RegionsParams)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One product found."""

    id: str
    title: str
    category_path: list[str]
    score: float
    """Inner product with the query, in [-1, 1]."""


def write(folder: Path, settings: Settings, products: Sequence[Mapping[str, Any]], vectors_PD: Vectors) -> None:
    """Writes an artefact.

    Args:
        folder: where to.
        settings: the server's settings, with the revision of the model that made the vectors.
        products: rows of the catalogue's products table, attributes as ``{key: [values]}``.
        vectors_PD: (P, D) unit vectors of these products.
    """
    rows = [{**row, "attributes": attributes_list(row["attributes"])} for row in products]
    write_table(folder / _PRODUCTS, PRODUCTS, rows)
    ExactIndex([row["product_id"] for row in products], vectors_PD).save(folder / _INDEX)
    settings = dataclasses.replace(settings, regions=_keep_weights(settings.regions, folder))
    (folder / _SETTINGS).write_text(to_json(settings) + "\n", encoding="utf-8")


def _keep_weights(regions: RegionsParams, folder: Path) -> RegionsParams:
    """Copies the detector's weights into the artefact, which a server may load on another machine."""
    if not regions.weights:
        return regions
    weights = Path(regions.weights)
    if not weights.exists():
        raise ValueError(f"regions.weights: there is no '{weights}'")
    shutil.rmtree(folder / _DETECTOR, ignore_errors=True)
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
    path = folder / _SETTINGS
    if not path.is_file():
        raise ValueError(f"no {_SETTINGS} in {folder}: 'moon deploy' makes the folder")
    try:
        settings = from_json(Settings, path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; make it again with 'moon deploy'") from None
    if not settings.regions.weights:
        return settings
    kept = dataclasses.replace(settings.regions, weights=str(folder / settings.regions.weights))
    return dataclasses.replace(settings, regions=kept)


class ProductSearch:
    """The products of an artefact, searchable by vector; reads only, so threads may share it."""

    def __init__(self, index: ExactIndex, products: Iterable[Mapping[str, Any]]) -> None:
        self._index = index
        by_id = {row["product_id"]: row for row in products}
        if missing := set(index.ids) - by_id.keys():
            raise ValueError(f"the index knows {len(missing)} products that the table does not, such as {min(missing)}")
        self._products = by_id
        self._rows_of_category: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._rows_of_attribute: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, product_id in enumerate(index.ids):
            path = by_id[product_id]["category_path"]
            for level in range(len(path)):
                self._rows_of_category[tuple(path[: level + 1])].append(row)
            for key, values in attributes_dict(by_id[product_id]["attributes"]).items():
                for value in values:
                    self._rows_of_attribute[key, value].append(row)

    @classmethod
    def load(cls, folder: Path, revision: str, dim: int) -> ProductSearch:
        """Loads an artefact for a model.

        Raises:
            ValueError: it is incomplete or was made with another model.
        """
        made_with = read_settings(folder).model_revision
        if made_with != revision:
            raise ValueError(
                f"the index in {folder} was made with model {made_with or 'unknown'}, the model loaded is {revision}; "
                "make the artefact again with 'moon deploy'"
            )
        index = ExactIndex.load(folder / _INDEX)
        if index.dim != dim:
            raise ValueError(f"the index in {folder} has {index.dim} dimensions, the model {dim}")
        return cls(index, read_table(folder / _PRODUCTS, _COLUMNS).to_pylist())

    def __len__(self) -> int:
        return len(self._index)

    def search(
        self, vector_D: Vectors, k: int, category: Sequence[str] = (), attributes: Mapping[str, Sequence[str]] = {}
    ) -> list[Hit]:
        """The k best products, best first.

        Args:
            vector_D: the query.
            k: how many; fewer where fewer match.
            category: leading levels that the category path must have.
            attributes: for each key, values of which the product must have one.
        """
        scores_1K, ids = self._index.search(vector_D[None], k, self._allowed(category, attributes))
        return [
            Hit(
                id=product_id,
                title=self._products[product_id]["title"],
                category_path=self._products[product_id]["category_path"],
                score=float(score),
            )
            for product_id, score in zip(ids[0], scores_1K[0], strict=True)
        ]

    def _allowed(self, category: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> NDArray[np.int64] | None:
        """Rows that pass every filter; None when there is none."""
        groups = [set(self._rows_of_category.get(tuple(category), ()))] if category else []
        for key, values in attributes.items():
            groups.append({row for value in values for row in self._rows_of_attribute.get((key, value), ())})
        return np.array(sorted(set.intersection(*groups)), np.int64) if groups else None
