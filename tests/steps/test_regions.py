from __future__ import annotations

from pathlib import Path

import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, read_table, write_table
from moon.config import RegionsParams
from moon.steps import outcome, regions


def test_every_picture_gets_a_region_inside_it(tiny_catalog: Path, tiny_regions: Path) -> None:
    images = {
        row["image_id"]: row for row in Catalog.open(tiny_catalog).rows("images", ["image_id", "width", "height"])
    }
    rows = read_table(tiny_regions / "regions").to_pylist()
    assert [row["image_id"] for row in rows] == list(images)
    for row in rows:
        size = images[row["image_id"]]
        assert 0 <= row["x0"] < row["x1"] <= size["width"] and 0 <= row["y0"] < row["y1"] <= size["height"]


def test_regions_are_better_than_the_whole_picture(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    found = outcome.read(tiny_regions)
    full = regions.run(catalog=tiny_catalog, params=RegionsParams(detector="full"), out=tmp_path, workers=1)
    assert full.fallback_share == 1.0 and full.detectors == {"full": full.images}
    assert found["scored"] == full.scored > 0 and full.mean_iou is not None
    assert found["mean_iou"] > full.mean_iou + 0.1
    assert found["corloc"] >= found["accuracy_75"]


def test_the_table_does_not_depend_on_the_workers(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "_WORTH_A_WORKER", 1)
    regions.run(catalog=tiny_catalog, params=RegionsParams(), out=tmp_path, workers=2)
    assert read_table(tmp_path / "regions").equals(read_table(tiny_regions / "regions"))


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    image = {"image_id": "torn", "image": {"bytes": b"x", "path": None}, "width": 9, "height": 9, "sha256": ""}
    for name, schema in CATALOG_TABLES.items():
        write_table(tmp_path / "c" / name, schema, [image] if name == "images" else [])
    with pytest.raises(ValueError, match="picture torn"):
        regions.run(catalog=tmp_path / "c", params=RegionsParams(), out=tmp_path / "out")


def test_without_known_boxes_there_is_no_score(tmp_path: Path) -> None:
    for name, schema in CATALOG_TABLES.items():
        write_table(tmp_path / "c" / name, schema, [])
    result = regions.run(catalog=tmp_path / "c", params=RegionsParams(), out=tmp_path / "out")
    assert (result.images, result.scored, result.mean_iou, result.corloc) == (0, 0, None, None)
