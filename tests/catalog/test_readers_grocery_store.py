from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moon.catalog.readers.grocery_store import parse_information, read_grocery_store
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from tests.conftest import outside


def picture(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 14), colour).save(path)


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")


def product(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "product_id": f"g{number}",
        "title": f"Apple {number}",
        "description": f"A round fruit, kind {number}.",
        "category": ["Fruit", "Red-Apple"],
        "attributes": {"information": "Manufacturer and volume: ARLA KO\u00a0,\u00a01l \nIngredients: apple"},
        "images": [f"images/iconic/g{number}.jpg"],
    } | changes


def photo(number: int, product_id: str = "g0", **changes: Any) -> dict[str, Any]:
    row = {"image_id": f"photo{number}", "image": f"images/{number}.jpg", "product_id": product_id, "split": "train"}
    return row | changes


def source_of(root: Path, products: Iterable[Any], photos: Iterable[Any] = ()) -> Path:
    source = root / "source"
    source.mkdir()
    write_lines(source / "products.jsonl", products)
    write_lines(source / "natural_images.jsonl", photos)
    return source


def read(source: Path, out: Path) -> Catalog:
    with CatalogSink(out, max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_grocery_store(source, sink)
    return Catalog.open(out)


def test_products_photos_and_texts_arrive(tmp_path: Path) -> None:
    source = source_of(tmp_path, [product(0), product(1)], [photo(n, f"g{n % 2}") for n in range(60)])
    for number in range(2):
        picture(source / f"images/iconic/g{number}.jpg")
    for number in range(60):
        picture(source / f"images/{number}.jpg", "blue")
    catalog = read(source, tmp_path / "out")
    first = catalog.rows("products")[0]
    assert (first["title"], first["category_path"], first["split"]) == ("Apple 0", ["Fruit", "Red-Apple"], "train")
    assert first["attributes"] == {"brand": ["ARLA KO"], "volume": ["1l"]}
    rows = catalog.rows("interactions")
    kinds = {kind: [row for row in rows if row["query_id"].startswith(kind)] for kind in ("photo", "text", "both")}
    assert len(kinds["photo"]) == 60 and len(kinds["text"]) == 2 and 1 <= len(kinds["both"]) <= 25
    assert all(row["query_text"] == "red apple" and row["query_image_id"] for row in kinds["both"])
    assert all(row["query_text"] is None for row in kinds["photo"])
    stored = set(catalog.table("images")["image_id"].to_pylist())
    assert {row["query_image_id"] for row in rows} - {None} <= stored and set(first["image_ids"]) <= stored
    times = [row["timestamp"] for row in rows]
    assert times == sorted(times) and len(set(times)) == len(times)
    assert catalog.table("rejected").num_rows == 0


@pytest.mark.parametrize(("splits", "evaluation"), [(("train", "val", "test"), "test"), (("train", "val"), "val")])
def test_a_third_of_the_texts_is_for_evaluation(tmp_path: Path, splits: tuple[str, ...], evaluation: str) -> None:
    shared = {"images": ["images/one.jpg"]}
    photos = [photo(n, split=split, image="images/one.jpg") for n, split in enumerate(splits)]
    source = source_of(tmp_path, [product(n, **shared) for n in range(90)], photos)
    picture(source / "images/one.jpg")
    texts = [row for row in read(source, tmp_path / "out").rows("interactions") if row["query_id"].startswith("text")]
    assert {row["split"] for row in texts} == {"train", evaluation}
    assert 15 <= sum(row["split"] == evaluation for row in texts) <= 45


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = source_of(tmp_path, [product(0)], [photo(0)])
    picture(source / "images/iconic/g0.jpg")
    picture(source / "images/0.jpg")
    assert read(source, tmp_path / "a").digest() == read(source, tmp_path / "b").digest()


def test_broken_rows_are_counted_out_and_the_rest_stays(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        [
            product(0),
            "{not json",
            "[1]",
            product(1),  # no picture file
            product(2, title=" "),
            product(0, title="Another"),
            product(3, category="Fruit"),
            product(4, product_id=""),
        ],
        [
            photo(0),
            photo(1),  # truncated
            photo(2, "g1"),
            photo(3, split="holdout"),
            photo(4, image="../outside.jpg"),
            photo(0),
        ],
    )
    for name in ("images/iconic/g0.jpg", "images/iconic/g2.jpg", "images/0.jpg", "images/3.jpg", "../outside.jpg"):
        picture(source / name)
    picture(source / "images/1.jpg")
    data = (source / "images/1.jpg").read_bytes()
    (source / "images/1.jpg").write_bytes(data[: len(data) // 2])
    catalog = read(source, tmp_path / "out")
    assert catalog.table("products")["product_id"].to_pylist() == ["g0"]
    asked = [row["query_id"] for row in catalog.rows("interactions") if row["query_id"].startswith("photo")]
    assert asked == ["photo:photo0"]
    found = sorted((row["table"], row["row_id"], row["reason"]) for row in catalog.rows("rejected"))
    assert found == [
        ("images", "iconic:g1:0", "missing_image"),
        ("images", "photo1", "broken_image"),
        ("images", "photo4", "missing_image"),
        ("interactions", "photo:photo0", "duplicate_id"),
        ("interactions", "photo:photo1", "broken_image"),
        ("interactions", "photo:photo2", "unknown_product"),
        ("interactions", "photo:photo3", "unknown_split"),
        ("interactions", "photo:photo4", "missing_image"),
        ("products", "g0", "duplicate_id"),
        ("products", "g1", "no_image"),
        ("products", "g2", "no_title"),
        ("products", "g3", "bad_row"),
        ("products", "products.jsonl:2", "bad_row"),
        ("products", "products.jsonl:3", "bad_row"),
        ("products", "products.jsonl:8", "no_id"),
    ]


def test_photos_may_be_missing_but_not_products(tmp_path: Path) -> None:
    source = source_of(tmp_path, [product(0)])
    picture(source / "images/iconic/g0.jpg")
    (source / "natural_images.jsonl").unlink()
    assert read(source, tmp_path / "out").table("products").num_rows == 1
    with pytest.raises(ValueError, match=r"no products\.jsonl"):
        read(tmp_path, tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffTitle: x\nCountry and volume: Italy,\u00a0ca 180g \n", {"country": ["Italy"], "volume": ["ca 180g"]}),
        ("Country: Spain ", {"country": ["Spain"]}),
        (
            "Manufacturer and volume: OATLY , 1kg\nManufacturing country: Sverige",
            {"brand": ["OATLY"], "volume": ["1kg"], "country": ["Sweden"]},
        ),
        ("Manufacturer and volume: ARLA, a lot", {"brand": ["ARLA"]}),
        ("Ingredients: Manufacturer, 1l", {}),
        ("", {}),
    ],
)
def test_information_is_parsed_conservatively(text: str, expected: dict[str, list[str]]) -> None:
    assert parse_information(text) == expected


def test_real_rows(tmp_path: Path) -> None:
    real = outside("MOON_DATASETS", "grocery_store")
    source = tmp_path / "source"
    source.mkdir()
    (source / "images").symlink_to(real / "images")
    for name, step in (("products.jsonl", 1), ("natural_images.jsonl", 40)):
        lines = (real / name).read_text(encoding="utf-8").splitlines(keepends=True)[::step]
        (source / name).write_text("".join(lines), encoding="utf-8")
    catalog = read(source, tmp_path / "out")
    products = catalog.rows("products")
    assert catalog.table("rejected").num_rows == 0 and len(products) >= 60
    assert all(row["image_ids"] and len(row["category_path"]) == 2 for row in products)
    assert sum("country" in row["attributes"] for row in products) > 0.8 * len(products)
