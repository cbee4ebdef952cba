"""Reader of Marqo-GS-10M: queries to Google Shopping with the products listed for them, in order.

    query_A_product_id_B.csv       the release, A and B 0 or 1:
        query, product_id, position, title, image_local, and pair_id, score_linear, score_reciprocal, no_score, query_id
    SPLIT-*.parquet                the hub, SPLIT in_domain, novel_query, novel_document or zero_shot (or with "-"):
        query, product_id, position, title, image {bytes, path}, and the other columns as above
    images/                        pictures of the release, where ``image_local`` starts

Source: Zhu et al., "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking", arXiv 2404.08535; the
README and scripts of ``marqo-ai/GCL``, and the columns that public scripts find in ``Marqo/marqo-GS-10M`` (card:
Apache-2.0). ``position`` is taken to start at 1 [R].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.rows import Picture, RowError, SourceProduct
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import SourceRow, files_of, root_of, source_rows
from moon.catalog.readers.table_values import pictures_of, text_of

_FORM: Final = "Marqo-GS-10M"
_PATTERNS: Final = ("**/query_?_product_id_?.csv", "**/*.parquet")
_NEEDED: Final = ("query", "product_id", "position", "title")
TOP: Final = 10
"""Last position that counts as an answer to the query; lower ones only give products."""
EVENT: Final = "listed"
_RELEASE: Final = re.compile(r"query_([01])_product_id_([01])\.csv")
_HUB: Final = re.compile(r"(in.domain|novel.query|novel.document|zero.shot)")
_PARTS: Final = {
    ("0", "0"): ("train", "train"),
    ("1", "0"): ("train", "val"),
    ("0", "1"): ("test", "val"),
    ("1", "1"): ("test", "test"),
}
"""Unseen queries and unseen products -> split of the part's products and of its queries [R]."""
_NAMES: Final = {
    "in_domain": ("0", "0"),
    "novel_query": ("1", "0"),
    "novel_document": ("0", "1"),
    "zero_shot": ("1", "1"),
}


def read_marqo_gs(source: Path, sink: CatalogSink) -> None:
    """Reads a folder of the release or of the hub's Parquet files, or one such file.

    Nobody buys anything in this source: a query with a product listed among its first `TOP` is an interaction with the
    event ``listed``. Scores have no column and are lost; they follow from the position. The in-domain part is train,
    the zero-shot part test; the novel queries and the novel documents are queries of val, and all novel documents are
    products of test. A product that comes again keeps the fields it first had.

    Raises:
        ValueError: no such file in ``source``, or one in another format.
    """
    files = sorted((place, path) for path in files_of(source, _PATTERNS, _FORM, single=True) if (place := _part(path)))
    if not files:
        raise ValueError(f"{source}: no file is named as a part of {_FORM} is, such as query_0_product_id_0.csv")
    for part, path in files:
        products, queries = _PARTS[part]
        for row in source_rows(path, source, _NEEDED, _FORM):
            if _add_product(row, products, root_of(source), sink):
                _add_query(row, queries, sink)


def _part(path: Path) -> tuple[str, str] | None:
    """Which part a file is, by its name or its folder's."""
    release = _RELEASE.fullmatch(path.name)
    if release:
        return release[1], release[2]
    hub = _HUB.match(path.name) or _HUB.fullmatch(path.parent.name)
    return _NAMES[re.sub("[^a-z]", "_", hub[1])] if hub else None


def _add_product(row: SourceRow, split: str, root: Path, sink: CatalogSink) -> bool:
    """Adds the product of a row where it is new; whether it is in the catalogue."""
    product_id = ""
    try:
        product_id = text_of(row.values.get("product_id"))
        if sink.has_product(product_id):
            return True
        product = SourceProduct(
            product_id=product_id,
            title=text_of(row.values.get("title")),
            description="",
            category_path=[],
            attributes={},
            pictures={f"product:{product_id}": picture for picture in _pictures(row.values, root)},
            split=split,
        )
        sink.add_product(product, root)
    except RowError as error:
        sink.reject("products", product_id or row.name, error)
        return False
    return True


def _pictures(row: Mapping[str, Any], root: Path) -> list[Picture]:
    """The picture of a row: bytes that are in the table, or the path of a file; none where it has none."""
    path = text_of(row.get("image_local"))
    if not path:
        return pictures_of(row.get("image"))
    return [f"images/{path}" if not path.startswith("images/") and (root / "images").is_dir() else path]


def _add_query(row: SourceRow, split: str, sink: CatalogSink) -> None:
    try:
        values = row.values
        if _position(values.get("position")) <= TOP:
            text, product_id = text_of(values.get("query")), text_of(values.get("product_id"))
            sink.add_interaction(row.name, product_id, text=text, image_id=None, split=split, event=EVENT)
    except RowError as error:
        sink.reject("interactions", row.name, error)


def _position(value: Any) -> int:
    text = text_of(value)
    if not re.fullmatch(r"\d{1,9}(\.0+)?", text):
        raise RowError("bad_row", f"position '{text[:40]}' is not a number from 1 on")
    return int(float(text))
