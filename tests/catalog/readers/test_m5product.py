from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from moon.catalog.readers.m5product import read_m5product
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated


def item(number: int, label: str = "一", **changes: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:1/{number}.jpg"
    return {"title": f"商品 {number}", "pv": "品牌#:#AHC#;#功效#:#补水", "label": label, "url": url} | changes


def source_of(root: Path, files: dict[str, Any], pictures: int = 9) -> Path:
    source = root / "m5"
    for number in range(pictures):
        picture(source / f"images/{number}.jpg")
    source.mkdir(exist_ok=True)
    for name, content in files.items():
        (source / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return source


def read_from(source: Path) -> Catalog:
    return read(functools.partial(read_m5product, source), source.with_name("out"))


def test_products_of_one_label_are_the_same_and_answer_its_queries(tmp_path: Path) -> None:
    train = {"0": item(0), "1": item(1)}
    test = {"2": item(2), "3": item(3, "二"), "4": item(4), "5": item(5), "6": item(6, "二")}
    files = {"subset_v3_train_id_label.json": train, "product5m_test_id_label.json": test}
    catalog = read_from(source_of(tmp_path, files | {"query_fg_image_ids.json": ["4", "6"]}))
    products = {row["product_id"]: row for row in catalog.rows("products")}
    assert {name: row["split"] for name, row in products.items()} == dict.fromkeys("01", "train") | dict.fromkeys(
        "235", "test"
    )
    assert products["0"]["attributes"] == {"品牌": ["AHC"], "功效": ["补水"]}
    queries = catalog.rows("interactions")
    assert asked(catalog) == [
        ("商品 4", "2", "test", "same_product"),
        ("商品 4", "5", "test", "same_product"),
        ("商品 6", "3", "test", "same_product"),
    ]
    assert [row["query_image_id"] for row in queries] == ["query:4", "query:4", "query:6"]
    related = [(row["product_id"], row["other_id"], row["relation"]) for row in catalog.rows("relations")]
    assert sorted(related) == [("1", "0", "same"), ("5", "2", "same")] and rejected(catalog) == []


def test_without_a_picture_folder_the_addresses_are_handed_over(tmp_path: Path) -> None:
    catalog = read_from(source_of(tmp_path, {"test_id_label.json": {"0": item(0), "1": item(1, url="")}}, pictures=0))
    found = rejected(catalog)
    assert ("images", "main:0", "refused_address") in found  # it was tried, and a private host is not asked
    assert ("products", "1", "no_image") in found and catalog.table("products").num_rows == 0


def test_broken_items_are_counted_out_and_the_rest_stays(tmp_path: Path) -> None:
    items = {
        "0": item(0),
        "1": 7,
        "2": item(2, title=" "),
        "3": item(3, pv="loose#;#a#:#b"),
        "4": item(4),
        "5": item(5, pv="0", label=None),
        "6": item(6, label="unseen"),
        "7": item(7, title=["x"]),
        "8": item(8),
    }
    source = source_of(tmp_path, {"test_id_label.json": items, "query_fg_image_ids.json": ["6", "8", "none"]})
    truncated(source / "images/4.jpg")
    (source / "images/8.jpg").unlink()
    catalog = read_from(source)
    assert [(row["product_id"], row["attributes"]) for row in catalog.rows("products")][1] == ("5", {})
    assert [row["product_id"] for row in catalog.rows("products")] == ["0", "5"]
    assert sorted(rejected(catalog)) == [
        ("images", "main:4", "broken_image"),
        ("images", "query:8", "missing_image"),
        ("interactions", "6", "unknown_product"),
        ("interactions", "8", "missing_image"),
        ("products", "1", "bad_row"),
        ("products", "2", "no_title"),
        ("products", "3", "bad_row"),
        ("products", "4", "no_image"),
        ("products", "7", "bad_row"),
    ]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the M5Product format"):
        read_from(source_of(tmp_path, {"labels.json": {}}))
    with pytest.raises(ValueError, match="not a JSON list of item ids"):
        read_from(source_of(tmp_path, {"test_id_label.json": {}, "query_image_ids.json": 3}))


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    items = {str(number): item(number, str(number % 3)) for number in range(9)}
    source = source_of(tmp_path, {"id_label.json": items, "query_image_ids.json": ["7", "8"]})
    assert read_from(source).digest() == read_from(source).digest()
