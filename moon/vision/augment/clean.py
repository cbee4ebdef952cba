"""The anchor of all edits: the product alone, centred on white (MOON2.0, the normalised main image)."""

from __future__ import annotations

from typing import Final

from PIL import Image

from moon.vision.augment.base import Edited
from moon.vision.augment.cutout import CutOut

_FILL: Final = 0.86
"""Share of the picture that the product's longer side fills."""
_MAX_ENLARGED: Final = 2.0
"""A product is not enlarged more than this: it would only blur."""


def normalised(product: CutOut) -> CutOut:
    """The product centred in a transparent picture of the same size."""
    return placed(product, product.picture.size, _FILL, 0.5, 0.5)


def placed(product: CutOut, size: tuple[int, int], fill: float, x: float, y: float) -> CutOut:
    """The product within a transparent picture of ``size``.

    Args:
        product: what to place.
        size: width and height of the new picture.
        fill: share of the picture that the product fills in the direction where it is longest.
        x: where it stands between the left (0) and the right (1) edge.
        y: the same between top and bottom.
    """
    box = product.box
    width, height = max(box.x1 - box.x0, 1.0), max(box.y1 - box.y0, 1.0)
    scale = min(fill * size[0] / width, fill * size[1] / height, _MAX_ENLARGED)
    new = max(round(width * scale), 1), max(round(height * scale), 1)
    # Premultiplied, or the colours of transparent pixels would bleed into the edge.
    layer = product.picture.convert("RGBa").resize(new, Image.Resampling.BICUBIC, box=box).convert("RGBA")
    canvas = Image.new("RGBA", size)
    canvas.paste(layer, (round((size[0] - new[0]) * x), round((size[1] - new[1]) * y)))
    return CutOut(canvas, product.exact)


def on(product: CutOut, background: Image.Image) -> Edited:
    """The product in front of an RGB background of the same size."""
    picture = background.copy()
    picture.paste(product.picture, mask=product.picture)
    return Edited(picture, product.box)


def on_white(product: CutOut) -> Edited:
    """The product in front of white."""
    return on(product, Image.new("RGB", product.picture.size, "white"))
