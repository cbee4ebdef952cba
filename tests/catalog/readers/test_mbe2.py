from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.readers.mbe2 import read_mbe2
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, write_lines


def triplet(query: str, bought: int, passed: int | None, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"query_text": query, "query_image": None}
    for side, number in (("pos", bought), ("neg", passed)):
        if number is not None:
            row |= {
                f"{side}_id": f"p{number}",
                f"{side}_title": f"Product {number}",
                f"{side}_image": f"{number}.jpg",
                f"{side}_industry_name": "Home",
                f"{side}_cate1_name": "Mugs",
                f"{side}_attributes": "colour:red",
            }
    return row | changes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(4):
        picture(tmp_path / f"mbe2/{number}.jpg")
    return tmp_path / "mbe2"


def read_from(source: Path, columns: dict[str, str] | None = None) -> Catalog:
    return read(functools.partial(read_mbe2, source, source, columns or {}), source.with_name("out"))


def test_the_positive_is_bought_and_the_negative_is_a_product(source: Path) -> None:
    rows = [triplet("red mug", 0, 1), triplet("mug", 1, 0, query_image="3.jpg"), triplet("cup", 2, None)]
    pq.write_table(pa.Table.from_pylist(rows), source / "train-00000-of-00001.parquet")
    catalog = read_from(source)
    assert [row["product_id"] for row in catalog.rows("products")] == ["p0", "p1", "p2"]
    assert all(row["category_path"] == ["Home", "Mugs"] for row in catalog.rows("products"))
    assert asked(catalog) == [(q, p, "train", "purchase") for q, p in (("red mug", "p0"), ("mug", "p1"), ("cup", "p2"))]
    assert rejected(catalog) == []


def test_a_product_keeps_its_first_fields_and_may_have_no_id(source: Path) -> None:
    rows = [triplet("a", 0, 1), triplet("b", 0, 1, pos_title="Product 0, enriched")]
    rows += [triplet("c", 0, 1, pos_id=None, neg_id="") for _ in range(2)]
    write_lines(source / "test.jsonl", rows)
    catalog = read_from(source)
    titles = [row["title"] for row in catalog.rows("products")]
    bought = [product for _, product, _, _ in asked(catalog)]
    assert titles == ["Product 0", "Product 1"] * 2 and rejected(catalog) == []
    assert bought[:2] == ["p0", "p0"] and bought[2] == bought[3] != "p0" and len(bought[2]) == 24


def test_any_column_can_be_named(source: Path) -> None:
    row = triplet("mug", 0, None)
    row["title_of_bought"], row["q"] = row.pop("pos_title"), row.pop("query_text")
    write_lines(source / "dev.jsonl", [row])
    columns = {"pos_title": "title_of_bought", "query_text": "q"}
    assert asked(read_from(source, columns)) == [("mug", "p0", "val", "purchase")]
    with pytest.raises(ValueError, match="no column pos_title"):
        read_from(source)
    with pytest.raises(ValueError, match="unknown field 'doc_title'"):
        read_from(source, {"doc_title": "x"})


def test_broken_sides_are_counted_out_alone(source: Path) -> None:
    rows = [
        triplet("a", 0, 9),  # negative without a picture
        triplet("b", 8, 1),  # positive without a picture: no purchase
        triplet("", 1, None),
        triplet("d", 2, None, pos_attributes="no pair"),
        triplet("e", 3, None, query_image="gone.jpg"),
        "[]",
    ]
    write_lines(source / "train.jsonl", rows)
    catalog = read_from(source)
    assert [row["product_id"] for row in catalog.rows("products")] == ["p0", "p1", "p3"]
    assert asked(catalog) == [("a", "p0", "train", "purchase")]
    assert sorted(rejected(catalog)) == [
        ("images", "product:p8:0", "missing_image"),
        ("images", "product:p9:0", "missing_image"),
        ("images", "query:gone.jpg", "missing_image"),
        ("interactions", "train.jsonl:3", "no_query"),
        ("interactions", "train.jsonl:5", "missing_image"),
        ("products", "p2", "bad_row"),
        ("products", "p8", "no_image"),
        ("products", "p9", "no_image"),
        ("products", "train.jsonl:6", "bad_row"),
    ]
