from __future__ import annotations

import datetime
import functools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.readers.amazon import product_of, read_amazon, read_amazon_photos
from moon.catalog.readers.rows import hashed_split
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated, write_lines


def photo(path: str | None, hi_res: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"thumb": "t.jpg", "large": path, "variant": "MAIN", "hi_res": hi_res} | changes


def meta(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "main_category": "All Beauty",
        "title": f"Soap {number}",
        "average_rating": 4.8,
        "rating_number": 10,
        "features": ["Mild", "Vegan"],
        "description": ["A bar of soap."],
        "price": None,
        "images": [photo(f"p/{number}.jpg"), photo(None, f"p/{number}b.jpg")],
        "videos": [],
        "store": "Howard Products",
        "categories": ["Beauty", "Soap"],
        "details": {"Scent": "Rose", "Item Weight": "7 ounces", "Best Sellers Rank": {"Soap": 3}},
        "parent_asin": f"B{number:09d}",
        "bought_together": None,
    } | changes


def review(number: int, path: str | None, **changes: Any) -> dict[str, Any]:
    url = {"small_image_url": "s.jpg", "medium_image_url": "m.jpg", "large_image_url": path, "attachment_type": "IMAGE"}
    return {
        "rating": 5.0,
        "title": "Such a lovely scent",
        "text": "This spray is really nice.",
        "images": [url] if path else [],
        "asin": f"C{number:09d}",
        "parent_asin": f"B{number:09d}",
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
        "verified_purchase": True,
    } | changes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / f"raw/p/{number}.jpg")
        picture(tmp_path / f"raw/p/{number}b.jpg", "blue")
    return tmp_path / "raw"


def read_from(source: Path, photos: bool = False) -> Catalog:
    return read(functools.partial(read_amazon_photos if photos else read_amazon, source), source.with_name("out"))


def test_products_have_pictures_details_and_a_hashed_split(source: Path) -> None:
    rows = [meta(0), meta(1, categories=[], details={}, features=[], description=[], store=None)]
    write_lines(source / "meta_categories/meta_All_Beauty.jsonl.gz", rows)
    write_lines(source / "review_categories/All_Beauty.jsonl.gz", [review(0, "p/2.jpg")])
    catalog = read_from(source)
    first, second = catalog.rows("products")
    assert first["attributes"] == {"Scent": ["Rose"], "Item Weight": ["7 ounces"], "store": ["Howard Products"]}
    assert (first["description"], first["category_path"]) == ("A bar of soap.\nMild\nVegan", ["Beauty", "Soap"])
    assert first["image_ids"] == ["B000000000:0", "B000000000:1"]
    assert (second["attributes"], second["category_path"]) == ({}, ["All Beauty"])
    assert [row["split"] for row in (first, second)] == [hashed_split(row["product_id"]) for row in (first, second)]
    assert catalog.table("interactions").num_rows == 0 and rejected(catalog) == []


def test_reviews_become_queries_only_where_asked_and_verified(source: Path) -> None:
    write_lines(source / "meta_All_Beauty.jsonl", [meta(0), meta(1)])
    rows = [
        review(0, "p/2.jpg"),
        review(0, "p/3.jpg", verified_purchase=False),
        review(1, None),
        review(1, "p/4.jpg", timestamp=1600000000000),
        review(5, "p/5.jpg"),
        review(1, "gone.jpg"),
        "{",
    ]
    write_lines(source / "All_Beauty.jsonl", rows)
    catalog = read_from(source, photos=True)
    splits = [hashed_split(f"B{number:09d}") for number in range(2)]
    expected = [(None, f"B{number:09d}", splits[number], "review_photo") for number in range(2)]
    assert asked(catalog) == expected
    assert [row["query_image_id"] for row in catalog.rows("interactions")] == [
        f"review:All_Beauty.jsonl:{n}" for n in (1, 4)
    ]
    assert catalog.rows("interactions")[1]["timestamp"] == datetime.datetime(
        2020, 9, 13, 12, 26, 40, tzinfo=datetime.UTC
    )
    assert sorted(rejected(catalog)) == [
        ("images", "review:All_Beauty.jsonl:6", "missing_image"),
        ("interactions", "All_Beauty.jsonl:5", "unknown_product"),
        ("interactions", "All_Beauty.jsonl:6", "missing_image"),
        ("interactions", "All_Beauty.jsonl:7", "bad_row"),
    ]
    (source / "All_Beauty.jsonl").unlink()
    with pytest.raises(ValueError, match="holds no reviews"):
        read_from(source, photos=True)


def test_the_hubs_parquet_gives_the_same_products(source: Path) -> None:
    rows = [meta(0), meta(1)]
    lines = write_lines(source / "meta_All_Beauty.jsonl", rows)
    from_lines = read_from(source).rows("products")
    lines.unlink()
    for row in rows:
        row["images"] = {
            size: [image[size] for image in row["images"]] for size in ("hi_res", "large", "thumb", "variant")
        }
        row["details"] = json.dumps(row["details"])
        del row["videos"]
    folder = source / "raw_meta_All_Beauty"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "full-00000-of-00001.parquet")
    assert read_from(source).rows("products") == from_lines != []


def test_addresses_are_handed_over_as_they_stand() -> None:
    large = "https://m.media-amazon.com/images/I/41qfjSfqNyL.jpg"
    row = meta(
        0, images=[photo(large), photo(large), photo(None, "https://x/h.jpg"), photo(None), photo(None, thumb=None)]
    )
    pictures = product_of(row, "B0").pictures
    assert pictures == {"B0:0": large, "B0:1": "https://x/h.jpg", "B0:2": "t.jpg"}


def test_broken_rows_are_counted_out_and_the_rest_stays(source: Path) -> None:
    truncated(source / "p/1.jpg")
    rows = [
        meta(0),
        meta(1),  # one picture of two
        meta(2, images=[]),
        meta(3, images="none"),
        meta(4, details="{half"),
        meta(5, title=None),
        meta(0, title="Again"),
        meta(5, parent_asin=""),
        "[]",
    ]
    write_lines(source / "meta_All_Beauty.jsonl", rows)
    catalog = read_from(source)
    assert [row["image_ids"] for row in catalog.rows("products")][1] == ["B000000001:1"]
    assert sorted(rejected(catalog)) == [
        ("images", "B000000001:0", "broken_image"),
        ("products", "B000000000", "duplicate_id"),
        ("products", "B000000002", "no_image"),
        ("products", "B000000003", "bad_row"),
        ("products", "B000000004", "bad_row"),
        ("products", "B000000005", "no_title"),
        ("products", "meta_All_Beauty.jsonl:8", "no_id"),
        ("products", "meta_All_Beauty.jsonl:9", "bad_row"),
    ]


def test_other_files_are_refused(source: Path) -> None:
    with pytest.raises(ValueError, match="not in the Amazon Reviews 2023 format"):
        read_from(source)
    write_lines(source / "meta_x.jsonl", [{"asin": "1", "title": "old"}])
    with pytest.raises(ValueError, match="no column parent_asin, images"):
        read_from(source)
