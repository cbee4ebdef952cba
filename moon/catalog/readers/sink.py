"""Where readers put what they read: checks pictures and ids, keeps the broken rows apart, writes the tables."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from moon.catalog.schema import CATALOG_TABLES, SPLITS
from moon.catalog.store import TableWriter, attributes_list
from moon.vision.decode import ImageError, decode

Reason = Literal[
    "no_id",
    "no_title",
    "no_image",
    "missing_image",
    "broken_image",
    "too_many_pixels",
    "duplicate_id",
    "unknown_split",
    "unknown_product",
    "bad_row",
    "no_query",
]
"""Codes of the ``rejected`` table."""

MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024
"""A larger picture file is not read at all."""
_IMAGE_SHARD_ROWS: Final = 256
"""Most pictures in one shard, because a shard is held in memory until it is whole."""
_FIRST_TIME: Final = datetime.datetime(2019, 1, 1, tzinfo=datetime.UTC)
_DETAIL_CHARS: Final = 300


class RowError(ValueError):
    """A row cannot enter the catalogue; ``reason`` is its code, the message what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceProduct:
    """A product as a source gives it, before its pictures are looked at."""

    product_id: str
    title: str
    description: str
    category_path: list[str]
    attributes: dict[str, list[str]]
    pictures: dict[str, str]
    """Picture id -> path from the picture folder."""
    split: str

    def fingerprint(self) -> bytes:
        """Equal for products with equal fields; the split does not count."""
        fields = dataclasses.asdict(self) | {"split": ""}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()[:16]


class CatalogSink:
    """Writes all tables of a catalogue folder; use it as a context manager.

    Memory holds ids and the rows of one unfinished shard a table, whatever the size of the source.

    Args:
        out: the catalogue folder.
        max_image_pixels: limit on a picture's pixels, checked before it is decoded.
        shard_rows: rows of a shard.
    """

    def __init__(self, out: Path, *, max_image_pixels: int, shard_rows: int) -> None:
        self._max_pixels = max_image_pixels
        rows = {name: shard_rows for name in CATALOG_TABLES} | {"images": min(shard_rows, _IMAGE_SHARD_ROWS)}
        self._tables = {name: TableWriter(out / name, schema, rows[name]) for name, schema in CATALOG_TABLES.items()}
        self._stack = ExitStack()
        self._products: dict[str, bytes] = {}
        self._queries: set[str] = set()
        self._images: dict[str, RowError | None] = {}

    def __enter__(self) -> CatalogSink:
        for table in self._tables.values():
            self._stack.enter_context(table)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def reject(self, table: str, row_id: str, error: RowError) -> None:
        """Counts a row out, with its reason."""
        detail = str(error)[:_DETAIL_CHARS]
        self._tables["rejected"].add({"table": table, "row_id": row_id, "reason": error.reason, "detail": detail})

    def has_product(self, product_id: str) -> bool:
        """Whether this product was accepted."""
        return product_id in self._products

    def same_product(self, product: SourceProduct) -> bool:
        """Whether a product was accepted with exactly these fields."""
        return self._products.get(product.product_id) == product.fingerprint()

    def add_image(self, image_id: str, root: Path, relative: str) -> str:
        """Checks and stores the picture at ``relative`` to ``root``, once, and returns its id.

        Raises:
            RowError: missing, outside ``root``, broken or over the pixel limit. A broken picture is put into the
                rejected table the first time it is met.
        """
        if image_id not in self._images:
            try:
                self._store(image_id, relative, read_picture(root, relative))
                self._images[image_id] = None
            except RowError as error:
                self._images[image_id] = error
                self.reject("images", image_id, error)
        failed = self._images[image_id]
        if failed is not None:
            raise RowError(failed.reason, f"picture {image_id}: {failed}")
        return image_id

    def add_made_image(self, image_id: str, data: bytes) -> None:
        """Stores a picture that the reader made itself, such as the photo of a derived query.

        Raises:
            RowError: broken or over the pixel limit.
        """
        self._store(image_id, "", data)
        self._images[image_id] = None

    def _store(self, image_id: str, relative: str, data: bytes) -> None:
        try:
            width, height = decode(data, self._max_pixels).size
        except ImageError as error:
            reason: Reason = "too_many_pixels" if error.reason == "too_many_pixels" else "broken_image"
            raise RowError(reason, f"{error.reason}: {error}") from None
        self._tables["images"].add(
            {
                "image_id": image_id,
                "image": {"bytes": data, "path": relative},
                "width": width,
                "height": height,
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )

    def add_product(self, product: SourceProduct, root: Path) -> None:
        """Stores a product with its pictures under ``root``; unusable pictures are left out.

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
        if not image_ids:
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

    def _usable(self, pictures: Mapping[str, str], root: Path) -> list[str]:
        ids = []
        for image_id, relative in pictures.items():
            try:
                ids.append(self.add_image(image_id, root, relative))
            except RowError:  # it is in the rejected table already
                continue
        return ids

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


def read_picture(root: Path, relative: str) -> bytes:
    """The bytes of a picture file under ``root``.

    Raises:
        RowError: no such file, not under ``root``, or too large.
    """
    inside = os.path.normpath(relative)
    if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir or "\0" in inside:
        raise RowError("missing_image", f"'{relative}' points outside the picture folder {root}")
    path = root / inside
    try:
        if not path.is_file():
            raise RowError("missing_image", f"no file '{relative}' in {root}")
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise RowError("broken_image", f"too_many_bytes: {path.stat().st_size}, the limit is {MAX_IMAGE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise RowError("missing_image", f"cannot read '{relative}': {error.strerror}") from None


def check_split(split: str) -> None:
    """Refuses a split that is not ours."""
    if split not in SPLITS:
        raise RowError("unknown_split", f"split '{split}', expected one of {', '.join(SPLITS)}")


def share_of(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha1(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def texts(values: Sequence[Any]) -> list[str]:
    """Stripped non-empty texts."""
    return [text for value in values if value is not None and (text := str(value).strip())]
