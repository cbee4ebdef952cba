"""Reader of the Freiburg boxes format: photos of groceries with the product boxes that people drew.

    items.jsonl    image_id, image, label, category [top, label], boxes [{label, box}], content_box, split

Sources: Jund et al., "The Freiburg Groceries Dataset", 2016; boxes of its objects detection variant. Boxes are
``[x0, y0, x1, y1]`` in pixels of the stored picture. A third of the pictures have grey bars that were added to make
them square; ``content_box`` is what lies between them. The set is for detectors: nobody buys anything, and not every
product in a picture has a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.items_file import read_items
from moon.catalog.readers.sink import CatalogSink, Picture, RowError, SourceProduct
from moon.catalog.readers.table_values import list_of, text_of
from moon.vision.decode import ImageError, decode, encode_jpeg

_ITEMS: Final = "items.jsonl"
_QUALITY: Final = 95

_Box = tuple[float, float, float, float]


def read_freiburg(source: Path, sink: CatalogSink) -> None:
    """Reads a folder in the Freiburg boxes format; each photo is a product, named by its label.

    A picture with grey bars is cut to its content and stored as a new JPEG, and its boxes are moved with it; any other
    is stored as it is. Boxes are cut at the picture's edges, and those with nothing left are rejected.

    Raises:
        ValueError: no items file in ``source``.
    """
    read_items(source, _ITEMS, "Freiburg boxes", sink, _add)


def _add(row: Mapping[str, Any], source: Path, sink: CatalogSink) -> None:
    name, label, path = (text_of(row.get(key)) for key in ("image_id", "label", "image"))
    size, boxes = row.get("size"), row.get("boxes")
    if not isinstance(size, list) or len(size) != 2 or not isinstance(boxes, list):
        raise RowError("bad_row", "'size' must be [width, height] and 'boxes' a list")
    whole = (0.0, 0.0, *_numbers(size, 2))
    content = _numbers(row.get("content_box", whole), 4)
    product = SourceProduct(
        product_id=name,
        title=label,
        description="",
        category_path=list_of(row.get("category"), ""),
        attributes={},
        pictures={name: _content(path, content, source, sink) if content != whole else path} if path else {},
        split=text_of(row.get("split")),
    )
    sink.add_product(product, source)
    for place, drawn in enumerate(boxes):
        try:
            sink.add_box(name, _inside(_numbers(drawn.get("box") if isinstance(drawn, dict) else None, 4), content))
        except RowError as error:
            sink.reject("boxes", f"{name}:{place}", error)


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """So many numbers.

    Raises:
        RowError: anything else.
    """
    if not isinstance(value, list | tuple) or len(value) != count:
        raise RowError("bad_row", f"{count} numbers are expected, not {value!r:.80}")
    if not all(isinstance(number, int | float) and abs(number) < 1e6 for number in value):
        raise RowError("bad_row", f"{count} numbers are expected, not {value!r:.80}")
    return tuple(map(float, value))


def _content(path: str, content: tuple[float, ...], source: Path, sink: CatalogSink) -> Picture:
    """The part of a picture without its bars, as JPEG; the path where it cannot be cut, so that it is rejected."""
    try:
        picture = decode(sink.read_picture(source, path))
    except (ImageError, RowError):
        return path
    edges = [round(edge) for edge in content]
    return encode_jpeg(picture.crop((edges[0], edges[1], edges[2], edges[3])), _QUALITY)


def _inside(box: tuple[float, ...], content: tuple[float, ...]) -> _Box:
    """A box in pixels of the content, cut at its edges; empty boxes stay empty."""
    left, top, right, bottom = map(round, content)
    x0, x1 = (min(max(x, left), right) - left for x in (box[0], box[2]))
    y0, y1 = (min(max(y, top), bottom) - top for y in (box[1], box[3]))
    return x0, y0, x1, y1
