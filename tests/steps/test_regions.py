from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, read_table, write_table
from moon.config import RegionsParams
from moon.steps import outcome, regions, regions_merge


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


@pytest.fixture
def sharded(tiny_catalog: Path, tmp_path: Path) -> Path:
    """`tiny_catalog` with its pictures in five shards."""
    out = tmp_path / "sharded"
    shutil.copytree(tiny_catalog, out)
    images = read_table(tiny_catalog / "images").to_pylist()
    write_table(out / "images", CATALOG_TABLES["images"], images, shard_rows=-(-len(images) // 5))
    return out


@pytest.mark.parametrize("count", [1, 3, 7])
def test_merged_shares_are_the_whole(count: int, sharded: Path, tiny_regions: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}" for i in range(1, count + 1)]
    for i, part in enumerate(parts, 1):
        made = regions.run(catalog=sharded, params=RegionsParams(), out=part, workers=1, shard=f"{i}/{count}")
        assert made.shard == f"{i}/{count}"
    merged = regions_merge.run(catalog=sharded, parts=parts[::-1], out=tmp_path / "merged")
    assert read_table(tmp_path / "merged" / "regions").equals(read_table(tiny_regions / "regions"))
    whole = outcome.read(tiny_regions)
    again = outcome.read(tmp_path / "merged")
    assert merged.images == whole["images"] and merged.ms_per_image > 0
    assert {**again, "ms_per_image": 0, "mean_iou": 0} == {**whole, "ms_per_image": 0, "mean_iou": 0}
    assert again["mean_iou"] == pytest.approx(whole["mean_iou"], abs=1e-6)  # stored boxes are float32


def test_shares_that_do_not_fit_are_refused(sharded: Path, tiny_regions: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    regions.run(catalog=sharded, params=RegionsParams(detector="full"), out=first, workers=1, shard="1/2")
    for parts in ([first], [first, first], [tiny_regions], []):
        with pytest.raises(ValueError, match="expected each of 1/n to n/n once"):
            regions_merge.run(catalog=sharded, parts=parts, out=tmp_path / "merged")
    other = tmp_path / "other"
    for name, schema in CATALOG_TABLES.items():
        write_table(other / name, schema, [])
    second = tmp_path / "second"
    regions.run(catalog=sharded, params=RegionsParams(detector="full"), out=second, workers=1, shard="2/2")
    with pytest.raises(ValueError, match="not of the pictures of"):
        regions_merge.run(catalog=other, parts=[first, second], out=tmp_path / "merged")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_malformed_share_is_refused(shard: str, tiny_catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected i/n"):
        regions.run(catalog=tiny_catalog, params=RegionsParams(), out=tmp_path, shard=shard)
