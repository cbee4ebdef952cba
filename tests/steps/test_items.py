from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moon.catalog.schema import CATALOG_TABLES, NEGATIVES, REGIONS
from moon.catalog.store import Catalog, write_table
from moon.config import TrainingParams
from moon.steps import train
from moon.steps.items import ItemSource


def changed(catalog: Path, out: Path, **changes: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of a catalogue with the rows of some tables changed."""
    shutil.copytree(catalog, out)
    for table, change in changes.items():
        rows = Catalog.open(catalog).table(table).to_pylist()
        write_table(out / table, CATALOG_TABLES[table], [change(row) for row in rows])
    return out


def test_rows_that_lead_nowhere_are_left_out_and_counted(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row for row in Catalog.open(tiny_catalog).rows("interactions") if row["split"] == "train"]
    broken = {
        rows[0]["query_id"]: {"query_image_id": "nowhere"},
        rows[1]["query_id"]: {"product_id": "nowhere"},
        rows[2]["query_id"]: {"query_text": " ", "query_image_id": None},
    }
    catalog = changed(tiny_catalog, tmp_path / "c", interactions=lambda row: {**row, **broken.get(row["query_id"], {})})
    usable = ItemSource(catalog, tiny_regions).purchases("train")
    assert [row["query_id"] for row in usable] == [row["query_id"] for row in rows[3:]]
    assert f"3 of {len(rows)} interactions" in caplog.text


@pytest.mark.parametrize("image_ids", [None, [], ["nowhere"]])
def test_a_product_without_pictures_is_its_text(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path, image_ids: list[str] | None
) -> None:
    catalog = changed(tiny_catalog, tmp_path / "c", products=lambda row: {**row, "image_ids": image_ids})
    source = ItemSource(catalog, tiny_regions)
    item = source.product(next(iter(source.products)))
    assert item.images == item.crops == () and item.title


def test_a_damaged_picture_is_named(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    junk = {"bytes": b"junk", "path": "x"}
    catalog = changed(tiny_catalog, tmp_path / "c", images=lambda row: {**row, "image": junk})
    source = ItemSource(catalog, tiny_regions)
    first = next(iter(source.products.values()))
    with pytest.raises(ValueError, match=f"picture {first['image_ids'][0]} of .* cannot be decoded"):
        source.product(first["product_id"])


def test_regions_of_another_catalogue_are_refused(tiny_catalog: Path, tmp_path: Path) -> None:
    box = {"x0": 0, "y0": 0, "x1": 1, "y1": 1, "score": 1, "detector": "full"}
    write_table(tmp_path / "regions", REGIONS, [{"image_id": "elsewhere", **box}])
    with pytest.raises(ValueError, match="moon regions --catalog"):
        ItemSource(tiny_catalog, tmp_path)


def test_negatives_of_another_catalogue_are_refused(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path: Path
) -> None:
    rows = [row for row in Catalog.open(tiny_catalog).rows("interactions") if row["split"] == "train"]
    negative = {"query_id": rows[0]["query_id"], "product_id": rows[0]["product_id"], "negative_ids": ["elsewhere"]}
    write_table(tmp_path / "negatives", NEGATIVES, [negative])
    with pytest.raises(ValueError, match="such as 'elsewhere'; mine again"):
        train.run(
            catalog=tiny_catalog,
            regions=tiny_regions,
            negatives=tmp_path,
            model=tiny_model,
            params=TrainingParams(batch_size=4),
            out=tmp_path / "out",
        )
