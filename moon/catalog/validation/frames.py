"""What the suites look at: small data frames of a catalogue, without pixels, with foreign keys already looked up."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, reading

CHECKED: Final = ("products", "images", "interactions")
"""Tables whose rows are checked."""
KEYS: Final = {
    "schema": "field",
    "products": "product_id",
    "images": "image_id",
    "interactions": "query_id",
    "rejected": "table",
}
"""Frame -> the column that names a row of it."""


def schema_frame(catalog: Catalog) -> pd.DataFrame:
    """One row a column of every table: ``field``, the type ``found`` and the type ``expected``."""
    rows = []
    for table, schema in CATALOG_TABLES.items():
        shards = []
        for path in sorted((catalog.root / table).glob("part-*.parquet")):
            with reading(path):
                shards.append(pq.read_schema(path))
        for name in dict.fromkeys([*schema.names, *(name for shard in shards for name in shard.names)]):
            expected = schema.field(name).type if name in schema.names else None
            types = [shard.field(name).type if name in shard.names else None for shard in shards]
            wrong = [kind for kind in types if kind != expected]  # Arrow's equality, blind to names of list elements
            found = expected if not wrong else wrong[0]
            rows.append({"field": f"{table}.{name}", "found": _type_name(found), "expected": _type_name(expected)})
    return pd.DataFrame(rows)


def _type_name(kind: pa.DataType | None) -> str:
    return "no such column" if kind is None else str(kind)


def table_frames(catalog: Catalog) -> dict[str, pd.DataFrame]:
    """Frames of the checked tables, and ``rejected`` with the share of rows that could not enter each of them."""
    products = catalog.table("products", ["product_id", "title", "category_path", "image_ids", "split"])
    images = catalog.table("images", ["image_id", "width", "height", "sha256"])
    interactions = catalog.table("interactions")
    tables = {"products": products, "images": images, "interactions": interactions}
    return {
        "products": _products(products, images["image_id"]),
        "images": images.to_pandas(),
        "interactions": _interactions(interactions, products["product_id"], images["image_id"]),
        "rejected": _rejected(catalog, {name: table.num_rows for name, table in tables.items()}),
    }


def _products(products: pa.Table, image_ids: pa.ChunkedArray) -> pd.DataFrame:
    frame = products.select(["product_id", "title", "split"]).to_pandas()
    known = set(image_ids.to_pylist())
    lists = [ids or [] for ids in products["image_ids"].to_pylist()]
    checked: pd.DataFrame = frame.assign(
        title_length=pc.utf8_length(pc.utf8_trim_whitespace(products["title"])).to_pandas(),  # null is another rule's
        category_levels=[len(path or []) for path in products["category_path"].to_pylist()],
        images=[len(ids) for ids in lists],
        unknown_images=[sum(image_id not in known for image_id in ids) for ids in lists],
    )
    return checked


def _interactions(interactions: pa.Table, products: pa.ChunkedArray, images: pa.ChunkedArray) -> pd.DataFrame:
    text, image = interactions["query_text"], interactions["query_image_id"]
    has_text = pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), False)
    has_image = pc.is_valid(image)
    checked: pd.DataFrame = interactions.to_pandas().assign(
        asks=pc.or_(has_text, has_image).to_pandas(),
        known_product=pc.is_in(interactions["product_id"], value_set=products.combine_chunks()).to_pandas(),
        known_image=pc.or_(pc.is_in(image, value_set=images.combine_chunks()), pc.invert(has_image)).to_pandas(),
    )
    return checked


def _rejected(catalog: Catalog, kept: dict[str, int]) -> pd.DataFrame:
    reasons: dict[str, Counter[str]] = {name: Counter() for name in CHECKED}
    for row in catalog.rows("rejected", ["table", "reason"]):
        reasons.setdefault(row["table"], Counter())[row["reason"]] += 1
    return pd.DataFrame(
        {
            "table": name,
            "kept": kept.get(name, 0),
            "rejected": counts.total(),
            "share": counts.total() / max(kept.get(name, 0) + counts.total(), 1),
            "reasons": ", ".join(f"{reason} {count}" for reason, count in counts.most_common()),
        }
        for name, counts in reasons.items()
    )
