"""Reading and writing catalogue tables as Parquet shards.

with TableWriter(out / "products", PRODUCTS, shard_rows=1024) as writer:
    writer.add({"product_id": "p1", ...})
catalog = Catalog.open(out)
for row in catalog.rows("products", ["product_id", "title"]): ...
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.schema import CATALOG_TABLES, SCHEMA_VERSION

_VERSION_KEY = b"moon.schema_version"
_CARD = "README.md"
_ROW_GROUP = 64
"""Rows read at once when one picture is looked up."""


class CatalogError(ValueError):
    """A folder is not a readable catalogue; the message says what is missing and how to make it."""


class TableWriter:
    """Writes rows as ``part-00000.parquet``, ``part-00001.parquet`` ... into a folder.

    A shard appears under its name only when it is whole. An empty table still writes one shard, so that its schema
    can be read.

    Args:
        folder: the table's folder; made where it is not there.
        schema: the table's schema.
        shard_rows: rows of a shard.
        keep: goes on after the shards that are there, instead of removing them.
        on_shard: called after a shard has appeared.

    Raises:
        CatalogError: a shard that is to be kept cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        shard_rows: int = 1024,
        *,
        keep: bool = False,
        on_shard: Callable[[], None] | None = None,
    ) -> None:
        self._folder, self._schema, self._shard_rows, self._on_shard = folder, schema, shard_rows, on_shard
        self._rows: list[Mapping[str, Any]] = []
        self._shards = 0
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        for shard in sorted(folder.glob("part-*")):
            if keep and shard.suffix == ".parquet":
                with reading(shard):
                    self.count += pq.read_metadata(shard).num_rows
                self._shards += 1
            else:
                shard.unlink()

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds one row; keys are the schema's fields, missing ones are null."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) >= self._shard_rows:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        path = self._folder / f"part-{self._shards:05d}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial, compression="zstd", row_group_size=_ROW_GROUP)
        os.replace(partial, path)
        self._shards += 1
        self._rows = []
        if self._on_shard is not None:
            self._on_shard()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._rows or not self._shards):
            self._flush()


def write_table(folder: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]], shard_rows: int = 1024) -> None:
    """Writes a whole table that fits in memory."""
    with TableWriter(folder, schema, shard_rows) as writer:
        for row in rows:
            writer.add(row)


def read_table(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads all shards of one table folder.

    Raises:
        CatalogError: no shard, or one of another schema version.
    """
    shards = sorted(folder.glob("part-*.parquet"))
    if not shards:
        raise CatalogError(
            f"no table in {folder}: expected files such as part-00000.parquet; run the step that writes it"
        )
    tables = []
    for shard in shards:
        with reading(shard):
            schema = pq.read_schema(shard)
            version = (schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
            if version != SCHEMA_VERSION:
                raise CatalogError(f"{shard} has schema version {version}, this version of moon reads {SCHEMA_VERSION}")
            tables.append(pq.read_table(shard, columns=list(columns) if columns else None))
    return pa.concat_tables(tables)


@contextmanager
def reading(shard: Path) -> Iterator[None]:
    """Names the shard in what Arrow says of a damaged file.

    Raises:
        CatalogError: it cannot be read.
    """
    try:
        yield
    except CatalogError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(
            f"{shard} is not a readable Parquet file ({error}); make the folder anew with the command that wrote it"
        ) from None


def check_replaceable(out: Path) -> None:
    """Refuses an output folder that holds anything but a catalogue, or the remains of one.

    Raises:
        CatalogError: ``out`` is a file, or holds what no catalogue holds.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise CatalogError(f"{out} is a file, expected a folder to write the catalogue to; choose another --out")
    names = {path.name for path in out.iterdir()}
    others = sorted(names - CATALOG_TABLES.keys() - {_CARD, "metrics.json"})
    if others or (names and not names & CATALOG_TABLES.keys()):
        raise CatalogError(
            f"{out} holds something else than a catalogue ({', '.join(others or sorted(names))[:200]}); "
            "empty it or choose another folder"
        )


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all went well, and is removed otherwise.

    Raises:
        CatalogError: ``out`` holds something else than a catalogue.
    """
    check_replaceable(out)
    out = out.resolve()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        take_place(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def take_place(partial: Path, out: Path) -> None:
    """Puts the finished folder ``partial`` in the place of ``out``, which is removed, or stays where that fails."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
    finally:
        if not out.exists() and old.exists():
            os.replace(old, out)
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Catalog:
    """A catalogue folder opened for reading."""

    root: Path

    @classmethod
    def open(cls, root: Path | str) -> Catalog:
        """Opens a catalogue folder.

        Raises:
            CatalogError: the folder or one of its tables is missing.
        """
        root = Path(root)
        missing = [name for name in CATALOG_TABLES if not any((root / name).glob("part-*.parquet"))]
        if missing:
            raise CatalogError(
                f"{root} is not a catalogue: {'no such folder' if not root.is_dir() else 'no ' + ', '.join(missing)}; "
                f"make one with 'moon render --out {root}' or 'moon import'"
            )
        return cls(root)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One table, or some of its columns, in memory."""
        return read_table(self.root / name, columns)

    def rows(self, name: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """One table as dictionaries; attributes become ``{key: [values]}``."""
        rows = self.table(name, columns).to_pylist()
        for row in rows:
            if "attributes" in row:
                row["attributes"] = attributes_dict(row["attributes"])
        return rows

    def same_products(self) -> list[tuple[str, str]]:
        """Pairs of products that the table ``relations`` says are the same."""
        rows = self.rows("relations", ["product_id", "other_id", "relation"])
        return [(row["product_id"], row["other_id"]) for row in rows if row["relation"] == "same"]

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Streams ``(image_id, encoded bytes)`` shard by shard; a picture that is null has no bytes."""
        for shard in sorted((self.root / "images").glob("part-*.parquet")):
            with reading(shard):
                for batch in pq.ParquetFile(shard).iter_batches(batch_size=64, columns=["image_id", "image"]):
                    for row in batch.to_pylist():
                        yield row["image_id"], (row["image"] or {}).get("bytes") or b""

    def image_store(self) -> ImageStore:
        """Random access to the encoded pictures."""
        return ImageStore(self.root / "images")

    def digest(self) -> str:
        """SHA-256 over the names and bytes of every shard: the version of the data."""
        return folder_digest(self.root, "*/part-*.parquet")


class ImageStore:
    """Encoded pictures by id, read from the shards one row group at a time; a few groups are kept.

    Memory does not grow with the catalogue beyond one small index entry a picture. Not safe across threads; a forked
    or spawned process opens its own.
    """

    def __init__(self, folder: Path, cached_groups: int = 64) -> None:
        self._places: dict[str, tuple[Path, int, int]] = {}
        for shard in sorted(folder.glob("part-*.parquet")):
            with reading(shard):
                file = pq.ParquetFile(shard)
                for group in range(file.num_row_groups):
                    ids = file.read_row_group(group, columns=["image_id"]).column(0).to_pylist()
                    self._places.update({image_id: (shard, group, row) for row, image_id in enumerate(ids)})
        self._read_group = functools.lru_cache(maxsize=cached_groups)(_read_pictures)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def __getitem__(self, image_id: str) -> bytes:
        """The encoded bytes of one picture.

        Raises:
            KeyError: no such picture.
        """
        shard, group, row = self._places[image_id]
        return self._read_group(shard, group)[row]


def _read_pictures(shard: Path, group: int) -> list[bytes]:
    with reading(shard):
        column = pq.ParquetFile(shard).read_row_group(group, columns=["image"]).column("image").combine_chunks()
    return typing.cast("list[bytes]", column.field("bytes").to_pylist())


def folder_digest(root: Path, pattern: str = "**/*", skip: Collection[str] = ()) -> str:
    """SHA-256 over the relative names and bytes of the matching files but those of ``skip``, in name order."""
    total = hashlib.sha256()
    for path in sorted(p for p in root.glob(pattern) if p.is_file() and str(p.relative_to(root)) not in skip):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(root)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def attributes_list(attributes: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Attributes as the table stores them."""
    return [{"key": key, "values": list(values)} for key, values in attributes.items()]


def attributes_dict(stored: Sequence[Mapping[str, Any]] | None) -> dict[str, list[str]]:
    """Attributes as ``{key: [values]}`` from the stored form."""
    return {item["key"]: list(item["values"]) for item in stored or ()}


CARD = """---
configs:
{configs}---

A moon catalogue, schema version {version}. Read it with `datasets.load_dataset(THIS_FOLDER, "products")`.
"""


def write_card(root: Path) -> None:
    """Writes the README.md that tells Hugging Face `datasets` which folder is which table.

    Tables without a row are left out: `datasets` cannot load them.
    """
    configs = "".join(
        f"- config_name: {name}\n  default: {str(name == 'products').lower()}\n  data_files: {name}/*.parquet\n"
        for name in CATALOG_TABLES
        if any(pq.read_metadata(shard).num_rows for shard in (root / name).glob("part-*.parquet"))
    )
    (root / _CARD).write_text(CARD.format(configs=configs, version=SCHEMA_VERSION), encoding="utf-8")
