from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from moon.catalog.readers.sink import CatalogSink, RowError
from moon.catalog.readers.table import map_columns, read_table
from moon.catalog.readers.table_values import attributes_of, list_of, time_of
from moon.catalog.store import Catalog
from moon.config import CatalogParams

HEADER = "product_id,title,category,images,query,query_image,split\n"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.png"):
        Image.new("RGB", (16, 12), "green").save(folder / name)
    Image.new("RGB", (300, 300)).save(folder / "big.png")
    (folder / "text.jpg").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.jpg")
    return folder


def read(table: Path, pictures: Path, columns: Mapping[str, str] | None = None) -> Catalog:
    out = table.parent / f"{table.name}.out"
    with CatalogSink(out, max_image_pixels=50_000, shard_rows=4) as sink:
        read_table(table, pictures, columns or {}, sink)
    return Catalog.open(out)


def csv_of(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    return path


def reasons(catalog: Catalog) -> list[tuple[str, str, str]]:
    return [(row["table"], row["row_id"], row["reason"]) for row in catalog.rows("rejected")]


def test_the_three_formats_give_the_same_catalogue(tmp_path: Path, pictures: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"sku": "p1", "name": "Red mug", "category": "Home > Mugs", "image": "a.jpg;sub/c.png", "query": "mug"},
        {"sku": "p1", "name": "Red mug", "category": "Home > Mugs", "image": "a.jpg;sub/c.png", "query": "cup, red"},
        {"sku": "p2", "name": "Älva lamp", "category": "Home > Lamps", "image": "b.jpg", "query": ""},
    ]
    text = "".join(";".join(f'"{value}"' for value in row.values()) + "\r\n" for row in rows)
    tables = [csv_of(tmp_path, "\ufeffsku;name;category;image;query\r\n" + text), tmp_path / "t.jsonl"]
    tables[1].write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    lists = [row | {"category": row["category"].split(" > "), "image": row["image"].split(";")} for row in rows]
    tables.append(tmp_path / "t.parquet")
    pq.write_table(pa.Table.from_pylist(lists), tables[2])
    catalogs = [read(table, pictures) for table in tables]
    for catalog in catalogs:
        products = catalog.rows("products")
        assert [row["title"] for row in products] == ["Red mug", "Älva lamp"]
        assert products[0]["category_path"] == ["Home", "Mugs"]
        assert products[0]["image_ids"] == ["a.jpg", "sub/c.png"]
        assert [row["query_text"] for row in catalog.rows("interactions")] == ["mug", "cup, red"]
        assert reasons(catalog) == []
    assert catalogs[0].rows("products") == catalogs[1].rows("products") == catalogs[2].rows("products")


def test_every_fault_is_rejected_with_its_reason(tmp_path: Path, pictures: Path) -> None:
    text = HEADER + "".join(
        f"{line}\n"
        for line in [
            "ok,Mug,Home,a.jpg,mug,,train",
            ",Mug,Home,a.jpg,,,train",
            "untitled,,Home,a.jpg,,,train",
            "bare,Mug,Home,,,,train",
            "gone,Mug,Home,nowhere.jpg,,,train",
            "fake,Mug,Home,text.jpg,,,train",
            "bomb,Mug,Home,big.png,,,train",
            "escape,Mug,Home,../outside.jpg,,,train",
            "root,Mug,Home,/etc/passwd,,,train",
            "ok,Other mug,Home,a.jpg,,,train",
            "ok,Mug,Home,a.jpg,,,train",
            "strange,Mug,Home,a.jpg,,,holdout",
            "short,Mug",
            "ok,Mug,Home,a.jpg,,gone.jpg,train",
            "half,Mug,Home,a.jpg;nowhere.jpg,,,val",
        ]
    )
    catalog = read(csv_of(tmp_path, text), pictures)
    assert catalog.table("products")["product_id"].to_pylist() == ["ok", "half"]
    assert [row["image_ids"] for row in catalog.rows("products")] == [["a.jpg"], ["a.jpg"]]
    assert reasons(catalog) == [
        ("products", "line 3", "no_id"),
        ("products", "untitled", "no_title"),
        ("products", "bare", "no_image"),
        ("images", "nowhere.jpg", "missing_image"),
        ("products", "gone", "no_image"),
        ("images", "text.jpg", "broken_image"),
        ("products", "fake", "no_image"),
        ("images", "big.png", "too_many_pixels"),
        ("products", "bomb", "no_image"),
        ("images", "../outside.jpg", "missing_image"),
        ("products", "escape", "no_image"),
        ("images", reasons(catalog)[11][1], "missing_image"),
        ("products", "root", "no_image"),
        ("products", "ok", "duplicate_id"),
        ("products", "ok", "no_query"),
        ("products", "strange", "unknown_split"),
        ("products", "t.csv:14", "bad_row"),
        ("images", "gone.jpg", "missing_image"),
        ("interactions", "line 15", "missing_image"),
    ]
    stored = catalog.table("images")["image_id"].to_pylist()
    assert stored == ["a.jpg"]


def test_absolute_paths_inside_the_folder_are_the_same_picture(tmp_path: Path, pictures: Path) -> None:
    table = csv_of(tmp_path, f"id,title,image\np1,Mug,{pictures}/a.jpg\np2,Cup,./sub/../a.jpg\n")
    assert [row["image_ids"] for row in read(table, pictures).rows("products")] == [["a.jpg"], ["a.jpg"]]


def test_a_log_names_known_products_by_id_alone(tmp_path: Path, pictures: Path) -> None:
    table = csv_of(tmp_path, HEADER + "p1,Mug,Home,a.jpg,,,train\np1,,,,mug,b.jpg,val\nnew,,,,mug,,train\n")
    catalog = read(table, pictures)
    (row,) = catalog.rows("interactions")
    assert (row["product_id"], row["query_text"], row["query_image_id"], row["split"]) == ("p1", "mug", "b.jpg", "val")
    assert reasons(catalog) == [("products", "new", "no_title")]


def test_without_queries_there_are_no_interactions(tmp_path: Path, pictures: Path) -> None:
    catalog = read(csv_of(tmp_path, "id,title,image\np1,Mug,a.jpg\np1,Mug,a.jpg\n"), pictures)
    assert catalog.table("interactions").num_rows == 0
    assert reasons(catalog) == [("products", "p1", "duplicate_id")]


def test_missing_splits_are_shared_out_by_product(tmp_path: Path, pictures: Path) -> None:
    lines = [f"p{n % 300},Mug {n % 300},a.jpg,query {n}" for n in range(600)]
    table = csv_of(tmp_path, "id,title,image,query\n" + "\n".join(lines))
    catalog = read(table, pictures)
    splits = {row["product_id"]: row["split"] for row in catalog.rows("products")}
    counts = Counter(splits.values())
    assert 200 < counts["train"] < 275 and min(counts["val"], counts["test"]) > 12
    assert all(row["split"] == splits[row["product_id"]] for row in catalog.rows("interactions"))


def test_mapping_wins_over_usual_names_and_can_leave_a_field_out(tmp_path: Path, pictures: Path) -> None:
    table = csv_of(tmp_path, "id,title,label,image,query,farbe\np1,Mug,Cup,a.jpg,mug,blue;red\n")
    columns = {"title": "label", "query_text": "", "attribute.colour": "farbe"}
    catalog = read(table, pictures, columns)
    (row,) = catalog.rows("products")
    assert row["title"] == "Cup" and row["attributes"] == {"colour": ["blue", "red"]}
    assert catalog.table("interactions").num_rows == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"titel": "name"}, "nearest known one is 'title'"),
        ({"title": "nmae"}, "no column 'nmae'; the nearest is 'name'"),
        ({"images": ""}, r"no column for 'images'.*catalog\.columns\.images=COLUMN"),
    ],
)
def test_wrong_mappings_are_refused_by_name(columns: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_columns(columns, ["id", "name", "image"], "t.csv")


def test_malformed_lines_do_not_end_the_file(tmp_path: Path, pictures: Path) -> None:
    csv = tmp_path / "t.csv"
    good = b"p%d,Mug,a.jpg\n"
    huge = b'p2,"' + b"x" * 200_000 + b'",a.jpg\n'
    csv.write_bytes(b"id,title,image\n" + good % 1 + huge + b"p3,M\xfcg,a.jpg\n" + b"p4,Mug,a.jpg,more\n" + good % 5)
    jsonl = tmp_path / "t.jsonl"
    lines = [b'{"id": "p1", "title": "Mug", "image": "a.jpg"}', b"{", b'"text"', b'{"id": "\xff"}', b""]
    jsonl.write_bytes(b"\n".join([*lines, lines[0].replace(b"p1", b"p5")]))
    for table, count in ((csv, 3), (jsonl, 3)):
        catalog = read(table, pictures)
        assert catalog.table("products")["product_id"].to_pylist() == ["p1", "p5"]
        assert [reason for _, _, reason in reasons(catalog)] == ["bad_row"] * count


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.xlsx", b"PK", "suffix '.xlsx'"),
        ("t.csv", "id,title".encode("utf-16"), "UTF-16"),
        ("t.csv", "id,tïtle,image\n".encode("latin-1"), "not UTF-8"),
        ("t.csv", b"", "no readable row"),
        ("t.parquet", b"not parquet", "not a readable Parquet"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, tmp_path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read(tmp_path / "none.csv", tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path, pictures: Path) -> None:
    table, out = csv_of(tmp_path, "id,title,image\np1,Mug,a.jpg\n"), tmp_path / "out"
    with CatalogSink(out, max_image_pixels=9999, shard_rows=4, params=CatalogParams(max_image_bytes=10)) as sink:
        read_table(table, pictures, {}, sink)
    catalog = Catalog.open(out)
    assert ("images", "a.jpg", "broken_image") in reasons(catalog)


@pytest.mark.parametrize(
    "value",
    [
        "colour:red!!!blue,,size:L",
        '{"colour": ["red", "blue"], "size": "L"}',
        {"colour": ["red", "blue"], "size": "L"},
        [("colour", ["red", "blue"]), ("size", ["L"])],
        [{"key": "colour", "values": ["red", "blue"]}, {"key": "size", "values": ["L"]}],
    ],
)
def test_attributes_in_every_form(value: Any) -> None:
    assert attributes_of(value) == {"colour": ["red", "blue"], "size": ["L"]}


def test_lists_in_every_form() -> None:
    for value in ("a>b", " a > b ", ["a", "b"], '["a", "b"]', "a>b>"):
        assert list_of(value, ">|/") == ["a", "b"]
    assert list_of("a/b > c", ">|/") == ["a/b", "c"]
    assert list_of(None, ";") == list_of(float("nan"), ";") == list_of("", ";") == []


def test_times_in_every_form() -> None:
    expected = datetime.datetime(2024, 3, 1, 12, tzinfo=datetime.UTC)
    for value in ("2024-03-01T12:00:00Z", "2024-03-01 13:00+01:00", 1709294400, "1709294400000", expected):
        assert time_of(value) == expected
    with pytest.raises(ValueError, match="neither ISO 8601"):
        time_of("yesterday")


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00", "01/02/2024", "-5", "nan"])
def test_a_time_that_is_none_rejects_its_row(text: str) -> None:
    with pytest.raises(RowError, match="neither ISO 8601"):
        time_of(text)


def test_a_compact_date_is_no_second_of_1970() -> None:
    assert time_of("20240131") == datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC)


def test_values_of_another_shape_reject_their_row_and_no_other(tmp_path: Path, pictures: Path) -> None:
    good = {"product_id": "good", "title": "T", "images": "a.jpg", "query": "q"}
    wrong: list[dict[str, Any]] = [
        {"title": {"en": "T"}},
        {"title": "\ud800"},
        {"images": {"bytes": "..."}},
        {"images": [["a.jpg"]]},
        {"attributes": [1]},
        {"attributes": [{"key": "k"}]},
        {"query": ["q"]},
        {"product_id": ["p"]},
    ]
    lines = [json.dumps({**good, "product_id": f"p{number}", **change}) for number, change in enumerate(wrong)]
    nested = '{"a":' * 5000 + "1" + "}" * 5000
    table = csv_of(tmp_path, "\n".join([*lines, nested, json.dumps(good)]), "t.jsonl")
    catalog = read(table, pictures)
    assert [row["product_id"] for row in catalog.rows("products")] == ["good"]
    assert {reason for *_, reason in reasons(catalog)} == {"bad_row"}
    assert len(reasons(catalog)) == len(wrong) + 1


def test_values_of_a_repeated_attribute_are_all_kept() -> None:
    assert attributes_of([("colour", "red"), ("colour", "blue")]) == {"colour": ["red", "blue"]}


def test_a_column_that_stands_twice_is_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ValueError, match="column 'title' stands twice"):
        read(csv_of(tmp_path, "id,title,title,image\np1,A,B,a.jpg\n"), pictures)
