"""Reader of MBE, the benchmark of the MOON paper: one product a row, where known with the query it was bought for.

    *.jsonl, *.jsonl.gz or *.parquet   as ``MBE_test.shuffled.jsonl`` of the hub, or the hub's Parquet conversion

    id, doc_title, doc_image               a hex-like id, the title, the picture's address
    doc_industry_name, doc_cate1_name ... doc_cate4_name    five category levels, widest first; empty where not so deep
    doc_attributes                         see `attribute_string`
    query_id, query_text, query_image      [R]

Source: ``Daoze/MM-Bench-E-Commerce`` on Hugging Face (Apache-2.0; Zhang et al., arXiv 2508.11999). Its card names no
columns; those of ``doc_*`` are what public scripts read from it. That a row's id is the product's, that the level names
form a path and the ``query_*`` columns are our reconstruction [R]: ``columns`` gives other names to any of them.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.attribute_string import parse_attributes
from moon.catalog.readers.rows import Picture, RowError, SourceProduct, hashed_split
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.readers.source_files import SourceRow, files_of, source_rows, split_named
from moon.catalog.readers.table_values import pictures_of, text_of

PATTERNS: Final = ("**/*.jsonl", "**/*.jsonl.gz", "**/*.parquet")
LEVELS: Final = ("industry_name", "cate1_name", "cate2_name", "cate3_name", "cate4_name")
QUERY_FIELDS: Final = ("query_id", "query_text", "query_image")
_FIELDS: Final = ("id", *(f"doc_{name}" for name in ("title", "image", *LEVELS, "attributes")), *QUERY_FIELDS)
_NEEDED: Final = ("id", "doc_title", "doc_image")


def read_mbe(source: Path, images: Path, columns: Mapping[str, str], sink: CatalogSink) -> None:
    """Reads a folder of MBE files, or one of them.

    A row with a query text or picture is a purchase of its product. The split is the one in the file's name (or its
    folder's), else 80 : 10 : 10 by a hash of the product id.

    Args:
        source: the folder or file.
        images: folder that picture paths start from, for a copy whose pictures are files.
        columns: field as above -> their column.
        sink: where the rows go.

    Raises:
        ValueError: no such file, a file in another format, or ``columns`` names an unknown field.
    """
    fields = named_columns(columns, _FIELDS)
    for path in files_of(source, PATTERNS, "MBE", single=True):
        split = split_named(path, source)
        rows = source_rows(path, source, [fields[field] for field in _NEEDED], "MBE")
        wanted = functools.partial(row_pictures, [fields[field] for field in ("doc_image", "query_image")])
        for row in sink.ahead(rows, wanted):
            _read(row, fields, split, images, sink)


def _read(row: SourceRow, fields: Mapping[str, str], split: str, images: Path, sink: CatalogSink) -> None:
    product_id = ""
    try:
        values = {field: row.values.get(column) for field, column in fields.items()}
        product_id = text_of(values["id"])
        asks = bool(text_of(values["query_text"]) or pictures_of(values["query_image"]))
        split = split or hashed_split(product_id)
        product = side_product(values, "doc", product_id, split)
        if not (asks and sink.same_product(product)):
            sink.add_product(product, images)
    except RowError as error:
        sink.reject("products", product_id or row.name, error)
        return
    if asks:
        add_query(values, product_id, row.name, split, images, sink)


def row_pictures(columns: Sequence[str], row: SourceRow) -> list[Picture]:
    """The pictures that stand in some columns of a row, for `CatalogSink.ahead`."""
    return [picture for column in columns for picture in pictures_of(row.values.get(column))]


def side_product(row: Mapping[str, Any], side: str, product_id: str, split: str) -> SourceProduct:
    """The product in the columns ``{side}_title``, ``{side}_image``, the category levels and ``{side}_attributes``.

    Raises:
        RowError: a value that is no text, or attributes that are not in the grammar.
    """
    pictures = pictures_of(row.get(f"{side}_image"))
    return SourceProduct(
        product_id=product_id,
        title=text_of(row.get(f"{side}_title")),
        description="",
        category_path=[level for name in LEVELS if (level := text_of(row.get(f"{side}_{name}")))],
        attributes=parse_attributes(text_of(row.get(f"{side}_attributes"))),
        pictures={f"product:{product_id}:{place}": picture for place, picture in enumerate(pictures)},
        split=split,
    )


def add_query(row: Mapping[str, Any], product_id: str, name: str, split: str, images: Path, sink: CatalogSink) -> None:
    """Stores the query of a row and the product bought for it, or rejects it; the row's name stands in for its id."""
    query_id = name
    try:
        query_id = text_of(row["query_id"]) or name
        image_id = None
        for picture in pictures_of(row["query_image"])[:1]:
            shared = picture if isinstance(picture, str) else name  # one photo may ask in many rows
            image_id = sink.add_image(f"query:{shared}", images, picture)
        text = text_of(row["query_text"]) or None
        sink.add_interaction(query_id, product_id, text=text, image_id=image_id, split=split)
    except RowError as error:
        sink.reject("interactions", query_id, error)


def named_columns(columns: Mapping[str, str], fields: Sequence[str]) -> dict[str, str]:
    """Each field with the column it is read from: its own name, or the one that ``columns`` gives it.

    Raises:
        ValueError: ``columns`` names an unknown field.
    """
    for field in columns:
        if field not in fields:
            near = difflib.get_close_matches(field, fields, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown field '{field}' in catalog.columns; the nearest known one is '{near}'")
    return {field: columns.get(field) or field for field in fields}
