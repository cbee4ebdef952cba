from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.readers.esci import read_esci
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from tests.conftest import outside

EXAMPLES = [
    # example_id, query, query_id, product_id, locale, label, small, large, split
    (0, "mug", 10, "A", "us", "E", 1, 1, "train"),
    (1, "mug", 10, "B", "us", "E", 1, 1, "train"),
    (2, "mug", 10, "C", "us", "S", 1, 1, "train"),
    (3, "mug", 10, "D", "us", "C", 1, 1, "train"),
    (4, "mug", 10, "E", "us", "I", 1, 1, "train"),
    (5, "tea cup", 11, "C", "us", "E", 0, 1, "test"),
    (6, "tea cup", 11, "F", "us", "S", 0, 1, "test"),
    (7, "taza", 12, "A", "es", "S", 0, 1, "test"),
    (8, "lamp", 13, "gone", "us", "E", 0, 1, "test"),
    (9, "lamp", 13, "F", "us", "X", 0, 1, "test"),
]
EXAMPLE_COLUMNS = (
    "example_id query query_id product_id product_locale esci_label small_version large_version split".split()
)
PRODUCT_COLUMNS = (
    "product_id product_title product_description product_bullet_point product_brand product_color "
    "product_locale".split()
)


def product(name: str, locale: str = "us", **changes: Any) -> dict[str, Any]:
    values = (name, f"Title {name}", "Text.", "One\nTwo", "Solkind", None, locale)
    return dict(zip(PRODUCT_COLUMNS, values, strict=True)) | changes


PRODUCTS = [*map(product, "ABCDEF"), product("A", "es", product_title="Taza A", product_description=None)]


def write(folder: Path, form: str) -> Path:
    """The source in one of its forms."""
    folder.mkdir()
    examples = [dict(zip(EXAMPLE_COLUMNS, row, strict=True)) for row in EXAMPLES]
    if form == "official":
        pq.write_table(pa.Table.from_pylist(examples), folder / "shopping_queries_dataset_examples.parquet")
        pq.write_table(pa.Table.from_pylist(PRODUCTS), folder / "shopping_queries_dataset_products.parquet")
        (folder / "shopping_queries_dataset_sources.csv").write_text("query_id,source\n10,other\n")
    else:
        known = {(row["product_id"], row["product_locale"]): row for row in PRODUCTS}
        joined = [row | known.get((row["product_id"], row["product_locale"]), {}) for row in examples]
        pq.write_table(pa.Table.from_pylist(joined), folder / "train.parquet")
    return folder


def read(source: Path, out: Path) -> Catalog:
    with CatalogSink(out, max_image_pixels=100, shard_rows=4) as sink:
        read_esci(source, sink)
    return Catalog.open(out)


@pytest.mark.parametrize("form", ["official", "joined"])
def test_judgements_become_interactions_and_relations(tmp_path: Path, form: str) -> None:
    catalog = read(write(tmp_path / "source", form), tmp_path / "out")
    asked = [(row["query_text"], row["product_id"], row["split"], row["event"]) for row in catalog.rows("interactions")]
    assert asked == [
        ("mug", "A:us", "train", "exact"),
        ("mug", "B:us", "train", "exact"),
        ("tea cup", "C:us", "test", "exact"),
    ]
    relations = {(r["product_id"], r["other_id"], r["relation"], r["weight"]) for r in catalog.rows("relations")}
    assert relations == {
        ("A:us", "C:us", "substitute", 0.5),
        ("B:us", "C:us", "substitute", 0.5),
        ("A:us", "D:us", "complement", 0.5),
        ("B:us", "D:us", "complement", 0.5),
        ("C:us", "F:us", "substitute", 1.0),
    }
    products = {row["product_id"]: row for row in catalog.rows("products")}
    assert products.keys() == {f"{name}:us" for name in "ABCDEF"} | {"A:es"}
    assert products["A:us"]["description"] == "Text.\nOne\nTwo" and products["A:es"]["description"] == "One\nTwo"
    assert products["A:us"]["attributes"] == {"brand": ["Solkind"]} and products["A:us"]["image_ids"] == []
    # C is judged for a query of train and one of test.
    assert Counter(row["split"] for row in products.values()) == {"train": 5, "test": 2}
    assert products["C:us"]["split"] == "train" and products["F:us"]["split"] == "test"
    reasons = {(row["table"], row["reason"]) for row in catalog.rows("rejected")}
    expected = {("interactions", "unknown_product"), ("interactions", "bad_row"), ("relations", "no_exact_product")}
    assert reasons == expected | ({("products", "no_title")} if form == "joined" else set())


def test_short_names_without_split_and_locale(tmp_path: Path) -> None:
    rows = [
        {"example_id": str(n), "query_id": str(n % 50), "query": f"q{n % 50}", "product_id": f"P{n}",
         "esci_label": label, "title": f"T{n}", "description": "", "bullets": "", "brand": "B", "color": "Red"}
        for n, label in enumerate(["Exact", "Exact", "Substitute"] * 100)
    ]  # fmt: skip
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    catalog = read(tmp_path / "examples.jsonl", tmp_path / "out")
    queries: dict[str, set[str]] = {}
    for row in catalog.rows("interactions"):
        queries.setdefault(row["query_text"], set()).add(row["split"])
    assert len(queries) == 50 and all(len(splits) == 1 for splits in queries.values())
    assert {"train", "val"} <= set.union(*queries.values())
    assert catalog.rows("products")[0]["attributes"] == {"brand": ["B"], "colour": ["Red"]}
    assert catalog.table("products").num_rows == 300


def test_other_folders_are_refused(tmp_path: Path) -> None:
    for text, missing in (
        ("id,title\n1,Mug\n", "esci_label"),
        ("query,query_id,product_id,esci_label\na,1,b,E\n", "product_title"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=f"not in the ESCI format.*{missing}"):
            read(tmp_path, tmp_path / "out")


def test_the_real_sample(tmp_path: Path) -> None:
    catalog = read(outside("MOON_DATASETS", "esci_sample_text"), tmp_path / "out")
    assert catalog.table("products").num_rows == 200
    assert catalog.table("interactions").num_rows == 138 and catalog.table("relations").num_rows == 0
    assert Counter(row["reason"] for row in catalog.rows("rejected")) == {"no_exact_product": 50}
