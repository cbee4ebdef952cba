from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.readers.marqo_gs import read_marqo_gs
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated

COLUMNS = [
    "query",
    "product_id",
    "position",
    "title",
    "pair_id",
    "score_linear",
    "score_reciprocal",
    "no_score",
    "query_id",
]


def pair(query: str, product: int, position: Any = 1, **changes: Any) -> dict[str, Any]:
    number = position if isinstance(position, int) else 1
    values = [
        query,
        product,
        position,
        f"Boots {product}",
        f"{query}-{product}",
        101 - number,
        1 / number,
        1,
        hash(query) % 9,
    ]
    return dict(zip(COLUMNS, values, strict=True)) | {"image_local": f"{product}.webp"} | changes


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / f"gs/images/{number}.webp")
    return tmp_path / "gs"


def read_from(source: Path) -> Catalog:
    return read(functools.partial(read_marqo_gs, source), source.with_name("out"))


def test_the_four_parts_are_three_splits(source: Path) -> None:
    write(source / "query_0_product_id_0.csv", [pair("boots, warm", 0), pair("boots, warm", 1, 10), pair("shoe", 0)])
    write(source / "query_0_product_id_1.csv", [pair("shoe", 2, 2)])
    write(source / "query_1_product_id_0.csv", [pair("sandal", 1, 3)])
    write(source / "query_1_product_id_1.csv", [pair("slipper", 2), pair("slipper", 3, 11), pair("slipper", 4, 100)])
    catalog = read_from(source)
    products = [(row["product_id"], row["split"]) for row in catalog.rows("products")]
    assert products == [("0", "train"), ("1", "train"), ("2", "test"), ("3", "test"), ("4", "test")]
    assert asked(catalog) == [
        ("boots, warm", "0", "train", "listed"),
        ("boots, warm", "1", "train", "listed"),
        ("shoe", "0", "train", "listed"),
        ("shoe", "2", "val", "listed"),
        ("sandal", "1", "val", "listed"),
        ("slipper", "2", "test", "listed"),
    ]
    assert rejected(catalog) == []


@pytest.mark.parametrize("layout", ["data/{}-00000-of-00002.parquet", "default/{}/0000.parquet"])
def test_the_hubs_parquet_holds_its_pictures(source: Path, layout: str) -> None:
    rows = {
        "in_domain": [pair("boots", 0), pair("boots", 1, 2)],
        "zero_shot": [pair("mug", 5, 1, image={"bytes": b"no"})],
    }
    for part, pairs in rows.items():
        for row in pairs:
            data = (source / "images" / row.pop("image_local")).read_bytes()
            row.setdefault("image", {"bytes": data, "path": f"{row['product_id']}.webp"})
        path = source / layout.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(pairs), path)
    catalog = read_from(source)
    assert asked(catalog) == [("boots", "0", "train", "listed"), ("boots", "1", "train", "listed")]
    stored = [row["image"]["bytes"] for row in catalog.rows("images")]
    assert stored == [(source / f"images/{number}.webp").read_bytes() for number in range(2)]
    assert rejected(catalog) == [("images", "product:5", "broken_image"), ("products", "5", "no_image")]


def test_broken_rows_are_counted_out_and_the_rest_stays(source: Path) -> None:
    truncated(source / "images/3.webp")
    rows = [
        pair("boots", 0),
        pair("boots", 1, "first"),
        pair("", 2),
        pair("boots", 3),
        pair("boots", 9),
        pair("boots", 4, title=""),
        pair("boots", 5, product_id=""),
        pair("boots", 5, image_local="../out.jpg"),
        pair("boots", 0, "2.0"),
    ]
    write(source / "query_0_product_id_0.csv", rows)
    with (source / "query_0_product_id_0.csv").open("a") as file:
        file.write("short,row\n")
    catalog = read_from(source)
    assert asked(catalog) == [("boots", "0", "train", "listed")] * 2
    name = "query_0_product_id_0.csv"
    assert sorted(rejected(catalog)) == [
        ("images", "product:3", "broken_image"),
        ("images", "product:5", "missing_image"),
        ("images", "product:9", "missing_image"),
        ("interactions", f"{name}:3", "bad_row"),
        ("interactions", f"{name}:4", "no_query"),
        ("products", "3", "no_image"),
        ("products", "4", "no_title"),
        ("products", "5", "no_image"),
        ("products", "9", "no_image"),
        ("products", f"{name}:11", "bad_row"),
        ("products", f"{name}:8", "no_id"),
    ]


def test_other_files_are_refused(source: Path) -> None:
    write(source / "query_0_product_id_0.csv", [{"query": "x", "title": "y"}])
    with pytest.raises(ValueError, match="no column product_id, position"):
        read_from(source)
    (source / "query_0_product_id_0.csv").rename(source / "pairs.csv")
    with pytest.raises(ValueError, match="not in the Marqo-GS-10M format"):
        read_from(source)
    with pytest.raises(ValueError, match="no file is named as a part"):
        read_from(source / "pairs.csv")
