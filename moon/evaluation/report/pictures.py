"""Pictures inside the page: small JPEG data URIs, with boxes drawn over them as SVG."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from moon.evaluation.report.html import Html, el
from moon.vision.boxes import Box
from moon.vision.decode import decode, encode_jpeg

MAX_SIDE = 160
_QUALITY = 78


class Pictures:
    """Thumbnails of a catalogue, each encoded once.

    Args:
        read: encoded bytes of a picture id, None where there is none.
        products: product id -> row with title and image_ids.
    """

    def __init__(self, read: Callable[[str], bytes | None], products: Mapping[str, Mapping[str, Any]]) -> None:
        self._read, self._products = read, products
        self._uris: dict[str, tuple[str, tuple[int, int]] | None] = {}

    def title(self, product_id: str) -> str:
        """A product's title, its id where the catalogue does not hold it."""
        return str(self._products.get(product_id, {}).get("title") or product_id)

    def image(self, image_id: str, text: str) -> Html:
        """One picture, an empty frame where it is missing."""
        found = self._uri(image_id)
        if not found:
            return el("div", "no picture", class_="blank")
        return el("img", src=found[0], alt=text, loading="lazy")

    def product(self, product_id: str) -> Html:
        """The first picture of a product."""
        image_ids = self._products.get(product_id, {}).get("image_ids") or [""]
        return self.image(image_ids[0], self.title(product_id))

    def boxed(self, image_id: str, boxes: Sequence[tuple[Box, str]]) -> Html | None:
        """A picture with ``(box, style class)`` drawn on it; boxes are in pixels of the stored picture."""
        found = self._uri(image_id)
        if not found:
            return None
        uri, (width, height) = found
        frames = [
            el(
                "rect",
                x=round(box.x0, 1),
                y=round(box.y0, 1),
                width=round(box.x1 - box.x0, 1),
                height=round(box.y1 - box.y0, 1),
                class_=f"box {style}",
            )
            for box, style in boxes
        ]
        picture = el("image", href=uri, width=width, height=height)
        return el("svg", picture, frames, viewBox=f"0 0 {width} {height}", role="img", class_="boxed")

    def _uri(self, image_id: str) -> tuple[str, tuple[int, int]] | None:
        """Data URI and full size of a picture."""
        if image_id not in self._uris:
            data = self._read(image_id)
            self._uris[image_id] = None if data is None else thumbnail(data)
        return self._uris[image_id]


def thumbnail(data: bytes) -> tuple[str, tuple[int, int]]:
    """A picture of at most `MAX_SIDE` pixels a side as a data URI, and the size of the original."""
    picture = decode(data)
    size = picture.size
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    encoded = base64.b64encode(encode_jpeg(picture, quality=_QUALITY)).decode("ascii")
    return f"data:image/jpeg;base64,{encoded}", size
