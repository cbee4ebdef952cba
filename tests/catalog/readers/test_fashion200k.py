from __future__ import annotations

import functools
from pathlib import Path

import pytest

from moon.catalog.readers.fashion200k import read_fashion200k
from moon.catalog.store import Catalog
from tests.catalog.readers.fixtures import asked, picture, read, rejected, truncated, write_lines

FOLDER = "women/dresses/casual_and_day_dresses"


def line(product: int, view: int, caption: str = "green linen-blend a-line dress") -> str:
    return f"{FOLDER}/{product}/{product}_{view}.jpeg\t-1.780000\t{caption}"


def source_of(root: Path, **files: list[str]) -> Path:
    source = root / "fashion200k"
    for name, lines in files.items():
        write_lines(source / f"labels/{name}_detect_all.txt", lines)
        for text in lines:
            path = text.partition("\t")[0]
            if path.endswith(".jpeg"):
                picture(source / path)
    return source


def read_from(source: Path) -> Catalog:
    return read(functools.partial(read_fashion200k, source), source.with_name("out"))


def test_the_last_view_asks_for_the_product_of_the_others(tmp_path: Path) -> None:
    train = [line(1, 0), line(1, 1), line(1, 3), line(2, 0, "multicolor  cotton dress ")]
    catalog = read_from(source_of(tmp_path, dress_train=train, top_test=[line(3, 0), line(3, 1)]))
    first, second, third = catalog.rows("products")
    assert first["image_ids"] == [f"{FOLDER}/1/1_0.jpeg", f"{FOLDER}/1/1_1.jpeg"]
    assert first["category_path"] == ["women", "dresses", "casual and day dresses"]
    assert (second["title"], second["image_ids"]) == ("multicolor cotton dress", [f"{FOLDER}/2/2_0.jpeg"])
    assert [row["split"] for row in (first, second, third)] == ["train", "train", "test"]
    assert asked(catalog) == [(None, "1", "train", "other_view"), (None, "3", "test", "other_view")]
    views = [row["query_image_id"] for row in catalog.rows("interactions")]
    assert views == [f"{FOLDER}/1/1_3.jpeg", f"{FOLDER}/3/3_1.jpeg"]
    shown = {image for row in catalog.rows("products") for image in row["image_ids"]}
    assert not shown & set(views) and rejected(catalog) == []


def test_broken_lines_are_counted_out_and_the_rest_stays(tmp_path: Path) -> None:
    lines = [
        line(1, 0),
        "",
        line(1, 1),
        f"{FOLDER}/1/1_2.jpeg\t-1.0",
        line(2, 0, " "),
        line(3, 0),
        line(4, 0),
        line(4, 1),
        line(4, 2),
        line(5, 0),
        line(5, 1),
        line(1, 3),
        "file.jpg\t0\tloose",
    ]
    source = source_of(tmp_path, dress_train=lines)
    truncated(source / f"{FOLDER}/3/3_0.jpeg")
    (source / f"{FOLDER}/4/4_0.jpeg").unlink()
    (source / f"{FOLDER}/5/5_1.jpeg").write_bytes(b"no picture")
    with (source / "labels/dress_train_detect_all.txt").open("ab") as file:
        file.write(b"women/a/b/6/6_0.jpeg\t0\t\xff\n")
    catalog = read_from(source)
    assert [row["image_ids"] for row in catalog.rows("products")] == [
        [f"{FOLDER}/1/1_0.jpeg"],
        [f"{FOLDER}/4/4_1.jpeg"],
        [f"{FOLDER}/5/5_0.jpeg"],
    ]
    assert [product for _, product, _, _ in asked(catalog)] == ["1", "4"]
    name = "labels/dress_train_detect_all.txt"
    assert sorted(rejected(catalog)) == [
        ("images", f"{FOLDER}/3/3_0.jpeg", "broken_image"),
        ("images", f"{FOLDER}/4/4_0.jpeg", "missing_image"),
        ("images", f"{FOLDER}/5/5_1.jpeg", "broken_image"),
        ("interactions", f"view:{FOLDER}/5/5_1.jpeg", "broken_image"),
        ("products", "1", "duplicate_id"),
        ("products", "2", "no_title"),
        ("products", "3", "no_image"),
        ("products", f"{name}:13", "bad_row"),
        ("products", f"{name}:14", "bad_row"),
        ("products", f"{name}:4", "bad_row"),
    ]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the Fashion200K format"):
        read_from(tmp_path / "none")
    with pytest.raises(ValueError, match="names no split"):
        read_from(source_of(tmp_path, dress=[line(1, 0)]))


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    lines = [line(product, view) for product in range(6) for view in range(3)]
    source = source_of(tmp_path, dress_train=lines, top_test=[line(7, 0)])
    assert read_from(source).digest() == read_from(source).digest()
