from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moon.catalog.readers.sink import CatalogSink, SourceProduct
from moon.catalog.schema import CATALOG_TABLES, NEGATIVES, PICTURES, REGIONS, TITLES
from moon.catalog.store import Catalog, write_table
from moon.config import ObjectivesParams, TrainingParams
from moon.items import ItemSource
from moon.model.item import Item
from moon.steps import train
from moon.vision.decode import encode_jpeg


def changed(catalog: Path, out: Path, **changes: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of a catalogue with the rows of some tables changed."""
    shutil.copytree(catalog, out)
    for table, change in changes.items():
        rows = Catalog.open(catalog).table(table).to_pylist()
        write_table(out / table, CATALOG_TABLES[table], [change(row) for row in rows])
    return out


def augmented(catalog: Path, out: Path, copies: int) -> Path:
    """A hand-made output of the augment step: ``copies`` of every picture of a product, in grey, half its size."""
    pictures, titles = [], []
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in Catalog.open(catalog).rows("images")}
    for product in Catalog.open(catalog).rows("products"):
        titles.append({"product_id": product["product_id"], "title": product["title"] + " more"})
        for image_id in product["image_ids"]:
            for number in range(copies):
                width, height = sizes[image_id][0] // 2, sizes[image_id][1] // 2
                row = {"image_id": f"{image_id}#{number}", "source_id": image_id, "product_id": product["product_id"]}
                box = {"x0": 3.4, "y0": 2.5, "x1": width - 2.6, "y1": height - 0.5}
                data = encode_jpeg(Image.new("RGB", (width, height), (number, number, number)))
                size = {"width": width, "height": height}
                pictures.append({**row, **box, **size, "edit": "grey", "image": {"bytes": data}, "similarity": 1.0})
    write_table(out / "pictures", PICTURES, pictures)
    write_table(out / "titles", TITLES, titles)
    return out


def sizes_of(item: Item) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    return tuple(image.size for image in item.images), tuple(core.size for core in item.crops)


def pixels_of(item: Item) -> list[bytes]:
    return [image.image().tobytes() for image in item.images + item.crops]


def test_sizes_from_the_tables_are_those_of_the_decoded_items(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    source = ItemSource(tiny_catalog, tiny_regions, augmented=augmented(tiny_catalog, tmp_path, 2))
    for product_id in source.products:
        for draw in range(6):
            item = source.product(product_id, draw)
            assert source.sizes(product_id, draw) == sizes_of(item)
            assert source.product_text(product_id, draw) == item.view("text")
    for interaction in source.purchases("train"):
        assert source.query_sizes(interaction) == sizes_of(source.query(interaction))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("box", [(9.5, 10.5, 30.5, 11.4), (0.0, 0.0, 40.0, 60.0), (39.9, 59.9, 40.0, 60.0)])
def test_sizes_are_of_the_upright_picture(tmp_path: Path, orientation: int, box: tuple[float, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (60, 40) if orientation > 4 else (40, 60)
    Image.new("RGB", size, "red").save(tmp_path / "one.jpg", exif=exif)
    product = SourceProduct(
        product_id="p",
        title="t",
        description="",
        category_path=[],
        attributes={},
        pictures={"i": "one.jpg"},
        split="train",
    )
    with CatalogSink(tmp_path / "c", max_image_pixels=10_000, shard_rows=9) as sink:
        sink.add_product(product, tmp_path)
    region = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    write_table(tmp_path / "r" / "regions", REGIONS, [{"image_id": "i", **region}])
    source = ItemSource(tmp_path / "c", tmp_path / "r")
    assert source.sizes("p")[0] == ((40, 60),)
    assert source.sizes("p") == sizes_of(source.product("p"))


def test_a_draw_of_zero_is_the_catalogue_and_every_other_one_changes_a_picture_and_the_title(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    plain = ItemSource(tiny_catalog, tiny_regions)
    source = ItemSource(tiny_catalog, tiny_regions, augmented=augmented(tiny_catalog, tmp_path, 3))
    for product_id, row in source.products.items():
        original = source.product(product_id)
        assert pixels_of(original) == pixels_of(plain.product(product_id)) and original.title == row["title"]
        count = 1 + 3 * len(original.images) if row["split"] == "train" else 1
        variants = [source.product(product_id, draw) for draw in range(count)]
        assert pixels_of(source.product(product_id, count)) == pixels_of(original)
        assert pixels_of(plain.product(product_id, 5)) == pixels_of(original)
        assert len({tuple(pixels_of(item)) for item in variants}) == count
        for item in variants[1:]:
            assert item.title == row["title"] + " more"
            replaced = [a.size != b.size for a, b in zip(item.images, original.images, strict=True)]
            assert sum(replaced) == 1


def test_a_product_without_copies_varies_in_its_title_alone(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    source = ItemSource(tiny_catalog, tiny_regions, augmented=augmented(tiny_catalog, tmp_path, 0))
    product_id = next(id_ for id_, row in source.products.items() if row["split"] == "train")
    title = source.products[product_id]["title"]
    assert [source.product(product_id, draw).title for draw in range(4)] == [title, title + " more"] * 2


def test_copies_of_another_catalogue_are_refused(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "pictures", PICTURES, [])
    write_table(tmp_path / "titles", TITLES, [{"product_id": "elsewhere", "title": "t"}])
    with pytest.raises(ValueError, match="moon augment --catalog"):
        ItemSource(tiny_catalog, tiny_regions, augmented=tmp_path)


def test_rows_that_lead_nowhere_are_left_out_and_counted(
    tiny_catalog: Path, tiny_regions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row for row in Catalog.open(tiny_catalog).rows("interactions") if row["split"] == "train"]
    broken: dict[str, dict[str, Any]] = {
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
            objectives=ObjectivesParams(),
            out=tmp_path / "out",
        )
