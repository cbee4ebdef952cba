"""Small sources in public formats, and what was read from them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog


def picture(path: Path, colour: str = "red") -> Path:
    """A real small picture, JPEG or PNG by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 14), colour).save(path)
    return path


def truncated(path: Path) -> Path:
    data = picture(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """JSON lines, gzipped where the name says so; a text row stands as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(reader: Callable[[CatalogSink], None], out: Path) -> Catalog:
    with CatalogSink(out, max_image_pixels=1_000_000, shard_rows=4) as sink:
        reader(sink)
    return Catalog.open(out)


def rejected(catalog: Catalog) -> list[tuple[str, str, str]]:
    return [(row["table"], row["row_id"], row["reason"]) for row in catalog.rows("rejected")]


def asked(catalog: Catalog) -> list[tuple[str | None, str, str, str]]:
    """Text, product, split and event of every interaction."""
    rows = catalog.rows("interactions")
    return [(row["query_text"], row["product_id"], row["split"], row["event"]) for row in rows]
