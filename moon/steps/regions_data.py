"""The pictures of a catalogue whose product boxes are known, for training and measuring detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.catalog.grouping import Groups
from moon.catalog.store import Catalog
from moon.vision.boxes import Box
from moon.vision.decode import decode_stored
from moon.vision.detectors.features import COLOURS, Vector

Grouping = Literal["picture", "category"]
GROUPINGS: Final = ("picture", "category")

_ALIKE: Final = 0.98
"""Pictures whose small copies correlate this much are near-identical."""
_BLOCK: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """A picture with its true boxes."""

    image_id: str
    boxes: tuple[Box, ...]
    title: str | None
    """Title of the product it is a picture of; a customer's photo has none."""
    product_id: str
    """The product it shows or was bought with; the picture's own id where there is none."""
    category: str


def true_boxes(catalog: Catalog) -> dict[str, list[Box]]:
    """The known boxes of each picture that has any."""
    truths: dict[str, list[Box]] = {}
    for row in catalog.rows("boxes"):
        truths.setdefault(row["image_id"], []).append(Box(row["x0"], row["y0"], row["x1"], row["y1"]))
    return truths


def titles_of(catalog: Catalog) -> dict[str, str]:
    """Picture id -> title of the first product that shows it.

    A customer's photo has no title here: when it is searched with, nobody knows yet what it shows.
    """
    titles: dict[str, str] = {}
    for row in catalog.rows("products", ["title", "image_ids"]):
        for image_id in row["image_ids"] or () if row["title"] else ():
            titles.setdefault(image_id, row["title"])
    return titles


def boxed_pictures(catalog: Catalog, split: str = "") -> dict[str, Boxed]:
    """The pictures with known boxes by id, in the order of their ids.

    Args:
        catalog: an open catalogue.
        split: only pictures of products, or photos of purchases, of this split; empty takes all.

    Raises:
        ValueError: there is none.
    """
    places = _places(catalog)
    titles = titles_of(catalog)
    found = {}
    for image_id, boxes in sorted(true_boxes(catalog).items()):
        of_split, product_id, category = places.get(image_id, ("", image_id, ""))
        if split and of_split != split:
            continue
        found[image_id] = Boxed(
            image_id=image_id,
            boxes=tuple(boxes),
            title=titles.get(image_id),
            product_id=product_id,
            category=category,
        )
    if not found:
        of = f" of split '{split}'" if split else ""
        raise ValueError(f"{catalog.root} has no picture{of} with a known box; its table 'boxes' holds what is known")
    return found


def _places(catalog: Catalog) -> dict[str, tuple[str, str, str]]:
    """Picture id -> its split, product and leaf category."""
    rows = catalog.rows("products", ["product_id", "image_ids", "split", "category_path"])
    categories = {row["product_id"]: " > ".join(row["category_path"] or ()) for row in rows}
    places: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        for image_id in row["image_ids"] or ():
            places.setdefault(image_id, (row["split"], row["product_id"], categories[row["product_id"]]))
    for row in catalog.rows("interactions", ["query_image_id", "product_id", "split"]):
        if row["query_image_id"]:
            bought = row["product_id"]
            places.setdefault(row["query_image_id"], (row["split"], bought, categories.get(bought, "")))
    return places


def decoded(catalog: Catalog, wanted: Mapping[str, Boxed]) -> Iterator[tuple[Boxed, Image.Image]]:
    """The wanted pictures one after another, in the order of the catalogue's shards.

    Raises:
        ValueError: one cannot be decoded.
    """
    for image_id, data in catalog.images():
        if image_id in wanted:
            yield wanted[image_id], decode_stored(image_id, data)


def groups_of(pictures: Sequence[Boxed], descriptions: Vector, by: Grouping = "picture") -> list[str]:
    """A group for each picture, so that pictures that resemble each other stay together.

    Args:
        pictures: N pictures.
        descriptions: [N, D] what `describe` says of them.
        by: ``picture`` joins pictures of one product and near-identical ones; ``category`` whole leaf categories,
            and near-identical pictures.
    """
    keys: dict[str, int] = {}
    groups: Groups[int] = Groups()
    for place, picture in enumerate(pictures):
        key = picture.category if by == "category" and picture.category else picture.product_id
        groups.join(keys.setdefault(key, place), place)
    for a, b in _near_identical(descriptions):
        groups.join(a, b)
    return [pictures[groups.name(place)].image_id for place in range(len(pictures))]


def _near_identical(descriptions: Vector) -> Iterator[tuple[int, int]]:
    """Pairs of pictures whose small copies correlate highly."""
    colours = descriptions[:, COLOURS]
    centred = colours - colours.mean(axis=1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    for start in range(0, len(unit), _BLOCK):
        alike: npt.NDArray[np.intp] = np.argwhere(unit[start : start + _BLOCK] @ unit.T >= _ALIKE)
        yield from ((start + int(a), int(b)) for a, b in alike if start + a < b)
