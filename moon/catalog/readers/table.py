"""Reader of a table of the user's own: one row a product, or one row a query and the product bought for it."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moon.catalog.readers.fetch import scheme_of
from moon.catalog.readers.sink import CatalogSink, Picture, RowError, SourceProduct, hashed_split
from moon.catalog.readers.table_files import Rows, TableFile
from moon.catalog.readers.table_values import attributes_of, list_of, pictures_of, split_of, text_of, time_of

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "product_id": ("id", "sku", "asin", "parent_asin", "item_id"),
    "title": ("name", "product_title", "product_name", "item_name"),
    "description": ("desc", "product_description"),
    "category_path": ("category", "categories", "product_category"),
    "attributes": ("attrs", "product_attributes"),
    "images": ("image", "image_path", "image_paths", "image_file", "picture", "pictures", "filename"),
    "query_text": ("query", "search_term"),
    "query_image": ("query_image_path", "query_photo"),
    "query_id": (),
    "timestamp": ("time", "date", "created_at"),
    "split": ("subset",),
    "event": ("action", "event_type"),
}
"""Our fields, and the other column names they are found under when no column is named."""
ATTRIBUTE: Final = "attribute."
"""``attribute.colour: COLUMN`` makes an attribute of a column."""
_REQUIRED: Final = ("product_id", "title", "images")


def read_table(source: Path, images: Path, columns: Mapping[str, str], sink: CatalogSink) -> None:
    """Reads a CSV, JSONL or Parquet file whose picture paths start from ``images``.

    A row with a query text or picture is an interaction with its product, which later rows may repeat unchanged or
    name by its id alone. Rows without a split share one by product: 80 % train, 10 % val, 10 % test by hash of the id;
    a product's own split is that of its first row.

    Args:
        source: the file.
        images: folder of the pictures.
        columns: our field -> their column, for columns whose names say something else; an empty column leaves the
            field out.
        sink: where the rows go.

    Raises:
        ValueError: the file cannot be read, or ``columns`` names a field or column that does not exist.
    """
    table = TableFile(source)
    mapping = map_columns(columns, table.columns(), str(source))
    read_rows(table.rows(), mapping, source.name, images, sink)


def read_rows(
    rows: Rows, mapping: Mapping[str, str], name: str, images: Path, sink: CatalogSink, split: str = ""
) -> None:
    """Puts rows of a table into a sink.

    Args:
        rows: the rows with their numbers.
        mapping: our field -> their column, see `map_columns`.
        name: what the source is called where a row has no other name.
        images: folder of the pictures.
        sink: where the rows go.
        split: of the rows that name none; empty shares them out by product.
    """
    reader = _RowReader(mapping, images, sink, split)
    for line, row in sink.ahead(rows, reader.pictures):
        if isinstance(row, RowError):
            sink.reject("products", f"{name}:{line}", row)
        else:
            reader.read(row, line)


def map_columns(wanted: Mapping[str, str], columns: Sequence[str], source: str) -> dict[str, str]:
    """Our field -> existing column: those ``wanted``, and the others by their usual names."""
    for field, column in wanted.items():
        if field not in FIELDS and not field.startswith(ATTRIBUTE):
            near = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown field '{field}' in catalog.columns; the nearest known one is '{near}'")
        if column and column not in columns:
            near = difflib.get_close_matches(column, columns, n=1, cutoff=0.0)[0]
            raise ValueError(f"catalog.columns.{field}: {source} has no column '{column}'; the nearest is '{near}'")
    named = {_plain(column): column for column in columns}
    usual = {field: named[alias] for field, aliases in FIELDS.items() for alias in (*aliases, field) if alias in named}
    mapping = {field: column for field, column in {**usual, **wanted}.items() if column}
    for field in _REQUIRED:
        if field not in mapping:
            raise ValueError(
                f"{source} has no column for '{field}' among {', '.join(filter(None, columns)) or 'none with a name'}; "
                f"name one with --set catalog.columns.{field}=COLUMN"
            )
    return mapping


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


@dataclasses.dataclass(frozen=True)
class _RowReader:
    """Puts the rows of one table into a sink."""

    mapping: Mapping[str, str]
    images: Path
    sink: CatalogSink
    split: str

    def pictures(self, numbered: tuple[int, Mapping[str, Any] | RowError]) -> list[Picture]:
        """The pictures that a row names."""
        row = numbered[1]
        if isinstance(row, RowError):
            return []
        values = {field: row.get(column) for field, column in self.mapping.items()}
        return [self._inside(one) for field in ("images", "query_image") for one in pictures_of(values.get(field))]

    def read(self, row: Mapping[str, Any], line: int) -> None:
        """Adds a row's product and interaction, or rejects what is wrong with them."""
        values = {field: row.get(column) for field, column in self.mapping.items()}
        product_id = ""
        try:
            product_id = text_of(values["product_id"])
            asks = bool(text_of(values.get("query_text")) or pictures_of(values.get("query_image")))
            split = split_of(values.get("split")) or self.split or hashed_split(product_id)
            self._product(product_id, values, split, asks)
        except RowError as error:
            self.sink.reject("products", product_id or f"line {line}", error)
            return
        if asks:
            query_id = f"line {line}"
            try:
                query_id = text_of(values.get("query_id")) or query_id
                self._interaction(query_id, product_id, values, split)
            except RowError as error:
                self.sink.reject("interactions", query_id, error)

    def _product(self, product_id: str, values: Mapping[str, Any], split: str, asks: bool) -> None:
        known = self.sink.has_product(product_id)
        if known and asks and not text_of(values["title"]):
            return
        pictures = [self._inside(picture) for picture in pictures_of(values["images"])]
        product = SourceProduct(
            product_id=product_id,
            title=text_of(values["title"]),
            description=text_of(values.get("description")),
            category_path=list_of(values.get("category_path"), ">|/"),
            attributes=self._attributes(values),
            pictures={_image_id(picture, product_id, place): picture for place, picture in enumerate(pictures)},
            split=split,
        )
        if known and self.sink.same_product(product):
            if asks:
                return
            if self.mapping.keys() & {"query_text", "query_image"}:
                raise RowError("no_query", f"product {product_id} was given before and this row asks nothing")
        self.sink.add_product(product, self.images)

    def _attributes(self, values: Mapping[str, Any]) -> dict[str, list[str]]:
        found = attributes_of(values.get("attributes"))
        for field, value in values.items():
            if field.startswith(ATTRIBUTE) and (items := list_of(value, ";|")):
                found[field.removeprefix(ATTRIBUTE)] = items
        return found

    def _interaction(self, query_id: str, product_id: str, values: Mapping[str, Any], split: str) -> None:
        time = time_of(values.get("timestamp"))
        image_id = None
        for picture in map(self._inside, pictures_of(values.get("query_image"))[:1]):
            image_id = self.sink.add_image(_image_id(picture, f"query:{query_id}", 0), self.images, picture)
        self.sink.add_interaction(
            query_id,
            product_id,
            text=text_of(values.get("query_text")) or None,
            image_id=image_id,
            split=split,
            event=text_of(values.get("event")) or "purchase",
            timestamp=time,
        )

    def _inside(self, path: Picture) -> Picture:
        """A picture's path from the picture folder, also where the table gives it whole; URLs and bytes as they are."""
        if isinstance(path, bytes) or scheme_of(path):
            return path
        if os.path.isabs(path):
            path = os.path.relpath(path, os.path.abspath(self.images))
        return Path(os.path.normpath(path)).as_posix()


def _image_id(picture: Picture, owner: str, place: int) -> str:
    """A picture's path or URL is its id, so that it is stored once; bytes are named after what they are of."""
    return picture if isinstance(picture, str) else f"{owner}:{place}"
