"""Reader of M5Product: Taobao products with a title, a property table and a picture, and instance labels.

    *id_label.json              {item id: {"title", "pv", "label", "url"}, ...}; ``pv``: see `attribute_string`
    query*_image_ids.json       [item id, ...]: the items that are queries    [R] as ``gallery_fg_image_ids.json``
    images/ITEM.jpg             the main pictures; without this folder they are fetched from ``url``

Source: Dong et al., "M5Product: Self-harmonized Contrastive Learning for E-commercial Multi-modal Pretraining", CVPR
2022; names and keys are those its toolkit reads (``Xiaodongsuper/M5Product_toolkit``, ``SCALE_code``), for instance
``subset_v3_train_id_label.json``. The files themselves are given out on application only and could not be seen [R]: a
file may lack ``pv``, ``label`` or ``url``, and the name of the query list follows that of the gallery list. Products
with one label are one product, as in the toolkit's evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.attribute_string import M5PRODUCT, parse_attributes
from moon.catalog.readers.json_entries import json_entries
from moon.catalog.readers.rows import RowError, SourceProduct, hashed_split
from moon.catalog.readers.same_label import LabelledGallery
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import files_of, split_named
from moon.catalog.readers.table_values import text_of
from moon.catalog.schema import SPLITS

_ITEMS: Final = ("**/*id_label.json",)
_QUERIES: Final = "**/query*_image_ids.json"
_IMAGES: Final = "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    item_id: str
    values: Mapping[str, Any]
    split: str
    local: bool
    """Whether the pictures are files of the source."""

    def pictures(self) -> list[str]:
        """Its main picture, or none."""
        picture = f"{_IMAGES}/{self.item_id}.jpg" if self.local else text_of(self.values.get("url"))
        return [picture] if picture else []


def read_m5product(source: Path, sink: CatalogSink) -> None:
    """Reads a folder of M5Product files.

    Every item is a product except those of the query lists: each of these is a query of title and picture, and all
    products of its split with its label are right answers. Products of one split and label are related as the same.
    The split is the one in the file's name, else by a hash of the item id. Video, audio and categories are not read.

    Raises:
        ValueError: no item file in ``source``, or a file that is no JSON object.
    """
    files = files_of(source, _ITEMS, "M5Product")
    queries = _query_ids(source)
    galleries = {split: LabelledGallery(sink) for split in SPLITS}
    products = (item for item in _items(files, source, sink) if item.item_id not in queries)
    for item in sink.ahead(products, _Item.pictures):
        _add_item(item, source, galleries[item.split], sink)
    if queries:
        asking = (item for item in _items(files, source, None) if item.item_id in queries)
        for item in sink.ahead(asking, _Item.pictures):
            _ask(item, source, galleries[item.split], sink)


def _query_ids(source: Path) -> frozenset[str]:
    ids: set[str] = set()
    for path in sorted(source.glob(_QUERIES)):
        try:
            listed = json.loads(path.read_bytes())
            ids.update(text_of(item_id) for item_id in listed)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a JSON list of item ids: {error}") from None
    return frozenset(ids)


def _items(files: list[Path], source: Path, sink: CatalogSink | None) -> Iterator[_Item]:
    """Every item; entries of another kind are rejected where there is a sink."""
    local = (source / _IMAGES).is_dir()
    for path in files:
        named = split_named(path, source)
        for key, values in json_entries(path):
            item_id = key.strip()
            if isinstance(values, dict):
                split = named or hashed_split(item_id)
                yield _Item(item_id=item_id, values=values, split=split, local=local)
            elif sink is not None:
                sink.reject("products", item_id, RowError("bad_row", f"item is a {type(values).__name__}, no object"))


def _add_item(item: _Item, root: Path, gallery: LabelledGallery, sink: CatalogSink) -> None:
    try:
        label = text_of(item.values.get("label"))
        table = text_of(item.values.get("pv"))
        product = SourceProduct(
            product_id=item.item_id,
            title=text_of(item.values.get("title")),
            description="",
            category_path=[],
            attributes=parse_attributes(table, M5PRODUCT)
            if len(table) > 1
            else {},  # the toolkit: one sign is no table
            pictures={f"main:{item.item_id}": picture for picture in item.pictures()},
            split=item.split,
        )
        sink.add_product(product, root)
        if label:
            gallery.add(item.item_id, [label])
    except RowError as error:
        sink.reject("products", item.item_id, error)


def _ask(item: _Item, root: Path, gallery: LabelledGallery, sink: CatalogSink) -> None:
    try:
        title, label = text_of(item.values.get("title")), text_of(item.values.get("label"))
        picture = next(iter(item.pictures()), "")
        gallery.ask(item.item_id, [label], text=title, picture=picture, root=root, split=item.split)
    except RowError as error:
        sink.reject("interactions", item.item_id, error)
