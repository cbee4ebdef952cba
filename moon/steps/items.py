"""From rows of the catalogue to items of the model; pictures are decoded, and cropped, when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from moon.catalog.store import Catalog, read_table
from moon.model.item import Item, View
from moon.vision.boxes import Box
from moon.vision.decode import decode
from moon.vision.detectors import crop


class ItemSource:
    """Products and queries of a catalogue as items.

    Args:
        catalog: catalogue folder.
        regions: output folder of the regions step.
        max_images: pictures of a product that are decoded; the model reads no more.
    """

    def __init__(self, catalog: Path, regions: Path, max_images: int = 2) -> None:
        opened = Catalog.open(catalog)
        self.products = {row["product_id"]: row for row in opened.rows("products")}
        self._pictures = opened.image_store()
        self._max_images = max_images
        self._boxes = {
            row["image_id"]: Box(row["x0"], row["y0"], row["x1"], row["y1"])
            for row in read_table(regions / "regions").to_pylist()
        }

    def product(self, product_id: str, view: View = "multimodal") -> Item:
        """The item of one product.

        Raises:
            KeyError: no such product.
        """
        row = self.products[product_id]
        images, crops = self._decode(row["image_ids"][: self._max_images]) if view != "text" else ((), ())
        return Item(
            images=images,
            crops=crops,
            title=row["title"],
            category=tuple(row["category_path"]),
            attributes=row["attributes"],
        ).view(view)

    def query(self, interaction: Mapping[str, Any]) -> Item:
        """The item of one interaction's query: its text, its photo, or both."""
        image_id = interaction["query_image_id"]
        images, crops = self._decode([image_id] if image_id else [])
        return Item(images=images, crops=crops, title=interaction["query_text"])

    def _decode(self, image_ids: list[str]) -> tuple[tuple[Image.Image, ...], tuple[Image.Image, ...]]:
        images = [decode(self._pictures[image_id]) for image_id in image_ids]
        crops = [
            crop(image, self._boxes.get(image_id, Box(0, 0, *image.size)))
            for image_id, image in zip(image_ids, images, strict=True)
        ]
        return tuple(images), tuple(crops)


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
