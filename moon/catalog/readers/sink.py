"""Where readers put what they read: checks pictures and ids, keeps the broken rows apart, writes the tables."""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeVar

from moon.catalog.readers.pictures import DETAIL_CHARS, PictureSink, read_picture
from moon.catalog.readers.resume import Continued, Journal
from moon.catalog.readers.rows import (
    Picture,
    Reason,
    RowError,
    SourceProduct,
    check_split,
    hashed_split,
    share_of,
    texts,
)
from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import TableWriter, attributes_list
from moon.config import CatalogParams

__all__ = [
    "CatalogSink",
    "Picture",
    "Reason",
    "RowError",
    "SourceProduct",
    "check_split",
    "hashed_split",
    "read_picture",
    "share_of",
    "texts",
]

R = TypeVar("R")

_FIRST_TIME: Final = datetime.datetime(2019, 1, 1, tzinfo=datetime.UTC)


class CatalogSink:
    """Writes all tables of a catalogue folder; use it as a context manager.

    Memory holds ids and the rows of one unfinished shard a table, whatever the size of the source.

    Args:
        out: the catalogue folder.
        max_image_pixels: limit on a picture's pixels, checked before it is decoded.
        shard_rows: rows of a shard.
        params: the other limits of a picture.
        journal: what an earlier import into ``out`` has left, which this one goes on with.
    """

    def __init__(
        self,
        out: Path,
        *,
        max_image_pixels: int,
        shard_rows: int,
        params: CatalogParams | None = None,
        journal: Journal | None = None,
    ) -> None:
        limits = replace(params or CatalogParams(), max_image_pixels=max_image_pixels, shard_rows=shard_rows)
        self._stack = ExitStack()
        if journal is None:
            journal = Journal(out.with_name(f".{out.name}.journal"), goes_on=False)
            self._stack.callback(shutil.rmtree, journal.folder, ignore_errors=True)
        self._tables = {
            name: Continued(TableWriter(out / name, schema, shard_rows, keep=journal.goes_on))
            for name, schema in CATALOG_TABLES.items()
            if name != "images"
        }
        self._pictures = PictureSink(
            out / "images", limits, journal, lambda image_id, error: self.reject("images", image_id, error)
        )
        self._products: dict[str, bytes] = {}
        self._queries: set[str] = set()
        self._related: set[bytes] = set()

    def __enter__(self) -> CatalogSink:
        self._stack.enter_context(self._pictures)
        for table in self._tables.values():
            self._stack.enter_context(table.writer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for table in self._tables.values():
                table.check()

    def ahead(self, rows: Iterable[R], pictures: Callable[[R], Iterable[Picture]]) -> Iterator[R]:
        """The same rows, while the remote pictures of those that come next are fetched already.

        A reader whose source may hold URLs wraps its rows in it; without it, only the pictures of one product are
        fetched side by side.

        Args:
            rows: what the reader goes through.
            pictures: the pictures of a row as `add_product` or `add_image` will be given them; a `RowError` is taken
                as none. A picture that it does not name is fetched when it is added.
        """
        return self._pictures.ahead(rows, pictures)

    def reject(self, table: str, row_id: str, error: RowError) -> None:
        """Counts a row out, with its reason."""
        detail = str(error)[:DETAIL_CHARS]
        self._tables["rejected"].add({"table": table, "row_id": row_id, "reason": error.reason, "detail": detail})

    def has_product(self, product_id: str) -> bool:
        """Whether this product was accepted."""
        return product_id in self._products

    def same_product(self, product: SourceProduct) -> bool:
        """Whether a product was accepted with exactly these fields."""
        return self._products.get(product.product_id) == product.fingerprint()

    def add_image(self, image_id: str, root: Path, picture: Picture) -> str:
        """Checks and stores a picture, once, and returns its id.

        Args:
            image_id: its id; what is given for the same id later is not looked at.
            root: the picture folder.
            picture: a path from ``root``, a URL, or encoded bytes.

        Raises:
            RowError: missing, outside ``root``, not to be fetched, broken, or over a limit. Such a picture is put into
                the rejected table the first time it is met.
        """
        return self._pictures.add(image_id, root, picture)

    def add_made_image(self, image_id: str, make: Callable[[], bytes]) -> None:
        """Stores a picture that the reader makes itself, such as the photo of a derived query.

        Args:
            image_id: its id.
            make: gives the encoded bytes; not called where an earlier import has stored them.

        Raises:
            RowError: broken or over the pixel limit.
        """
        self._pictures.add_made(image_id, make)

    def read_picture(self, root: Path, picture: Picture) -> bytes:
        """The bytes of a picture in a source.

        Raises:
            RowError: it is missing, outside ``root``, too large, or cannot be fetched.
        """
        return self._pictures.read(root, picture)

    def add_product(self, product: SourceProduct, root: Path, *, needs_picture: bool = True) -> None:
        """Stores a product with its pictures under ``root``; unusable pictures are left out.

        Args:
            product: what the source says of it.
            root: the picture folder.
            needs_picture: False for a source of texts alone; a product without a picture is accepted.

        Raises:
            RowError: no id, title or usable picture, an unknown split, or an id that was given before.
        """
        name = product.product_id
        if not name:
            raise RowError("no_id", "the product has no id")
        if name in self._products:
            kind = "the same" if self.same_product(product) else "other"
            raise RowError("duplicate_id", f"product {name} was given before with {kind} fields")
        if not product.title:
            raise RowError("no_title", f"product {name} has no title")
        check_split(product.split)
        image_ids = self._usable(product.pictures, root)
        if not image_ids and needs_picture:
            count = len(product.pictures)
            found = f"none of its {count} pictures is usable" if count else "it names no picture"
            raise RowError("no_image", f"product {name}: {found}")
        self._tables["products"].add(
            {
                "product_id": name,
                "title": product.title,
                "description": product.description,
                "category_path": product.category_path,
                "attributes": attributes_list(product.attributes),
                "image_ids": image_ids,
                "split": product.split,
            }
        )
        self._products[name] = product.fingerprint()

    def _usable(self, pictures: Mapping[str, Picture], root: Path) -> list[str]:
        ids = []
        with self._pictures.fetch_together(pictures.values()):
            for image_id, picture in pictures.items():
                try:
                    ids.append(self.add_image(image_id, root, picture))
                except RowError:  # it is in the rejected table already
                    continue
        return ids

    def add_box(self, image_id: str, box: tuple[float, float, float, float]) -> None:
        """Stores a true product box of a picture: x0, y0, x1, y1 in pixels of the upright picture, far edge excluded.

        Raises:
            RowError: the picture was not accepted, or the box is empty.
        """
        if image_id not in self._pictures:
            raise RowError("unknown_image", f"a box of picture {image_id}, which is not in the catalogue")
        x0, y0, x1, y1 = box
        if not (x0 < x1 and y0 < y1):
            raise RowError("bad_row", f"a box of picture {image_id} is empty: {box}")
        self._tables["boxes"].add({"image_id": image_id, "x0": x0, "y0": y0, "x1": x1, "y1": y1})

    def add_relation(
        self, product_id: str, other_id: str, relation: Literal["same", "substitute", "complement"], weight: float = 1.0
    ) -> None:
        """Stores what ``other_id`` is to ``product_id``; the same relation a second time is passed over.

        Raises:
            RowError: one of them is not in the catalogue, or they are one product.
        """
        for name in (product_id, other_id):
            if name not in self._products:
                raise RowError("unknown_product", f"relation {relation}: product {name} is not in the catalogue")
        if product_id == other_id:
            raise RowError("bad_row", f"product {product_id} is related to itself")
        key = hashlib.sha256(f"{product_id}\0{other_id}\0{relation}".encode()).digest()[:12]
        if key not in self._related:
            self._related.add(key)
            row = {"product_id": product_id, "other_id": other_id, "relation": relation, "weight": weight}
            self._tables["relations"].add(row)

    def add_interaction(
        self,
        query_id: str,
        product_id: str,
        *,
        text: str | None,
        image_id: str | None,
        split: str,
        event: str = "purchase",
        timestamp: datetime.datetime | None = None,
    ) -> None:
        """Stores what was bought for a query; without a ``timestamp`` the row order makes one, an hour a row.

        Such synthetic times start at 2019-01-01 UTC.

        Raises:
            RowError: no query, an unknown product or split, or a query id that was given before.
        """
        if not text and not image_id:
            raise RowError("no_query", f"query {query_id} has neither a text nor a picture")
        if product_id not in self._products:
            raise RowError("unknown_product", f"query {query_id}: product {product_id} is not in the catalogue")
        if query_id in self._queries:
            raise RowError("duplicate_id", f"query {query_id} was given before")
        check_split(split)
        self._queries.add(query_id)
        self._tables["interactions"].add(
            {
                "query_id": query_id,
                "query_text": text or None,
                "query_image_id": image_id,
                "product_id": product_id,
                "event": event,
                "timestamp": timestamp or _FIRST_TIME + datetime.timedelta(hours=len(self._queries) - 1),
                "split": split,
            }
        )
