"""Which regions of a picture the embedding attends to: computed for some queries, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.evaluation.report.html import Html, cut, el, note, section, signed
from moon.evaluation.report.pictures import Pictures
from moon.vision.boxes import Box

if TYPE_CHECKING:
    from moon.items import ItemSource
    from moon.model import Embedder
    from moon.model.relevance import PatchRelevance

Results = Mapping[str, Any]
Heat = npt.NDArray[np.float64]
_CELLS: Final = 48
"""Cells of the longer side of a heat map."""
_EACH: Final = 4
"""Pictures for photo queries, and for text queries."""
_LETTERS: Final = 60
"""Letters of a query in a caption."""


@dataclass(frozen=True, kw_only=True)
class Attended:
    """One picture and what of it made it similar to something."""

    image_id: str
    heat: Heat
    """(rows, columns) over the whole picture, in [-1, 1]; the greatest has magnitude 1."""
    shown: str
    """What the picture is."""
    compared: str
    """What it is compared with."""
    score: float
    blank: float
    without_most: float
    without_least: float


def attend(
    embedder: Embedder,
    source: ItemSource,
    examples: Sequence[Results],
    boxes: Mapping[str, Box],
    pictures: Pictures,
) -> list[Attended]:
    """Maps for the first photo queries and the first text queries among ``examples``.

    A query's photo is compared with the product that was bought for it; a product's picture, alone, with the words
    that it was bought for.

    Args:
        embedder: the trained model.
        source: products and queries as items.
        examples: as evaluation writes them.
        boxes: picture id -> its core region, the whole picture where there is none.
        pictures: the catalogue's pictures.
    """
    photos = [example for example in examples if example["query_image_id"]][:_EACH]
    words = [example for example in examples if not example["query_image_id"]][:_EACH]
    return [_photo(embedder, source, example, boxes, pictures) for example in photos] + [
        found for example in words if (found := _product(embedder, source, example, boxes, pictures))
    ]


def attention_section(attended: Sequence[Attended], pictures: Pictures) -> Html:
    """Each picture beside itself under its heat map."""
    return section(
        "attention",
        "What the embedding looks at",
        el(
            "p",
            "How much each region of a picture adds to a similarity, from integrated gradients over the picture and "
            "its core crop, starting from a picture of its mean colour. Colours are scaled by picture.",
        ),
        el(
            "p",
            el("span", el("i", class_="swatch warm"), "raises the similarity"),
            el("span", el("i", class_="swatch cold"), "lowers it"),
            class_="legend",
        ),
        el("div", [_figure(one, pictures) for one in attended], class_="attention"),
        _check(attended),
    )


def overlay(
    maps: Sequence[PatchRelevance], size: tuple[int, int], box: tuple[int, int, int, int], cells: int = _CELLS
) -> Heat:
    """The relevance of the first picture and of its crop, laid over the picture.

    Args:
        maps: relevance of an item's pictures.
        size: width and height of its first picture in pixels.
        box: the crop's pixels in it.
        cells: cells of the longer side.

    Returns:
        (rows, columns) relevance by area in [-1, 1], scaled so that the greatest has magnitude 1.
    """
    per_pixel = cells / max(size)
    columns, rows = (max(1, round(side * per_pixel)) for side in size)
    heat_HW = np.zeros((rows, columns))
    for one in maps:
        if one.number:
            continue
        x0, y0, x1, y1 = box if one.kind.name == "CROP" else (0, 0, *size)
        left, top = min(round(x0 * per_pixel), columns - 1), min(round(y0 * per_pixel), rows - 1)
        right, bottom = max(left + 1, round(x1 * per_pixel)), max(top + 1, round(y1 * per_pixel))
        part_HW = heat_HW[top:bottom, left:right]
        density = one.values * one.values.size / part_HW.size
        spread = Image.fromarray(density.astype(np.float32)).resize(part_HW.shape[::-1], Image.Resampling.BILINEAR)
        part_HW += np.asarray(spread, np.float64)
    return heat_HW / (np.abs(heat_HW).max() or 1.0)


def _photo(
    embedder: Embedder, source: ItemSource, example: Results, boxes: Mapping[str, Box], pictures: Pictures
) -> Attended:
    bought = example["bought"][0]
    [target] = embedder.embed([source.product(bought)])
    item = source.query({"query_image_id": example["query_image_id"], "query_text": example["query_text"]})
    shown = f"the query photo and {_quoted(example['query_text'])}" if example["query_text"] else "the query photo"
    compared = f"the bought {pictures.title(bought)}"
    return _attended(embedder, item, target, example["query_image_id"], boxes, shown, compared)


def _product(
    embedder: Embedder, source: ItemSource, example: Results, boxes: Mapping[str, Box], pictures: Pictures
) -> Attended | None:
    bought = example["bought"][0]
    item, image_id = source.product(bought).view("image"), pictures.first_picture(bought)
    if not item.images or image_id is None:
        return None
    [target] = embedder.embed([source.query({"query_image_id": None, "query_text": example["query_text"]})])
    compared = f"the words {_quoted(example['query_text'])}"
    return _attended(embedder, item, target, image_id, boxes, pictures.title(bought), compared)


def _quoted(text: str) -> str:
    return f"“{cut(text, _LETTERS)}”"


def _attended(
    embedder: Embedder,
    item: Any,
    target: npt.NDArray[np.float32],
    image_id: str,
    boxes: Mapping[str, Box],
    shown: str,
    compared: str,
) -> Attended:
    from moon.model.relevance import picture_relevance
    from moon.vision.detectors import crop_pixels

    size = item.images[0].size
    found = picture_relevance(embedder, item, target)
    return Attended(
        image_id=image_id,
        heat=overlay(found.pictures, size, crop_pixels(size, boxes.get(image_id, Box(0, 0, *size)))),
        shown=shown,
        compared=compared,
        score=found.score,
        blank=found.blank,
        without_most=found.without_most,
        without_least=found.without_least,
    )


def _figure(one: Attended, pictures: Pictures) -> Html:
    place = f"most relevant: {_place(one.heat)}"
    drawing = pictures.heated(one.image_id, one.heat, f"Heat map of {one.shown}, {place}")
    words = (
        f" and {one.compared}. Similarity {signed(one.score)}; {signed(one.blank)} if the picture were of one "
        f"colour; {place}."
    )
    caption = el("figcaption", el("b", one.shown[:1].upper() + one.shown[1:]), words)
    return el("figure", el("div", pictures.image(one.image_id, one.shown), drawing, class_="duo"), caption)


def _place(heat: Heat) -> str:
    """Where the centre of what is relevant lies, in words."""
    weight = np.clip(heat, 0.0, None)
    if not weight.sum():
        return "nothing"
    rows, columns = np.indices(heat.shape)
    y = float((weight * (rows + 0.5)).sum() / weight.sum()) / heat.shape[0]
    x = float((weight * (columns + 0.5)).sum() / weight.sum()) / heat.shape[1]
    vertical = "upper" if y < 0.42 else "lower" if y > 0.58 else ""
    horizontal = "left" if x < 0.42 else "right" if x > 0.58 else ""
    return " ".join(filter(None, [vertical, horizontal, "part"])) if vertical or horizontal else "the middle"


def _check(attended: Sequence[Attended]) -> Html:
    """Whether blanking what is marked matters."""
    most = float(np.mean([one.score - one.without_most for one in attended]))
    least = float(np.mean([one.score - one.without_least for one in attended]))
    return note(
        f"Is it true? Blanking the most relevant quarter of the patches lowers the similarity by {most:.3f} on "
        f"average over these {len(attended)}, blanking the least relevant quarter changes it by "
        f"{-least:+.3f}.".replace("-", "−")
    )
