"""From rows of the catalogue to items of the model; pictures stay encoded until the processor asks for their pixels.

Validation lets a small share of rows name pictures or products that do not exist; here they are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from moon.catalog.store import Catalog, ImageStore, read_table
from moon.model.item import Item
from moon.vision.boxes import Box
from moon.vision.detectors import crop_pixels
from moon.vision.resize import Picture, Size

_LOG = logging.getLogger(__name__)
_BOX_COLUMNS = ("x0", "y0", "x1", "y1")

Sizes = tuple[tuple[Size, ...], tuple[Size, ...]]
"""Sizes of an item's pictures, and of its crops."""


class ItemSource:
    """Products and queries of a catalogue as items.

    Args:
        catalog: catalogue folder.
        regions: output folder of the regions step.
        max_images: pictures of a product that its item shows; the model reads no more.
        augmented: output folder of the augment step; None knows the products as they are in the catalogue only.

    Raises:
        ValueError: ``catalog`` is no catalogue, or ``regions`` or ``augmented`` are not of its pictures and products.
    """

    def __init__(self, catalog: Path, regions: Path, max_images: int = 2, augmented: Path | None = None) -> None:
        opened = Catalog.open(catalog)
        self._catalog = opened
        self.products = {row["product_id"]: row for row in opened.rows("products")}
        boxes = _boxes(read_table(regions / "regions").to_pylist())
        self._pictures = _Pictures(catalog, "images", boxes)
        self._max_images = max_images
        if boxes and not any(image_id in self._pictures for image_id in boxes):
            raise ValueError(
                f"none of the {len(boxes)} regions in {regions} is of a picture of {catalog}; "
                f"make them with 'moon regions --catalog {catalog}'"
            )
        self._augmented = _Augmented(augmented) if augmented else None
        if self._augmented and not self._augmented.is_of(self.products):
            raise ValueError(
                f"nothing in {augmented} is of a product of {catalog}; make it with 'moon augment --catalog {catalog}'"
            )

    def purchases(self, split: str) -> list[dict[str, Any]]:
        """The interactions of a split whose query can be asked and whose product exists."""
        rows = [row for row in self._catalog.rows("interactions") if row["split"] == split]
        usable = [row for row in rows if row["product_id"] in self.products and self._can_ask(row)]
        if len(usable) < len(rows):
            _LOG.warning(
                "%d of %d interactions of split %s are left out: they ask nothing, or name a product or picture that "
                "is not in the catalogue",
                len(rows) - len(usable),
                len(rows),
                split,
            )
        return usable

    def _can_ask(self, row: Mapping[str, Any]) -> bool:
        if row["query_image_id"]:
            return row["query_image_id"] in self._pictures
        return bool((row["query_text"] or "").strip())

    def product(self, product_id: str, draw: int = 0) -> Item:
        """The item of one product, or one of its variants.

        Args:
            product_id: the product.
            draw: which variant (MOON2.0, co-augmentation), any whole number, counted modulo the number of variants.
                0 is the product as it is in the catalogue; each of the others has its enriched title and one of its
                pictures replaced by an edited copy. Products outside of the train split have no variants.

        Raises:
            KeyError: no such product.
        """
        title, shown = self._variant(product_id, draw)
        row = self.products[product_id]
        loaded = [pictures.load(image_id) for pictures, image_id in shown]
        return Item(
            images=tuple(image for image, _ in loaded),
            crops=tuple(core for _, core in loaded),
            title=title,
            category=tuple(row["category_path"] or ()),
            attributes=row["attributes"],
        )

    def variants(self, product_id: str) -> int:
        """Different items that the draws of a product give, at least 1."""
        row = self.products[product_id]
        if self._augmented is None or row["split"] != "train":
            return 1
        return 1 + (len(self._augmented.copies_of(self._known(row))) or int(product_id in self._augmented.titles))

    def _known(self, row: Mapping[str, Any]) -> list[str]:
        """The pictures of a product that its item shows."""
        return [image_id for image_id in row["image_ids"] or () if image_id in self._pictures][: self._max_images]

    def product_text(self, product_id: str, draw: int = 0) -> Item:
        """`product` without its pictures; nothing is decoded."""
        row = self.products[product_id]
        title, _ = self._variant(product_id, draw)
        return Item(title=title, category=tuple(row["category_path"] or ()), attributes=row["attributes"])

    def sizes(self, product_id: str, draw: int = 0) -> Sizes:
        """Sizes of the pictures and crops that `product` gives, from the tables alone; nothing is decoded."""
        return _sizes(self._variant(product_id, draw)[1])

    def query(self, interaction: Mapping[str, Any]) -> Item:
        """The item of one interaction's query: its text, its photo, or both."""
        image_id = interaction["query_image_id"]
        image, core = self._pictures.load(image_id) if image_id else (None, None)
        return Item(images=(image,) if image else (), crops=(core,) if core else (), title=interaction["query_text"])

    def query_sizes(self, interaction: Mapping[str, Any]) -> Sizes:
        """Sizes of the picture and crop that `query` gives, from the tables alone; nothing is decoded."""
        image_id = interaction["query_image_id"]
        return _sizes([(self._pictures, image_id)] if image_id else [])

    def _variant(self, product_id: str, draw: int) -> tuple[str | None, list[tuple[_Pictures, str]]]:
        """Title and pictures of a variant of a product, the pictures with the table they are in."""
        row = self.products[product_id]
        known = self._known(row)
        shown = [(self._pictures, image_id) for image_id in known]
        title: str | None = row["title"]
        if self._augmented is None or not draw or row["split"] != "train":
            return title, shown
        replaced = self._augmented.copies_of(known)
        enriched = self._augmented.titles.get(product_id)
        chosen = draw % self.variants(product_id)
        if chosen and replaced:
            place, copy = replaced[chosen - 1]
            shown[place] = (self._augmented.pictures, copy)
        return enriched if chosen and enriched is not None else title, shown


class _Pictures:
    """The pictures of one table with their core regions; without one, the region is the whole picture."""

    def __init__(self, root: Path, table: str, boxes: Mapping[str, Box]) -> None:
        self._root, self._table, self._boxes = root, table, boxes
        self._store = ImageStore(root / table)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._store

    def load(self, image_id: str) -> tuple[Picture, Picture]:
        """A picture and its crop; what cannot be decoded raises `moon.vision.decode.ImageError`, a ValueError."""
        image = Picture(self._store[image_id], f"picture {image_id} of {self._root}")
        return image, image.crop(crop_pixels(image.size, self._boxes.get(image_id, Box(0, 0, *image.size))))

    def size(self, image_id: str) -> tuple[Size, Size]:
        """Sizes of a picture and of its crop."""
        size = self._sizes[image_id]
        x0, y0, x1, y1 = crop_pixels(size, self._boxes.get(image_id, Box(0, 0, *size)))
        return size, (x1 - x0, y1 - y0)

    @cached_property
    def _sizes(self) -> dict[str, Size]:
        columns = read_table(self._root / self._table, ["image_id", "width", "height"]).to_pydict()
        return dict(zip(columns["image_id"], zip(columns["width"], columns["height"], strict=True), strict=True))


class _Augmented:
    """What the augment step wrote: enriched titles by product, and edited copies by the picture they are made from."""

    def __init__(self, folder: Path) -> None:
        columns = ["image_id", "source_id", "product_id", *_BOX_COLUMNS]
        rows = read_table(folder / "pictures", columns).to_pylist()
        self.titles = {row["product_id"]: row["title"] for row in read_table(folder / "titles").to_pylist()}
        self.pictures = _Pictures(folder, "pictures", _boxes(rows))
        self.copies: dict[str, list[str]] = {}
        for row in rows:
            self.copies.setdefault(row["source_id"], []).append(row["image_id"])
        self._product_ids = self.titles.keys() | {row["product_id"] for row in rows}

    def copies_of(self, image_ids: Iterable[str]) -> list[tuple[int, str]]:
        """The edited copies of pictures, each with its picture's place among them."""
        return [(place, copy) for place, id_ in enumerate(image_ids) for copy in self.copies.get(id_, ())]

    def is_of(self, products: Mapping[str, Any]) -> bool:
        """Whether it is empty or knows one of these products."""
        return not self._product_ids or not self._product_ids.isdisjoint(products)


def _boxes(rows: Iterable[Mapping[str, Any]]) -> dict[str, Box]:
    return {row["image_id"]: Box(*(row[name] for name in _BOX_COLUMNS)) for row in rows}


def _sizes(shown: Iterable[tuple[_Pictures, str]]) -> Sizes:
    sizes = [pictures.size(image_id) for pictures, image_id in shown]
    return tuple(size for size, _ in sizes), tuple(size for _, size in sizes)


def query_key(interaction: Mapping[str, Any]) -> tuple[str, str]:
    """What makes two queries the same query: equal words, whatever their case, and the same photo."""
    return " ".join((interaction["query_text"] or "").lower().split()), interaction["query_image_id"] or ""


def purchases_of(interactions: list[dict[str, Any]]) -> list[frozenset[str]]:
    """For each interaction, every product bought for the same query."""
    bought: dict[tuple[str, str], set[str]] = {}
    for row in interactions:
        bought.setdefault(query_key(row), set()).add(row["product_id"])
    frozen = {key: frozenset(products) for key, products in bought.items()}
    return [frozen[query_key(row)] for row in interactions]
