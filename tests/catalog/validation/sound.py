"""A catalogue in which no check finds anything, to plant faults in."""

from __future__ import annotations

import copy
import datetime
import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, write_table

Tables = dict[str, list[dict[str, Any]]]
ROWS = 120
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
COLOURS = ("red", "blue", "green", "white")
PATHS = (["Home", "Mugs"], ["Home", "Bowls"], ["Garden", "Pots"])


def tables() -> Tables:
    """A fresh copy: 120 products with a picture each, as many purchases, half for a text and half for a photo."""
    return copy.deepcopy(_tables())


def write(root: Path, rows: Tables) -> Catalog:
    """Writes the tables, those that are not given empty."""
    for name, schema in CATALOG_TABLES.items():
        write_table(root / name, schema, rows.get(name, []))
    return Catalog.open(root)


def rejected(table: str, count: int) -> list[dict[str, str]]:
    """Rejected rows of one table."""
    return [{"table": table, "row_id": f"r{n}", "reason": "no_title", "detail": ""} for n in range(count)]


def picture(image_id: str, pixels: np.ndarray) -> dict[str, Any]:
    """A row of the images table."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return {
        "image_id": image_id,
        "image": {"bytes": data, "path": None},
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "sha256": hashlib.sha256(data).hexdigest(),
    }


@functools.cache
def _tables() -> Tables:
    noise = np.random.default_rng(0)
    return {
        "products": [_product(n) for n in range(ROWS)],
        "images": [
            picture(f"{kind}{n}", noise.integers(0, 255, (40, 48, 3)))
            for kind, every in (("i", 1), ("photo", 2))
            for n in range(every - 1, ROWS, every)
        ],
        "interactions": [_interaction(n) for n in range(ROWS)],
        "relations": [
            {"product_id": f"p{n}", "other_id": f"p{n + 1}", "relation": "substitute", "weight": 1.0} for n in range(30)
        ],
        "boxes": [{"image_id": f"i{n}", "x0": 2.0, "y0": 2.0, "x1": 40.0, "y1": 38.0} for n in range(30)],
    }


def split(n: int) -> str:
    """Products and their purchases: a sixth each val and test."""
    return {4: "val", 5: "test"}.get(n % 6, "train")


def _product(n: int) -> dict[str, Any]:
    return {
        "product_id": f"p{n}",
        "title": f"Mug {n}",
        "description": "",
        "category_path": PATHS[n % 3],
        "attributes": [
            {"key": "colour", "values": [COLOURS[n % 4]]},
            {"key": "material", "values": ["stoneware" if n % 2 else "porcelain"]},
        ],
        "image_ids": [f"i{n}"],
        "split": split(n),
    }


def _interaction(n: int) -> dict[str, Any]:
    words = n % 2 == 0
    return {
        "query_id": f"q{n}",
        "query_text": f"the mug with number {n}" if words else None,
        "query_image_id": None if words else f"photo{n}",
        "product_id": f"p{n}",
        "event": "purchase",
        "timestamp": START + datetime.timedelta(hours=n, minutes=n * n % 7),
        "split": split(n),
    }
