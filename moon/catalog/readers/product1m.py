"""Reader of Product1M: cosmetics of Taobao, single ones as gallery and sets of several as queries.

    product1m_train_*.txt, product1m_gallery_*.txt, product1m_dev_*.txt, product1m_test_*.txt, one line an item:

        item id ##### title ##### picture address ##### copy of the picture on another host ##### label #;# label ...

    images/ITEM.jpg   pictures fetched before; without this folder they are fetched from the first address

Source: Zhan et al., "Product1M: Towards Weakly Supervised Instance-Level Product Retrieval via Cross-Modal
Pretraining", ICCV 2021; ``product1m_dev_ossurl_v2.txt`` and ``product1m_test_ossurl_v2.txt`` of ``zhanxlin/Product1M``
were seen, and public scripts read the gallery file alike and the train file with no labels. The host of the copies
refuses requests (issue 9 there), so the copies are not used. A set's label stands once for each piece of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moon.catalog.readers.rows import RowError, SourceProduct, texts
from moon.catalog.readers.same_label import LabelledGallery
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import files_of, lines_of, row_name

_FIELD: Final = "#####"
_NEXT_LABEL: Final = "#;#"
_IMAGES: Final = "images"


@dataclass(frozen=True, kw_only=True)
class _Item:
    item_id: str
    title: str
    picture: str
    labels: list[str]


def read_product1m(source: Path, sink: CatalogSink) -> None:
    """Reads a folder of Product1M files; any of the four parts may be missing.

    Train items are products of train; they have no labels and nobody asks for them. Gallery items are products of
    test. Dev and test items are queries of title and picture, of val and test; every gallery product with one of
    their labels is a right answer. Gallery products of one label are related as the same.

    Raises:
        ValueError: none of the files in ``source``.
    """
    files = files_of(source, ("product1m_*.txt",), "Product1M")
    gallery = LabelledGallery(sink)
    for part, split in (("train", "train"), ("gallery", "test")):
        for name, item in sink.ahead(_items(files, part, source, sink, "products"), _picture):
            try:
                sink.add_product(_product(item, split), source)
                if part == "gallery":
                    gallery.add(item.item_id, item.labels)
            except RowError as error:
                sink.reject("products", item.item_id or name, error)
    for part, split in (("dev", "val"), ("test", "test")):
        for name, item in sink.ahead(_items(files, part, source, sink, "interactions"), _picture):
            query_id = f"{part}:{item.item_id}" if item.item_id else name
            try:
                gallery.ask(query_id, item.labels, text=item.title, picture=item.picture, root=source, split=split)
            except RowError as error:
                sink.reject("interactions", query_id, error)


def _product(item: _Item, split: str) -> SourceProduct:
    return SourceProduct(
        product_id=item.item_id,
        title=item.title,
        description="",
        category_path=[],
        attributes={},
        pictures={f"main:{item.item_id}": item.picture} if item.picture else {},
        split=split,
    )


def _picture(row: tuple[str, _Item]) -> list[str]:
    return [row[1].picture] if row[1].picture else []


def _items(files: list[Path], part: str, source: Path, sink: CatalogSink, table: str) -> Iterator[tuple[str, _Item]]:
    """The items of one part with a name for each line; lines of another form are rejected."""
    local = (source / _IMAGES).is_dir()
    for path in files:
        if not re.fullmatch(f"product1m_{part}(_.*)?[.]txt", path.name):
            continue
        for number, line in lines_of(path):
            name = row_name(path, source, number)
            try:
                yield name, _item(line, local)
            except RowError as error:
                sink.reject(table, name, error)


def _item(line: bytes, local: bool) -> _Item:
    try:
        fields = [field.strip() for field in line.decode("utf-8-sig").split(_FIELD)]
    except UnicodeDecodeError as error:
        raise RowError("bad_row", f"not UTF-8: {error}") from None
    if len(fields) not in (4, 5):
        raise RowError("bad_row", f"{len(fields)} fields parted by {_FIELD}, expected 4 or 5")
    labels = texts(fields[4].split(_NEXT_LABEL)) if len(fields) == 5 else []
    return _Item(
        item_id=fields[0],
        title=" ".join(html.unescape(fields[1]).split()),
        picture=f"{_IMAGES}/{fields[0]}.jpg" if local else fields[2],
        labels=list(dict.fromkeys(labels)),
    )
