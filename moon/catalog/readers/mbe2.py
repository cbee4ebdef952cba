"""Reader of MBE2.0, the benchmark of the MOON2.0 paper: triplets of a query, the product bought, and one passed over.

    *.jsonl, *.jsonl.gz or *.parquet

    query_id, query_text, query_image                                        [R]
    pos_id, pos_title, pos_image, pos_industry_name, pos_cate1_name ... pos_cate4_name, pos_attributes    [R]
    neg_id, neg_title, ...                                                   [R] the same of the negative

Source: ``ZHNie/MBE2.0`` on Hugging Face (Nie et al., arXiv 2511.12449). Its schema could not be seen: all column names
are our reconstruction [R] after those of MBE, and ``columns`` gives other names to any of them. What is known is that
queries are texts, pictures or both, that the positive is the product bought, and that the negative was shown and is of
low relevance.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.mbe import (
    LEVELS,
    PATTERNS,
    QUERY_FIELDS,
    add_query,
    named_columns,
    row_pictures,
    side_product,
)
from moon.catalog.readers.rows import RowError, hashed_split
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import files_of, source_rows, split_named
from moon.catalog.readers.table_values import pictures_of, text_of

_PRODUCT: Final = ("title", "image", *LEVELS, "attributes")
_FIELDS: Final = (*QUERY_FIELDS, *(f"{side}_{name}" for side in ("pos", "neg") for name in ("id", *_PRODUCT)))
_NEEDED: Final = ("pos_title", "pos_image")


def read_mbe2(source: Path, images: Path, columns: Mapping[str, str], sink: CatalogSink) -> None:
    """Reads a folder of MBE2.0 files, or one of them.

    The query of a row is a purchase of its positive. The negative enters as a product; that it was passed over for
    this query has no table and is lost. A product that comes again keeps the fields it first had. Without an id a
    product is named by a hash of its title and picture. Splits are as in `read_mbe`.

    Args:
        source: the folder or file.
        images: folder that picture paths start from, for a copy whose pictures are files.
        columns: field as above -> their column.
        sink: where the rows go.

    Raises:
        ValueError: no such file, a file in another format, or ``columns`` names an unknown field.
    """
    fields = named_columns(columns, _FIELDS)
    for path in files_of(source, PATTERNS, "MBE2.0", single=True):
        split = split_named(path, source)
        rows = source_rows(path, source, [fields[field] for field in _NEEDED], "MBE2.0")
        wanted = functools.partial(row_pictures, [fields[f"{part}_image"] for part in ("pos", "query", "neg")])
        for row in sink.ahead(rows, wanted):
            try:
                values = {field: row.values.get(column) for field, column in fields.items()}
            except RowError as error:
                sink.reject("products", row.name, error)
                continue
            bought = _add_side(values, "pos", row.name, split, images, sink)
            if bought:
                add_query(values, bought, row.name, split or hashed_split(bought), images, sink)
            if any(values[f"neg_{field}"] for field in _PRODUCT):
                _add_side(values, "neg", row.name, split, images, sink)


def _add_side(row: Mapping[str, Any], side: str, name: str, split: str, images: Path, sink: CatalogSink) -> str:
    """The id of a side's product, which is in the catalogue now; empty where it was rejected."""
    product_id = ""
    try:
        product_id = text_of(row[f"{side}_id"]) or _named_by_content(row, side)
        if not sink.has_product(product_id):
            sink.add_product(side_product(row, side, product_id, split or hashed_split(product_id)), images)
    except RowError as error:
        sink.reject("products", product_id or f"{name}:{side}", error)
        return ""
    return product_id


def _named_by_content(row: Mapping[str, Any], side: str) -> str:
    content = hashlib.sha256(text_of(row[f"{side}_title"]).encode())
    for picture in pictures_of(row[f"{side}_image"]):
        content.update(b"\0" + (picture if isinstance(picture, bytes) else picture.encode()))
    return content.hexdigest()[:24]
