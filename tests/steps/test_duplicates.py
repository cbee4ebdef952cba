"""Planted copies are found, distinct products stay apart, and training heeds the groups."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from moon.catalog.duplicates import load_groups
from moon.catalog.schema import IMAGES, PRODUCTS
from moon.catalog.store import Catalog, attributes_list, read_table, write_table
from moon.config import DuplicatesParams
from moon.model import MoonProcessor
from moon.steps import duplicates
from moon.training.run import Job, read_pairs
from moon.vision.decode import decode

COPIES = ("reencoded", "smaller", "cropped", "recoloured")


def copied(data: bytes, how: str) -> bytes:
    image = decode(data)
    width, height = image.size
    if how == "smaller":
        image = image.resize((width * 2 // 3, height * 2 // 3))
    if how == "cropped":
        image = image.crop((width // 40, height // 50, width, height))
    if how == "recoloured":
        image = ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.85)).enhance(1.05)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def planted(tiny_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny catalogue with a copy of each product, of another title, whose first picture is edited."""
    out = tmp_path_factory.mktemp("planted") / "data"
    shutil.copytree(tiny_catalog, out)
    catalog = Catalog.open(tiny_catalog)
    products, images = catalog.rows("products"), catalog.rows("images")
    store = catalog.image_store()
    for number, row in enumerate(products[:]):
        data = copied(store[row["image_ids"][0]], COPIES[number % len(COPIES)])
        width, height = Image.open(io.BytesIO(data)).size
        image_id = f"copy-{row['product_id']}"
        products.append({**row, "product_id": image_id, "title": f"offer {number}", "image_ids": [image_id]})
        digest = hashlib.sha256(data).hexdigest()
        image = {"bytes": data, "path": image_id}
        images.append({"image_id": image_id, "image": image, "width": width, "height": height, "sha256": digest})
    rows: list[dict[str, Any]] = [{**row, "attributes": attributes_list(row["attributes"])} for row in products]
    write_table(out / "products", PRODUCTS, rows)
    write_table(out / "images", IMAGES, images, shard_rows=40)
    return out


def test_planted_copies_are_found_and_distinct_products_are_not(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = duplicates.run(catalog=planted, params=DuplicatesParams(), out=tmp_path, workers=1)
    groups = load_groups(tmp_path)
    originals = [row["product_id"] for row in Catalog.open(planted).rows("products") if "copy" not in row["product_id"]]
    found = [id_ for id_ in originals if id_ in groups and groups[id_] == groups.get(f"copy-{id_}")]
    assert len(found) >= 0.95 * len(originals)
    assert len({groups[id_] for id_ in found}) >= 0.95 * len(found)  # a group each
    assert result.duplicate_products == len(groups) == sum(result.evidence.values())
    tables = {name: read_table(tmp_path / name) for name in ("duplicates", "leaks", "hashes")}

    # Started again it hashes nothing, but for a shard whose pictures have changed or that was cut off.
    hashed: list[str] = []
    original = duplicates._fingerprint
    monkeypatch.setattr(duplicates, "_fingerprint", lambda one: (hashed.append(one[0]), original(one))[1])
    (tmp_path / "hashes" / "part-00001.parquet").rename(tmp_path / "hashes" / "part-00001.partial")
    duplicates.run(catalog=planted, params=DuplicatesParams(), out=tmp_path, workers=1)
    assert hashed == read_table(planted / "images", ["image_id"]).column(0).to_pylist()[40:80]
    assert all(read_table(tmp_path / name).equals(table) for name, table in tables.items())


def test_the_tables_do_not_depend_on_the_processes(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_WORTH_A_WORKER", 1)
    for workers in (1, 2):
        duplicates.run(catalog=planted, params=DuplicatesParams(), out=tmp_path / str(workers), workers=workers)
    for name in ("duplicates", "leaks", "hashes"):
        one, two = (read_table(tmp_path / str(workers) / name) for workers in (1, 2))
        assert one.equals(two)


def test_training_keeps_a_group_apart(planted: Path, tiny_regions: Path, tiny_model: Path, tmp_path: Path) -> None:
    from moon.catalog.schema import NEGATIVES

    duplicates.run(catalog=planted, params=DuplicatesParams(), out=tmp_path / "d", workers=1)
    write_table(tmp_path / "n" / "negatives", NEGATIVES, [])
    job = Job(
        catalog=planted,
        regions=tiny_regions,
        negatives=tmp_path / "n",
        model=tiny_model,
        out=tmp_path,
        duplicates=tmp_path / "d",
    )
    pairs = read_pairs(job, MoonProcessor.from_pretrained(tiny_model), 1)
    groups = load_groups(tmp_path / "d")
    assert pairs.groups == groups
    grouped = [row for row, id_ in enumerate(pairs.product_ids) if id_ in groups]
    assert grouped
    for row in grouped:
        id_ = pairs.product_ids[row]
        assert {other for other, group in groups.items() if group == groups[id_]} <= pairs.excluded[row]


def test_groups_of_another_catalogue_are_refused(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from moon.catalog.schema import DUPLICATES, NEGATIVES

    write_table(tmp_path / "negatives", NEGATIVES, [])
    write_table(tmp_path / "duplicates", DUPLICATES, [{"product_id": "elsewhere", "group_id": "elsewhere"}])
    job = Job(
        catalog=tiny_catalog,
        regions=tiny_regions,
        negatives=tmp_path,
        model=tiny_model,
        out=tmp_path,
        duplicates=tmp_path,
    )
    with pytest.raises(ValueError, match="moon duplicates --catalog"):
        read_pairs(job, MoonProcessor.from_pretrained(tiny_model), 1)


def test_flat_pictures_are_no_evidence(tiny_catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    shutil.copytree(tiny_catalog, out)
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 250, np.uint8)).save(buffer, "PNG")
    rows = Catalog.open(tiny_catalog).rows("images")
    write_table(out / "images", IMAGES, [{**row, "image": {"bytes": buffer.getvalue(), "path": ""}} for row in rows])
    params = DuplicatesParams(title_similarity=0.0)
    result = duplicates.run(catalog=out, params=params, out=tmp_path / "o", workers=1)
    assert (result.flat_pictures, result.picture_pairs, result.duplicate_products) == (len(rows), 0, 0)
