from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from moon.catalog.readers.hf_datasets import read_hf
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from tests.catalog.readers.conftest import png

COLUMNS = {"title": "label", "product_id": "sku"}


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"sku": f"p{n}", "label": f"Mug {n}", "image": {"bytes": png(n), "path": None}, "query": f"mug {n}"}
        for n in range(first, first + count)
    ]


def data_set(items: list[dict[str, Any]]) -> datasets.Dataset:
    return datasets.Dataset.from_list(items).cast_column("image", datasets.Image())


def read(source: Path, out: Path, columns: dict[str, str] | None = None) -> Catalog:
    with CatalogSink(out, max_image_pixels=50_000, shard_rows=4) as sink:
        read_hf(source, source, columns if columns is not None else COLUMNS, sink)
    return Catalog.open(out)


def check(catalog: Catalog) -> None:
    products = catalog.rows("products")
    assert [row["title"] for row in products] == [f"Mug {n}" for n in range(9)]
    store = catalog.image_store()
    assert [store[row["image_ids"][0]] for row in products] == [png(n) for n in range(9)]
    assert [row["query_text"] for row in catalog.rows("interactions")] == [f"mug {n}" for n in range(9)]
    assert not catalog.rows("rejected")


def test_a_folder_of_parquet_files_by_split(tmp_path: Path) -> None:
    source = tmp_path / "set"
    for name, first, count in (("train", 0, 5), ("validation", 5, 2), ("test", 7, 2)):
        (source / "data").mkdir(parents=True, exist_ok=True)
        data_set(rows(first, count)).to_parquet(source / "data" / f"{name}-00000-of-00001.parquet")
    catalog = read(source, tmp_path / "out")
    check(catalog)
    splits = [row["split"] for row in catalog.rows("products")]
    assert splits == ["train"] * 5 + ["val"] * 2 + ["test"] * 2


def test_a_saved_data_set(tmp_path: Path) -> None:
    parts = {"train": data_set(rows(0, 6)), "test": data_set(rows(6, 3))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    check(read(tmp_path / "set", tmp_path / "out"))
    data_set(rows(0, 9)).save_to_disk(tmp_path / "one")
    catalog = read(tmp_path / "one", tmp_path / "out1")
    check(catalog)
    # Without a split of its own, the rows are shared out.
    assert read(tmp_path / "one", tmp_path / "out2").digest() == catalog.digest()


def test_lists_of_pictures_and_pictures_beside_the_rows(tmp_path: Path) -> None:
    items = [{"sku": "p0", "label": "Mug", "image": [{"bytes": png(n), "path": None} for n in (1, 2)]}]
    both = datasets.Dataset.from_list(items).cast_column("image", datasets.List(datasets.Image()))
    both.save_to_disk(tmp_path / "lists")
    (row,) = read(tmp_path / "lists", tmp_path / "out").rows("products")
    assert row["image_ids"] == ["p0:0", "p0:1"]

    folder = tmp_path / "folder" / "train"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(3))
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "sku": "p1", "label": "Cup"}) + "\n")
    catalog = read(tmp_path / "folder", tmp_path / "out2")
    (row,) = catalog.rows("products")
    assert (row["product_id"], row["title"]) == ("p1", "Cup")
    assert catalog.image_store()[row["image_ids"][0]] == png(3)


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot load the data set"):
        read(tmp_path / "nowhere", tmp_path / "out")
    data_set(rows(0, 2)).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match="no column for 'title'"):
        read(tmp_path / "set", tmp_path / "out", {"product_id": "sku"})
