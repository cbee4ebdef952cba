from __future__ import annotations

import functools
from pathlib import Path

import pytest

from moon.catalog.readers.product1m import read_product1m
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated, write_lines

HOSTS = ("http://127.0.0.1:1/imgextra/i3/{}.jpg", "http://127.0.0.1:1/copies/{}.jpg")


def line(number: int, *labels: str, title: str = "韩国AHC黄金套盒") -> str:
    fields = [str(number), title, *(host.format(number) for host in HOSTS)]
    return "#####".join([*fields, "#;#".join(labels)] if labels else fields)


def read_from(source: Path) -> Catalog:
    return read(functools.partial(read_product1m, source), source.with_name("out"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(30):
        picture(tmp_path / f"p1m/images/{number}.jpg")
    return tmp_path / "p1m"


def test_sets_ask_for_every_single_product_of_their_labels(source: Path) -> None:
    write_lines(source / "product1m_train_ossurl_v2.txt", [line(0), line(1, title="面霜&nbsp;AHC  30ml")])
    gallery = [line(10, "面霜"), line(11, "黄金水"), line(12, "面霜"), line(13, "眼霜")]
    write_lines(source / "product1m_gallery_ossurl_v2.txt", gallery)
    write_lines(source / "product1m_dev_ossurl_v2.txt", [line(20, "眼霜", "眼霜")])
    write_lines(source / "product1m_test_ossurl_v2.txt", [line(21, "面霜", "黄金水", "黄金水"), line(20, "面霜")])
    catalog = read_from(source)
    products = catalog.rows("products")
    assert [(row["product_id"], row["split"]) for row in products[:3]] == [
        ("0", "train"),
        ("1", "train"),
        ("10", "test"),
    ]
    assert products[1]["title"] == "面霜 AHC 30ml" and len(products) == 6
    assert all(row["attributes"] == {} for row in products)  # a label is an answer and no text of the product
    rows = [(row["query_image_id"], row["product_id"], row["split"]) for row in catalog.rows("interactions")]
    assert rows == [
        ("query:dev:20", "13", "val"),
        ("query:test:21", "10", "test"),
        ("query:test:21", "12", "test"),
        ("query:test:21", "11", "test"),
        ("query:test:20", "10", "test"),
        ("query:test:20", "12", "test"),
    ]
    assert {event for *_, event in asked(catalog)} == {"same_product"}
    related = [(row["product_id"], row["other_id"], row["relation"]) for row in catalog.rows("relations")]
    assert related == [("12", "10", "same")] and rejected(catalog) == []


def test_without_pictures_the_first_address_is_handed_over(tmp_path: Path) -> None:
    source = tmp_path / "p1m"
    write_lines(source / "product1m_gallery_ossurl_v2.txt", [line(3, "面霜")])
    catalog = read_from(source)
    assert rejected(catalog) == [("images", "main:3", "refused_address"), ("products", "3", "no_image")]


def test_broken_lines_are_counted_out_and_the_rest_stays(source: Path) -> None:
    truncated(source / "images/2.jpg")
    (source / "images/22.jpg").unlink()
    write_lines(
        source / "product1m_train_ossurl_v2.txt", [line(0), "", "0#####x", line(1, title=" "), line(2), line(0)]
    )
    write_lines(source / "product1m_gallery_ossurl_v2.txt", [line(10, "面霜"), line(29).replace("29####", "####")])
    queries = [
        line(20, "面霜"),
        line(21, "unseen"),
        line(22, "面霜"),
        line(23),
        line(20, "面霜"),
        "#####".join("abcdef"),
    ]
    write_lines(source / "product1m_test_ossurl_v2.txt", queries)
    with (source / "product1m_test_ossurl_v2.txt").open("ab") as file:
        file.write(b"24#####\xff\xfe#####a#####b\n")
    catalog = read_from(source)
    assert [row["product_id"] for row in catalog.rows("products")] == ["0", "10"]
    assert asked(catalog) == [("韩国AHC黄金套盒", "10", "test", "same_product")]
    assert sorted(rejected(catalog)) == [
        ("images", "main:2", "broken_image"),
        ("images", "query:test:22", "missing_image"),
        ("interactions", "product1m_test_ossurl_v2.txt:6", "bad_row"),
        ("interactions", "product1m_test_ossurl_v2.txt:7", "bad_row"),
        ("interactions", "test:20", "duplicate_id"),
        ("interactions", "test:21", "unknown_product"),
        ("interactions", "test:22", "missing_image"),
        ("interactions", "test:23", "unknown_product"),
        ("products", "0", "duplicate_id"),
        ("products", "1", "no_title"),
        ("products", "2", "no_image"),
        ("products", "product1m_gallery_ossurl_v2.txt:2", "no_id"),
        ("products", "product1m_train_ossurl_v2.txt:3", "bad_row"),
    ]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the Product1M format"):
        read_from(tmp_path / "none")
