"""Pictures inside the page: small data URIs, with boxes or heat drawn over them as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.evaluation.report.html import Html, cut, el
from moon.vision.boxes import Box
from moon.vision.decode import decode

MAX_SIDE: Final = 208
_QUALITY: Final = 76
BUDGET: Final = 3_600_000
"""Characters that the pictures of a page take together, so that the page stays under 5 MB."""
_WARM, _COLD = (255, 92, 20), (40, 120, 255)
_OPACITY: Final = 0.78


class Pictures:
    """Thumbnails of a catalogue, each encoded once.

    Args:
        read: encoded bytes of a picture id, None where there is none.
        products: product id -> row with title and image_ids.
        budget: characters after which further pictures are left out of the page.
    """

    def __init__(
        self, read: Callable[[str], bytes | None], products: Mapping[str, Mapping[str, Any]], budget: int = BUDGET
    ) -> None:
        self._read, self._products, self._left = read, products, budget
        self._uris: dict[str, tuple[str, tuple[int, int]] | None] = {}
        self.shown = self.left_out = 0

    def title(self, product_id: str) -> str:
        """A product's title, its id where the catalogue does not hold it."""
        return cut(str(self._products.get(product_id, {}).get("title") or product_id))

    def first_picture(self, product_id: str) -> str | None:
        """The id of a product's first picture."""
        return next(iter(self._products.get(product_id, {}).get("image_ids") or ()), None)

    def image(self, image_id: str, text: str) -> Html:
        """One picture, an empty frame where it is missing."""
        found = self._uri(image_id)
        if isinstance(found, str):
            return el("div", found, class_="blank")
        return el("img", src=found[0], alt=text)

    def product(self, product_id: str) -> Html:
        """The first picture of a product."""
        return self.image(self.first_picture(product_id) or "", self.title(product_id))

    def boxed(self, image_id: str, boxes: Sequence[tuple[Box, str]], text: str) -> Html:
        """A picture with ``(box, style class)`` drawn on it; boxes are in pixels of the stored picture."""
        found = self._uri(image_id)
        if isinstance(found, str):
            return el("div", found, class_="blank")
        frames = [
            el(
                "rect",
                x=round(box.x0, 1),
                y=round(box.y0, 1),
                width=round(box.x1 - box.x0, 1),
                height=round(box.y1 - box.y0, 1),
                class_=f"box {part}",
            )
            for box, style in boxes
            for part in ("halo", style)
        ]
        return _drawing(found, frames, text)

    def heated(self, image_id: str, heat: npt.NDArray[np.float64], text: str) -> Html:
        """A picture in grey under a (rows, columns) heat map in [-1, 1] that covers all of it."""
        found = self._uri(image_id)
        if isinstance(found, str):
            return el("div", found, class_="blank")
        width, height = found[1]
        layer = el("image", href=heat_uri(heat), width=width, height=height, preserveAspectRatio="none", class_="heat")
        return _drawing(found, [layer], text, "boxed dim")

    def _uri(self, image_id: str) -> tuple[str, tuple[int, int]] | str:
        """Data URI and full size of a picture, or why there is none."""
        if image_id not in self._uris:
            data = self._read(image_id)
            self._uris[image_id] = None if data is None else thumbnail(data)
        found = self._uris[image_id]
        if found is None:
            return "no picture"
        if len(found[0]) > self._left:
            self.left_out += 1
            return "left out: the page is full"
        self._left -= len(found[0])
        self.shown += 1
        return found


def thumbnail(data: bytes, side: int = MAX_SIDE) -> tuple[str, tuple[int, int]]:
    """A picture of at most ``side`` pixels a side as a data URI, and the size of the original."""
    picture = decode(data)
    size = picture.size
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(picture, quality=_QUALITY, method=5), size


def heat_uri(heat: npt.NDArray[np.float64]) -> str:
    """A heat map in [-1, 1] as a transparent picture: warm where positive, cold where negative."""
    strength = np.clip(np.abs(heat), 0.0, 1.0)[..., None]
    colour = np.where(heat[..., None] >= 0, np.array(_WARM), np.array(_COLD))
    pixels = np.concatenate([colour, 255 * _OPACITY * strength], axis=-1)
    return _encoded(Image.fromarray(pixels.round().astype(np.uint8), "RGBA"), lossless=True, exact=True)


def _encoded(picture: Image.Image, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _drawing(found: tuple[str, tuple[int, int]], layers: Sequence[Html], text: str, style: str = "boxed") -> Html:
    uri, (width, height) = found
    picture = el("image", href=uri, width=width, height=height, class_="photo")
    return el("svg", el("title", text), picture, layers, viewBox=f"0 0 {width} {height}", role="img", class_=style)
