from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.catalog.readers.mbe import read_mbe
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated, write_lines

COLUMNS = ["id", "doc_title", "doc_image", "doc_industry_name", *(f"doc_cate{n}_name" for n in range(1, 5))]
COLUMNS.append("doc_attributes")


def sample(number: int, **changes: Any) -> dict[str, Any]:
    values = [
        f"{number:08x}",
        f"夏季连衣裙 {number}",
        f"images/{number}.jpg",
        "服饰时尚",
        "女装",
        "连衣裙",
        "碎花裙",
        "",
    ]
    return dict(zip(COLUMNS, [*values, "颜色:红色!!!蓝色,,品牌:Alpha"], strict=True)) | changes


def read_from(source: Path, columns: dict[str, str] | None = None) -> Catalog:
    folder = source if source.is_dir() else source.parent
    return read(functools.partial(read_mbe, source, folder, columns or {}), folder.with_name(f"{source.name}.out"))


def test_products_have_path_attributes_and_the_split_of_the_file(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    for number in range(3):
        picture(source / f"images/{number}.jpg")
    write_lines(source / "MBE_test.shuffled.jsonl", [sample(0), sample(1, doc_attributes="", doc_cate2_name=None)])
    write_lines(source / "MBE_train.jsonl.gz", [sample(2)])
    catalog = read_from(source)
    first, second, third = catalog.rows("products")
    assert first["category_path"] == ["服饰时尚", "女装", "连衣裙", "碎花裙"]
    assert first["attributes"] == {"颜色": ["红色", "蓝色"], "品牌": ["Alpha"]}
    assert (second["category_path"], second["attributes"]) == (["服饰时尚", "女装", "碎花裙"], {})
    assert [row["split"] for row in (first, second, third)] == ["test", "test", "train"]
    assert catalog.table("interactions").num_rows == 0 and rejected(catalog) == []


def test_parquet_and_lines_give_the_same_catalogue(tmp_path: Path) -> None:
    rows = [sample(0), sample(1)]
    for form in ("lines", "parquet"):
        for number in range(2):
            picture(tmp_path / form / f"images/{number}.jpg")
    write_lines(tmp_path / "lines/test.jsonl", rows)
    (tmp_path / "parquet/default/test").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet/default/test/0000.parquet")
    catalogs = [read_from(tmp_path / form) for form in ("lines", "parquet")]
    assert catalogs[0].rows("products") == catalogs[1].rows("products") != []


def test_queries_are_purchases_of_their_product(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    picture(source / "images/0.jpg")
    picture(source / "q.png", "blue")
    rows = [
        sample(0, query_text="红裙子", query_image=None),
        sample(0, query_text=None, query_image="q.png"),
        sample(0, query_text="这个", query_image="q.png"),
        sample(0, query_text="", query_image=""),
    ]
    write_lines(source / "train.jsonl", rows)
    catalog = read_from(source)
    assert asked(catalog) == [(text, "00000000", "train", "purchase") for text in ("红裙子", None, "这个")]
    ids = [row["query_image_id"] for row in catalog.rows("interactions")]
    assert ids == [None, "query:q.png", "query:q.png"] and catalog.table("images").num_rows == 2
    assert rejected(catalog) == [("products", "00000000", "duplicate_id")]


def test_a_copy_may_hold_its_pictures(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    data = [picture(source / name).read_bytes() for name in ("a.png", "b.jpg")]
    rows = [
        sample(n, doc_image={"bytes": data[n], "path": "x"}, query_image={"bytes": data[1 - n], "path": None})
        for n in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(rows), source / "test.parquet")
    catalog = read_from(source)
    stored = {row["image_id"]: row["image"]["bytes"] for row in catalog.rows("images")}
    assert [stored[image] for row in catalog.rows("products") for image in row["image_ids"]] == data
    assert [stored[row["query_image_id"]] for row in catalog.rows("interactions")] == data[::-1]


def test_columns_can_be_named(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    picture(source / "images/0.jpg")
    row = sample(0) | {"item": "p7", "keyword": "裙"}
    del row["id"]
    write_lines(source / "val.jsonl", [row])
    assert asked(read_from(source, {"id": "item", "query_text": "keyword"})) == [("裙", "p7", "val", "purchase")]
    with pytest.raises(ValueError, match="no column id"):
        read_from(source)
    with pytest.raises(ValueError, match="unknown field 'doc_titel'.*'doc_title'"):
        read_from(source, {"doc_titel": "x"})


def test_broken_rows_are_counted_out_and_the_rest_stays(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    for number in (0, 2, 3, 4, 6):
        picture(source / f"images/{number}.jpg")
    truncated(source / "images/5.jpg")
    rows = [
        sample(0),
        "{half",
        sample(1),
        sample(2, doc_title=""),
        sample(3, doc_attributes="颜色:红色,,loose"),
        sample(4, id=None),
        sample(5),
        sample(0, doc_title="another"),
        sample(6, query_image="gone.jpg"),
    ]
    write_lines(source / "test.jsonl", rows)
    catalog = read_from(source)
    assert [row["product_id"] for row in catalog.rows("products")] == ["00000000", "00000006"]
    assert sorted(rejected(catalog)) == [
        ("images", "product:00000001:0", "missing_image"),
        ("images", "product:00000005:0", "broken_image"),
        ("images", "query:gone.jpg", "missing_image"),
        ("interactions", "test.jsonl:9", "missing_image"),
        ("products", "00000000", "duplicate_id"),
        ("products", "00000001", "no_image"),
        ("products", "00000002", "no_title"),
        ("products", "00000003", "bad_row"),
        ("products", "00000005", "no_image"),
        ("products", "test.jsonl:2", "bad_row"),
        ("products", "test.jsonl:6", "no_id"),
    ]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "mbe"
    for number in range(9):
        picture(source / f"images/{number}.jpg")
    for name in ("b.jsonl", "a/c.jsonl", "a.jsonl.gz"):
        write_lines(source / name, [sample(number, query_text=name) for number in range(9)])
    digest = read_from(source).digest()
    assert {row["split"] for row in Catalog.open(tmp_path / "mbe.out").rows("products")} <= {"train", "val", "test"}
    assert read_from(source).digest() == digest
