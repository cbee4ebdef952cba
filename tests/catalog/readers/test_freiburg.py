from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moon.catalog.readers.freiburg import read_freiburg
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from moon.vision.decode import decode
from tests.conftest import outside

BAR = 16


def item(name: str, **changes: Any) -> dict[str, Any]:
    """A row as the source writes it."""
    return {
        "image_id": name,
        "image": f"images/train/beans/{name}.jpg",
        "label": "beans",
        "category": ["Grocery", "Beans"],
        "n_boxes": 1,
        "boxes": [{"label": "beans", "box": [20.0, 24.0, 40.0, 44.0]}],
        "content_box": [0.0, 0.0, 64.0, 64.0],
        "split": "train",
        "size": [64, 64],
    } | changes


def photo(barred: bool) -> bytes:
    """A red product in a green picture, the bars above and below grey."""
    pixels = np.full((64, 64, 3), (0, 160, 0), np.uint8)
    pixels[24:44, 20:40] = (200, 0, 0)
    if barred:
        pixels[:BAR] = pixels[-BAR:] = 128
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def read(root: Path, rows: list[Any]) -> Catalog:
    folder = root / "images/train/beans"
    folder.mkdir(parents=True)
    for row in rows:
        barred = row.get("content_box") != [0.0, 0.0, 64.0, 64.0]
        (folder / f"{row['image_id']}.jpg").write_bytes(photo(barred))
    (root / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with CatalogSink(root / "out", max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_freiburg(root, sink)
    return Catalog.open(root / "out")


def test_boxes_follow_the_picture_when_its_bars_are_cut(tmp_path: Path) -> None:
    barred = item("B2", content_box=[0.0, 16.0, 64.0, 48.0])
    catalog = read(tmp_path, [item("B1"), barred])
    store, boxes = catalog.image_store(), {row["image_id"]: row for row in catalog.rows("boxes")}
    assert store["B1"] == photo(barred=False)
    for name, size in (("B1", (64, 64)), ("B2", (64, 32))):
        pixels = np.asarray(decode(store[name]), int)
        assert pixels.shape[1::-1] == size
        box = [int(boxes[name][edge]) for edge in ("x0", "y0", "x1", "y1")]
        inside = pixels[box[1] : box[3], box[0] : box[2]]
        assert (abs(inside - (200, 0, 0)).mean(axis=(0, 1)) < 25).all()
        assert inside.shape[:2] == (20, 20)
    assert abs(np.asarray(decode(store["B2"]), int)[0, 0] - (0, 160, 0)).max() < 30
    (row, _) = catalog.rows("products")
    assert (row["title"], row["category_path"], row["image_ids"]) == ("beans", ["Grocery", "Beans"], ["B1"])
    assert catalog.table("interactions").num_rows == 0 and not catalog.rows("rejected")


def test_boxes_are_cut_at_the_edge_and_empty_ones_rejected(tmp_path: Path) -> None:
    boxes = [{"box": [-5.0, 2.0, 70.0, 9.0]}, {"box": [5.0, 5.0, 5.0, 9.0]}, {"box": [1, 2, 3]}, "box"]
    catalog = read(tmp_path, [item("B1", boxes=boxes)])
    (row,) = catalog.rows("boxes")
    assert [row[edge] for edge in ("x0", "y0", "x1", "y1")] == [0, 2, 64, 9]
    assert [(row["table"], row["row_id"], row["reason"]) for row in catalog.rows("rejected")] == [
        ("boxes", f"B1:{place}", "bad_row") for place in (1, 2, 3)
    ]


def test_broken_rows_are_rejected(tmp_path: Path) -> None:
    rows = [item("B1"), item("B2", size=None), item("B3", content_box=["a"]), item("B4", image="x.jpg")]
    rows += [item("B5", image="y.jpg", content_box=[0.0, 1.0, 64.0, 63.0]), item("B1", label="milk")]
    catalog = read(tmp_path, rows)
    assert catalog.table("products").num_rows == 1
    reasons = [row["reason"] for row in catalog.rows("rejected") if row["table"] == "products"]
    assert reasons == ["bad_row", "bad_row", "no_image", "no_image", "duplicate_id"]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no items\.jsonl"):
        read_freiburg(tmp_path, CatalogSink(tmp_path / "out", max_image_pixels=1, shard_rows=1))


def test_the_real_set_is_read_whole(tmp_path: Path) -> None:
    source = outside("MOON_DATASETS", "freiburg_boxes")
    (tmp_path / "images").symlink_to(source / "images")
    lines = (source / "items.jsonl").read_text().splitlines(keepends=True)[::25]
    (tmp_path / "items.jsonl").write_text("".join(lines))
    with CatalogSink(tmp_path / "out", max_image_pixels=1_000_000, shard_rows=1024) as sink:
        read_freiburg(tmp_path, sink)
    catalog = Catalog.open(tmp_path / "out")
    assert catalog.table("products").num_rows == len(lines) and not catalog.rows("rejected")
    assert catalog.table("boxes").num_rows == sum(json.loads(line)["n_boxes"] for line in lines)
    sizes = {row["image_id"]: row for row in catalog.rows("images", ["image_id", "width", "height"])}
    for row in catalog.rows("boxes"):
        size = sizes[row["image_id"]]
        assert 0 <= row["x0"] < row["x1"] <= size["width"] and 0 <= row["y0"] < row["y1"] <= size["height"]
