from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moon.catalog.readers.clothing import read_clothing
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from tests.catalog.readers.conftest import png
from tests.conftest import outside


def item(number: int, **changes: Any) -> dict[str, Any]:
    """A row as the source writes it."""
    return {
        "image_id": f"d9345829-{number}",
        "image": f"images/train/{number}.jpg",
        "label": "T-Shirt",
        "category": ["Apparel", "T-Shirt"],
        "attributes": {"kids": number % 2 == 1},
        "sender_id": "142",
        "split": ("train", "val", "test")[number % 3],
        "small_subset": False,
        "source_size": [400, 533],
        "size": [24, 24],
    } | changes


def read(root: Path, rows: list[Any]) -> Catalog:
    (root / "images/train").mkdir(parents=True)
    for number in range(30):
        (root / f"images/train/{number}.jpg").write_bytes(png(number))
    (root / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with CatalogSink(root / "out", max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_clothing(root, sink)
    return Catalog.open(root / "out")


def test_a_photo_is_a_product_and_an_altered_copy_of_it_a_query(tmp_path: Path) -> None:
    catalog = read(tmp_path, [item(number) for number in range(30)])
    products = {row["product_id"]: row for row in catalog.rows("products")}
    assert len(products) == 30 and not catalog.rows("rejected")
    first, second = products["d9345829-0"], products["d9345829-1"]
    assert (first["title"], first["attributes"]) == ("T-Shirt", {"age": ["adults"]})
    assert (second["title"], second["attributes"]) == ("T-Shirt for kids", {"age": ["kids"]})
    assert second["category_path"] == ["Apparel", "T-Shirt"]
    store = catalog.image_store()
    for row in catalog.rows("interactions"):
        product = products[row["product_id"]]
        assert row["split"] == product["split"]
        assert store[row["query_image_id"]] != store[product["image_ids"][0]]
        assert row["query_text"] in (None, "t-shirt")
    texts = [row["query_text"] for row in catalog.rows("interactions")]
    assert texts.count(None) == 30 and 0 < len(texts) - 30 < 15
    assert "142" not in json.dumps([row | {"timestamp": ""} for row in products.values()])


def test_broken_rows_are_rejected(tmp_path: Path) -> None:
    rows = [item(0), item(0, label="Hat"), item(1, label=""), item(2, image="images/none.jpg"), item(3, category="Hat")]
    rows += [item(4, split="all"), item(5, image_id=""), "text"]
    catalog = read(tmp_path, rows)
    assert [row["reason"] for row in catalog.rows("rejected") if row["table"] == "products"] == [
        "duplicate_id", "no_title", "no_image", "bad_row", "unknown_split", "no_id", "bad_row"
    ]  # fmt: skip
    assert catalog.table("products").num_rows == 1


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no items\.jsonl"):
        read_clothing(tmp_path, CatalogSink(tmp_path / "out", max_image_pixels=1, shard_rows=1))


def test_the_real_set_is_read_whole(tmp_path: Path) -> None:
    source = outside("MOON_DATASETS", "clothing_cc0")
    (tmp_path / "images").symlink_to(source / "images")
    lines = (source / "items.jsonl").read_text().splitlines(keepends=True)[::50]
    (tmp_path / "items.jsonl").write_text("".join(lines))
    with CatalogSink(tmp_path / "out", max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_clothing(tmp_path, sink)
    catalog = Catalog.open(tmp_path / "out")
    assert catalog.table("products").num_rows == len(lines) and not catalog.rows("rejected")
