"""Training and measuring detectors on a catalogue with known boxes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon.catalog.store import Catalog
from moon.config import RegionsParams
from moon.steps import outcome, regions_evaluate, regions_train
from moon.steps.regions_data import Boxed, boxed_pictures, groups_of, titles_of
from moon.vision.detectors.features import COLOURS, SIZE


@pytest.fixture(scope="module")
def trained(tiny_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    regions_train.run(catalog=tiny_catalog, out=out)
    return out


def test_training_uses_its_split_and_leaves_a_usable_file(trained: Path, tiny_catalog: Path) -> None:
    result = outcome.read(trained)
    opened = Catalog.open(tiny_catalog)
    assert result["pictures"] == len(boxed_pictures(opened, "train")) < len(boxed_pictures(opened))
    assert Path(result["weights"]).stat().st_size == result["weights_bytes"]
    assert 0.4 < result["held_out_iou"] < 1


def test_measures_beside_the_trivial_boxes(trained: Path, tiny_catalog: Path, tmp_path: Path) -> None:
    params = RegionsParams(weights=str(trained / regions_train.WEIGHTS))
    result = regions_evaluate.run(
        catalog=tiny_catalog, params=params, out=tmp_path, detectors=["auto", "learned", "full"], split="test"
    )
    every = result.all_pictures
    assert list(every) == ["auto", "learned", "full", "whole", "centred"]
    assert every["full"].fallback_share == 1 and every["learned"].fallback_share < 0.2
    for name in ("mean_iou", "corloc", "accuracy_75", "pointing", "over_centred"):
        assert getattr(every["full"], name) == getattr(every["whole"], name)
    for one in every.values():
        assert one.accuracy_75.value <= one.corloc.value and one.ms_p50 <= one.ms_p95
        assert one.mean_iou.low <= one.mean_iou.value <= one.mean_iou.high
        assert one.over_whole.value == pytest.approx(one.mean_iou.value - every["whole"].mean_iou.value)
    assert every["whole"].over_whole.low == every["whole"].over_whole.high == 0
    assert every["learned"].over_whole.low > 0
    assert result.beats_trivial["full"] is False
    page = (tmp_path / "regions.md").read_text()
    assert all(f"| {name} |" in page for name in every)
    assert (tmp_path / "boxes.jpg").stat().st_size < 300_000 and Image.open(tmp_path / "boxes.jpg").width > 300


def test_folds_train_without_the_pictures_they_measure(tiny_catalog: Path, tmp_path: Path) -> None:
    result = regions_evaluate.run(
        catalog=tiny_catalog, params=RegionsParams(detector="learned"), out=tmp_path, folds=2, grouping="category"
    )
    files = sorted((tmp_path / "folds").glob("*/learned.npz"))
    assert len(files) == 2 and files[0].read_bytes() != files[1].read_bytes()
    assert result.all_pictures["learned"].over_whole.low > 0
    assert result.groups < result.pictures


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "folds=1"),
        ({"grouping": "shop"}, "picture or category"),
        ({"split": "summer"}, "no picture of split 'summer'"),
        ({"folds": 5000}, "cannot make 5000 folds"),
    ],
)
def test_wrong_requests_are_refused(
    change: dict[str, object], message: str, tiny_catalog: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        regions_evaluate.run(catalog=tiny_catalog, params=RegionsParams(), out=tmp_path, **change)  # type: ignore[arg-type]


def test_groups_join_products_near_copies_and_categories() -> None:
    rng = np.random.default_rng(0)
    descriptions = rng.normal(size=(5, SIZE)).astype(np.float32)
    descriptions[4] = descriptions[0]
    descriptions[4, COLOURS] += 0.01 * rng.normal(size=432)
    base = Boxed(image_id="0", boxes=(), title=None, product_id="a", category="mugs")
    pictures = [dataclasses.replace(base, image_id=str(n), product_id=p, category=c)
                for n, (p, c) in enumerate(zip("abbcd", ["x", "y", "y", "y", ""], strict=True))]  # fmt: skip
    assert groups_of(pictures, descriptions) == ["0", "1", "1", "3", "0"]
    assert groups_of(pictures, descriptions, "category") == ["0", "1", "1", "1", "0"]


def test_a_customers_photo_has_no_title(tiny_catalog: Path) -> None:
    opened = Catalog.open(tiny_catalog)
    titles, asked = titles_of(opened), {row["query_image_id"] for row in opened.rows("interactions")} - {None}
    shown = {image_id for row in opened.rows("products") for image_id in row["image_ids"]}
    assert asked - shown and shown == titles.keys()
