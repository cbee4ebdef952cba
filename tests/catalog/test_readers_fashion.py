from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moon.catalog.readers.fashion import query_words, read_fashion, shoppers_photo
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from moon.vision.decode import decode
from tests.conftest import outside

SPLITS = ("train", "val", "test")


def product(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "product_id": f"m{number}",
        "title": f"Scullers Men Check Purple Shirt {number}",
        "category": ["Apparel", "Topwear", "Shirts"],
        "attributes": {"gender": "Men", "baseColour": "Purple", "season": "Fall", "year": "2011", "usage": "Formal"},
        "images": [f"images/{number}.jpg"],
        "split": SPLITS[number % 3],
    } | changes


def studio(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((80, 60, 3), 255, np.uint8)
    pixels[15:65, 15:45] = np.random.default_rng(seed).integers(0, 200, 3)
    Image.fromarray(pixels).save(path, quality=88)


def source_of(root: Path, rows: Iterable[Any], pictures: Iterable[int]) -> Path:
    source = root / "source"
    source.mkdir()
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    (source / "products.jsonl").write_text(text, encoding="utf-8")
    for number in pictures:
        studio(source / f"images/{number}.jpg", number)
    return source


def read(source: Path, out: Path) -> Catalog:
    with CatalogSink(out, max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_fashion(source, sink)
    return Catalog.open(out)


def test_products_arrive_with_derived_purchases(tmp_path: Path) -> None:
    catalog = read(source_of(tmp_path, map(product, range(150)), range(150)), tmp_path / "out")
    products = {row["product_id"]: row for row in catalog.rows("products")}
    assert products["m4"]["category_path"] == ["Apparel", "Topwear", "Shirts"] and products["m4"]["split"] == "val"
    assert products["m4"]["attributes"]["colour"] == ["Purple"] and len(products["m4"]["attributes"]) == 5
    rows = catalog.rows("interactions")
    kinds = {kind: [row for row in rows if row["query_id"].startswith(kind)] for kind in ("photo", "text", "both")}
    assert len(kinds["photo"]) == 150 and 30 <= len(kinds["text"]) <= 70 and 10 <= len(kinds["both"]) <= 42
    assert all(row["split"] == products[row["product_id"]]["split"] for row in rows)
    assert {row["query_text"] for row in kinds["both"]} == {"purple", "shirts"}
    assert all(row["query_image_id"] == f"photo:{row['product_id']}" for row in kinds["photo"] + kinds["both"])
    assert all(row["query_image_id"] is None and row["query_text"].endswith("shirt") for row in kinds["text"])
    assert catalog.table("rejected").num_rows == 0


def test_a_photo_is_never_a_catalogue_picture(tmp_path: Path) -> None:
    catalog = read(source_of(tmp_path, map(product, range(12)), range(12)), tmp_path / "out")
    images = catalog.table("images").to_pylist()
    studio_hashes = {row["sha256"] for row in images if row["image_id"].startswith("studio:")}
    photo_hashes = {row["sha256"] for row in images if row["image_id"].startswith("photo:")}
    assert len(photo_hashes) == 12 and not photo_hashes & studio_hashes
    assert all(decode(row["image"]["bytes"]).size == (row["width"], row["height"]) for row in images)


def test_a_purchase_depends_on_its_product_alone(tmp_path: Path) -> None:
    """Neither the place in the file nor the other rows matter, apart from the made times."""
    for name, numbers in (("a", range(9)), ("b", range(8, -1, -2))):
        (tmp_path / name).mkdir()
        read(source_of(tmp_path / name, map(product, numbers), numbers), tmp_path / name / "out")
    a, b = (Catalog.open(tmp_path / name / "out") for name in "ab")
    hashes = {row["image_id"]: row["sha256"] for row in a.table("images").to_pylist()}
    assert all(hashes[row["image_id"]] == row["sha256"] for row in b.table("images").to_pylist())
    rows = {row["query_id"]: row | {"timestamp": None} for row in a.rows("interactions")}
    assert all(rows[row["query_id"]] == row | {"timestamp": None} for row in b.rows("interactions"))


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = source_of(tmp_path, map(product, range(6)), range(6))
    assert read(source, tmp_path / "a").digest() == read(source, tmp_path / "b").digest()


def test_broken_rows_are_counted_out_and_the_rest_stays(tmp_path: Path) -> None:
    broken = [
        "{not json",
        product(1),  # truncated picture
        product(2, title=" "),
        product(0, title="Another"),
        product(3, category="Shirts"),
        product(4, product_id=""),
        product(5, split="holdout"),
        product(6, images=["../outside.jpg"]),
        product(7, images=[]),
    ]
    rows = [product(0), *broken, product(8, images=["images/1.jpg", "images/0.jpg"])]
    source = source_of(tmp_path, rows, (0, 1, 2, 4, 5))
    studio(source / "../outside.jpg")
    path = source / "images/1.jpg"
    path.write_bytes(path.read_bytes()[:100])
    catalog = read(source, tmp_path / "out")
    assert [row["product_id"] for row in catalog.rows("products")] == ["m0", "m8"]
    assert catalog.rows("products")[1]["image_ids"] == ["studio:m8:1"]
    assert {row["product_id"] for row in catalog.rows("interactions")} == {"m0", "m8"}
    reasons = [row["reason"] for row in catalog.table("rejected").to_pylist() if row["table"] == "products"]
    assert reasons == [
        "bad_row", "no_image", "no_title", "duplicate_id", "bad_row", "no_id", "unknown_split", "no_image", "no_image"
    ]  # fmt: skip


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no products\.jsonl"):
        read(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("United Colors of Benetton Women Solid Grey Tops", "women solid grey tops"),
        ("Red Rose Women Blue Nightdress", "women blue nightdress"),
        ("Enamor Pink Bra", "pink bra"),
        ("Converse Chuck Taylor All Star Unisex Navy Shoe", "all star unisex navy shoe"),
        ("CASIO ENTICER Women White Dial Watch A667", "women white dial watch"),
        ("Women Silver Pendant", "silver pendant"),
        ("Titan 1234", "1234"),
        ("Titan", "titan"),
    ],
)
def test_query_words_end_the_title_without_the_brand(title: str, expected: str) -> None:
    for seed in range(10):
        words = query_words(title, random.Random(seed))
        assert expected.endswith(words) and 1 <= len(words.split()) <= 4
        assert len(words.split()) >= min(2, len(expected.split()))


@given(st.integers(4, 90), st.integers(4, 90), st.integers(0, 2**32))
def test_a_shoppers_photo_shows_the_product_and_depends_on_the_seed(width: int, height: int, seed: int) -> None:
    picture = Image.new("RGB", (width, height), "red")
    photo = shoppers_photo(picture, random.Random(seed))
    assert photo.mode == "RGB" and photo.width >= 0.65 * width and photo.height >= 0.65 * height
    assert photo.tobytes() == shoppers_photo(picture, random.Random(seed)).tobytes()


def test_real_rows(tmp_path: Path) -> None:
    real = outside("MOON_DATASETS", "fashion_products")
    source = tmp_path / "source"
    source.mkdir()
    (source / "images").symlink_to(real / "images")
    with (real / "products.jsonl").open(encoding="utf-8") as lines:
        (source / "products.jsonl").write_text("".join(line for line, _ in zip(lines, range(200), strict=False)))
    catalog = read(source, tmp_path / "out")
    products = catalog.rows("products")
    assert len(products) == 200 and catalog.table("rejected").num_rows == 0
    assert all(len(row["category_path"]) == 3 and len(row["attributes"]) >= 4 for row in products)
    assert catalog.table("interactions").num_rows > 260
