"""Reader of Fashion200K: women's clothes, several pictures and one caption a product.

    labels/KIND_train_detect_all.txt, labels/KIND_test_detect_all.txt, KIND dress, jacket, pants, skirt or top:

        picture path TAB detection score TAB caption

    women/...   the pictures, cropped to the garment, as women/dresses/casual_and_day_dresses/51727804/51727804_0.jpeg

Source: Han et al., "Automatic Spatially-aware Fashion Concept Discovery", ICCV 2017; the README of
``xthan/fashion-200k`` and public scripts that read these files. The folder above a picture is taken to be its product,
and the two folders above that the category, as the paths read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Final

from moon.catalog.readers.rows import RowError, SourceProduct
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import files_of, lines_of, row_name, split_named

_LABELS: Final = ("labels/*_detect_all.txt",)
EVENT: Final = "other_view"


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One picture of a product."""

    product_id: str
    category_path: list[str]
    path: str
    caption: str


def read_fashion200k(source: Path, sink: CatalogSink) -> None:
    """Reads the folder that holds ``labels/`` and ``women/``.

    Nobody searches or buys in this source. Of a product with several pictures the last is not shown: it is a picture
    query for the product, event ``other_view``. The caption of the first picture is the title; it is not made a query,
    because the product's text would hold the whole of it. Products and queries have the label file's split. The lines
    of a product must follow each other, as they do; a later one is rejected as ``duplicate_id``. Detection scores and
    boxes are lost: the boxes are of pictures before the crop.

    Raises:
        ValueError: no label files in ``source``.
    """
    for path in files_of(source, _LABELS, "Fashion200K"):
        split = split_named(path, path)
        if not split:
            raise ValueError(f"{path} names no split; label files are named as dress_train_detect_all.txt is")
        for product_id, lines in groupby(_lines(path, source, sink), key=lambda line: line.product_id):
            _add(product_id, list(lines), split, source, sink)


def _lines(path: Path, source: Path, sink: CatalogSink) -> Iterator[_Line]:
    for number, line in lines_of(path):
        try:
            yield _line(line)
        except RowError as error:
            sink.reject("products", row_name(path, source, number), error)


def _line(line: bytes) -> _Line:
    try:
        values = line.decode("utf-8-sig").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise RowError("bad_row", f"not UTF-8: {error}") from None
    if len(values) != 3:
        raise RowError("bad_row", f"{len(values)} values parted by tabs, expected path, score and caption")
    path = PurePosixPath(values[0].strip())
    if len(path.parts) < 3:
        raise RowError("bad_row", f"path '{values[0][:80]}' names no product folder")
    *above, product_id, _ = path.parts
    names = [name.replace("_", " ") for name in above]
    return _Line(product_id=product_id, category_path=names, path=str(path), caption=" ".join(values[2].split()))


def _add(product_id: str, lines: list[_Line], split: str, root: Path, sink: CatalogSink) -> None:
    shown = lines[:-1] or lines
    try:
        sink.add_product(
            SourceProduct(
                product_id=product_id,
                title=lines[0].caption,
                description="",
                category_path=lines[0].category_path,
                attributes={},
                pictures={line.path: line.path for line in shown},
                split=split,
            ),
            root,
        )
    except RowError as error:
        sink.reject("products", product_id, error)
        return
    if len(lines) == len(shown):
        return
    query_id = f"view:{lines[-1].path}"
    try:
        image_id = sink.add_image(lines[-1].path, root, lines[-1].path)
        sink.add_interaction(query_id, product_id, text=None, image_id=image_id, split=split, event=EVENT)
    except RowError as error:
        sink.reject("interactions", query_id, error)
