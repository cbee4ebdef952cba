"""From rows of the catalogue to items of the model; pictures are decoded, and cropped, when asked for.

Validation lets a small share of rows name pictures or products that do not exist; here they are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from moon.catalog.store import Catalog, read_table
from moon.model.item import Item
from moon.vision.boxes import Box
from moon.vision.decode import ImageError, decode
from moon.vision.detectors import crop

_LOG = logging.getLogger(__name__)


class ItemSource:
    """Products and queries of a catalogue as items.

    Args:
        catalog: catalogue folder.
        regions: output folder of the regions step.
        max_images: pictures of a product that are decoded; the model reads no more.

    Raises:
        ValueError: ``catalog`` is no catalogue, or ``regions`` are not of its pictures.
    """

    def __init__(self, catalog: Path, regions: Path, max_images: int = 2) -> None:
        opened = Catalog.open(catalog)
        self._catalog = opened
        self.products = {row["product_id"]: row for row in opened.rows("products")}
        self._pictures = opened.image_store()
        self._max_images = max_images
        self._boxes = {
            row["image_id"]: Box(row["x0"], row["y0"], row["x1"], row["y1"])
            for row in read_table(regions / "regions").to_pylist()
        }
        if self._boxes and not any(image_id in self._pictures for image_id in self._boxes):
            raise ValueError(
                f"none of the {len(self._boxes)} regions in {regions} is of a picture of {catalog}; "
                f"make them with 'moon regions --catalog {catalog}'"
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

    def product(self, product_id: str) -> Item:
        """The item of one product.

        Raises:
            KeyError: no such product.
        """
        row = self.products[product_id]
        known = [image_id for image_id in row["image_ids"] or () if image_id in self._pictures]
        images, crops = self._decode(known[: self._max_images])
        return Item(
            images=images,
            crops=crops,
            title=row["title"],
            category=tuple(row["category_path"] or ()),
            attributes=row["attributes"],
        )

    def query(self, interaction: Mapping[str, Any]) -> Item:
        """The item of one interaction's query: its text, its photo, or both."""
        image_id = interaction["query_image_id"]
        images, crops = self._decode([image_id] if image_id else [])
        return Item(images=images, crops=crops, title=interaction["query_text"])

    def _decode(self, image_ids: list[str]) -> tuple[tuple[Image.Image, ...], tuple[Image.Image, ...]]:
        images = [self._picture(image_id) for image_id in image_ids]
        crops = [
            crop(image, self._boxes.get(image_id, Box(0, 0, *image.size)))
            for image_id, image in zip(image_ids, images, strict=True)
        ]
        return tuple(images), tuple(crops)

    def _picture(self, image_id: str) -> Image.Image:
        try:
            return decode(self._pictures[image_id])
        except ImageError as error:
            raise ValueError(f"picture {image_id} of {self._catalog.root} cannot be decoded: {error}") from None


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
