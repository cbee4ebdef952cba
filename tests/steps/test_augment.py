from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import Catalog, read_table, write_table
from moon.config import AugmentParams
from moon.items import ItemSource
from moon.steps import augment, outcome
from moon.steps.augment import AugmentResult
from moon.vision.augment import Edited
from moon.vision.boxes import Box
from moon.vision.decode import probe

PARAMS = AugmentParams(copies=3, edits=("clean", "lighting"), min_similarity=-1.0)
TABLES = ("titles", "pictures", "rejected")
Inputs = dict[str, Any]


class Blank:
    """An editor that loses the product."""

    def edit(self, picture: Image.Image, box: Box, title: str, edit: str, rng: random.Random) -> Edited | None:
        return Edited(Image.new("RGB", picture.size, "black"), box) if edit == "blank" else None


@pytest.fixture(scope="module")
def inputs(tiny_catalog: Path, tiny_regions: Path, tiny_model: Path) -> Inputs:
    return {"catalog": tiny_catalog, "regions": tiny_regions, "model": tiny_model}


@pytest.fixture(scope="module")
def made(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AugmentResult]:
    out = tmp_path_factory.mktemp("augmented")
    return out, augment.run(**inputs, params=PARAMS, out=out, workers=1)


def tables(out: Path) -> list[list[dict[str, Any]]]:
    return [read_table(out / name).to_pylist() for name in TABLES]


def test_only_training_products_are_augmented(inputs: Inputs, made: tuple[Path, AugmentResult]) -> None:
    titles, pictures, rejected = tables(made[0])
    products = {row["product_id"]: row for row in Catalog.open(inputs["catalog"]).rows("products")}
    train = {id_ for id_, row in products.items() if row["split"] == "train"}
    assert len(train) < len(products) and titles and pictures
    assert {row["product_id"] for row in titles + pictures} <= train
    shown = {image_id for id_ in train for image_id in products[id_]["image_ids"]}
    sources = {row["source_id"] for row in pictures} | {row["row_id"].rpartition("#")[0] for row in rejected}
    assert sources == shown


def test_the_result_counts_the_rows(made: tuple[Path, AugmentResult]) -> None:
    out, result = made
    titles, pictures, rejected = tables(out)
    assert result.titles == len(titles) and sum(result.pictures.values()) == len(pictures)
    assert sum(result.rejected.values()) == len(rejected)
    assert len(pictures) + len(rejected) == 3 * len({row["source_id"] for row in pictures})
    assert {row["reason"] for row in rejected} == {"repeated"}, "the second clean copy of a picture is the first"
    assert result.mean_similarity == pytest.approx(sum(row["similarity"] for row in pictures) / len(pictures))
    assert outcome.read(out) == dataclasses.asdict(result)


def test_a_picture_row_tells_its_own_size_and_a_box_inside_it(made: tuple[Path, AugmentResult]) -> None:
    _, pictures, _ = tables(made[0])
    for row in pictures:
        assert probe(row["image"]["bytes"]) == (row["width"], row["height"])
        assert 0 <= row["x0"] < row["x1"] <= row["width"] and 0 <= row["y0"] < row["y1"] <= row["height"]
        assert -1 <= row["similarity"] <= 1.0001
    assert len({row["image_id"] for row in pictures}) == len(pictures)
    assert Image.open(made[0] / augment.SHEET).width > 200


def test_items_use_what_was_made(inputs: Inputs, made: tuple[Path, AugmentResult]) -> None:
    source = ItemSource(inputs["catalog"], inputs["regions"], augmented=made[0])
    titles, pictures, _ = tables(made[0])
    product_id = pictures[0]["product_id"]
    variants = [source.product(product_id, draw) for draw in range(3)]
    assert len({tuple(one.image().tobytes() for one in item.images) for item in variants}) == 3
    title = {row["product_id"]: row["title"] for row in titles}.get(product_id, variants[0].title)
    assert [item.title for item in variants[1:]] == [title] * 2
    assert source.sizes(product_id, 1)[1][0] == variants[1].crops[0].size


def test_the_tables_do_not_depend_on_workers_or_interruptions(
    inputs: Inputs, made: tuple[Path, AugmentResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "_WORTH_A_WORKER", 1)
    monkeypatch.setattr(augment, "_SHARD", 20)
    judged, calls = augment._judged, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judged(*arguments)

    monkeypatch.setattr(augment, "_judged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        augment.run(**inputs, params=PARAMS, out=tmp_path, workers=1)
    first = tmp_path / "pictures" / "part-00000.parquet"
    finished = first.stat().st_mtime_ns
    assert not (tmp_path / outcome.METRICS).exists()
    result = augment.run(**inputs, params=PARAMS, out=tmp_path, workers=2)
    assert first.stat().st_mtime_ns == finished
    assert len(list((tmp_path / "pictures").iterdir())) == len(calls) - 1 > 1
    strip = [[{**row, "similarity": 0} for row in rows] for rows in tables(made[0])]
    assert [[{**row, "similarity": 0} for row in rows] for rows in tables(tmp_path)] == strip
    assert result.pictures == made[1].pictures

    other = augment.run(**inputs, params=dataclasses.replace(PARAMS, copies=1), out=tmp_path, workers=1)
    assert set(other.pictures) == {"clean"}, "other parameters start anew"


def test_a_picture_that_no_longer_shows_the_product_is_rejected_with_its_reason(inputs: Inputs, tmp_path: Path) -> None:
    params = AugmentParams(copies=2, edits=("blank", "other"), editor=f"{__name__}:Blank", min_similarity=0.999)
    result = augment.run(**inputs, params=params, out=tmp_path)
    _, pictures, rejected = tables(tmp_path)
    assert not pictures and result.pictures == {} and result.mean_similarity is None
    assert {row["reason"] for row in rejected} == {"unlike", "no_edit"}
    assert result.rejected["blank"] == result.rejected["other"] == len(rejected) / 2
    assert any("is below 0.999" in row["detail"] for row in rejected)


def test_without_copies_nothing_changes(inputs: Inputs, tmp_path: Path) -> None:
    result = augment.run(**inputs, params=AugmentParams(), out=tmp_path)
    assert tables(tmp_path) == [[], [], []] and result.titles == 0 and result.pictures == {}
    plain = ItemSource(inputs["catalog"], inputs["regions"])
    source = ItemSource(inputs["catalog"], inputs["regions"], augmented=tmp_path)
    for product_id in source.products:
        assert source.sizes(product_id, 7) == plain.sizes(product_id)
        assert source.product_text(product_id, 7) == plain.product_text(product_id)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (AugmentParams(copies=1, edits=()), "augment.edits is empty"),
        (AugmentParams(copies=1, edits=("claen",)), "the nearest is 'clean'"),
        (AugmentParams(copies=1, editor="nowhere:Editor"), "cannot import nowhere"),
    ],
)
def test_a_mistake_is_named_before_any_work(
    inputs: Inputs, tmp_path: Path, params: AugmentParams, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        augment.run(**inputs, params=params, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_catalogue_without_training_products_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    for name, schema in CATALOG_TABLES.items():
        write_table(tmp_path / "c" / name, schema, [])
    with pytest.raises(ValueError, match="no product in split train"):
        augment.run(**(inputs | {"catalog": tmp_path / "c"}), params=PARAMS, out=tmp_path / "out")
