from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from moon.config import RegionsParams
from moon.vision.boxes import Box, iou, score_regions
from moon.vision.detectors import FULL, PLAIN, WEIGHTED, core_region, core_regions, crop_pixels, load
from moon.vision.resize import Picture
from tests.conftest import outside

BARE = RegionsParams(pad=0.0)


def on_backdrop(rng: random.Random, size: tuple[int, int] = (200, 150)) -> tuple[Image.Image, Box]:
    """A filled shape on an unevenly lit, slightly noisy pale backdrop."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    light = (
        215 + 30 * x / width - 20 * y / height + np.random.default_rng(rng.randrange(99)).normal(0, 2, (height, width))
    )
    image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).convert("RGB")
    box = Box(rng.randrange(15, 60), rng.randrange(15, 50), rng.randrange(110, 180), rng.randrange(90, 135))
    shape = rng.choice(["rectangle", "ellipse"])
    getattr(ImageDraw.Draw(image), shape)((box.x0, box.y0, box.x1 - 1, box.y1 - 1), fill=(170, 40, rng.randrange(90)))
    return image, box


def clutter(rng: np.random.Generator, size: tuple[int, int] = (160, 160)) -> Image.Image:
    """Smooth blobs of many muted colours up to the border."""
    coarse = rng.integers(60, 190, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def test_backdrop_finds_the_product_wherever_it_stands() -> None:
    rng = random.Random(0)
    pairs = []
    for _ in range(20):
        image, truth = on_backdrop(rng)
        found = core_region(image, BARE)
        assert found.detector == "backdrop"
        pairs.append((found.box, [truth]))
    scores = score_regions(pairs)
    assert scores.mean_iou is not None and scores.mean_iou > 0.9 and scores.corloc == 1.0


def test_saliency_prefers_the_detailed_thing_to_the_blurred_clutter() -> None:
    rng = np.random.default_rng(0)
    ours, full, centre = [], [], []
    for _ in range(12):
        image = clutter(rng)
        x, y = (int(value) for value in rng.integers(15, 65, 2))
        truth = Box(x, y, x + 80, y + 80)
        label = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        image.paste(Image.fromarray(label).resize((80, 80), Image.Resampling.NEAREST), (x, y))
        found = core_region(image, BARE)
        assert found.detector == "saliency"
        ours.append((found.box, [truth]))
        full.append((Box(0, 0, 160, 160), [truth]))
        centre.append((Box(20, 20, 140, 140), [truth]))
    values = [score_regions(pairs).mean_iou or 0.0 for pairs in (ours, full, centre)]
    assert values[0] > 0.65 and values[0] > max(values[1:]) + 0.1


@pytest.mark.parametrize("turn", [0, 6])
def test_an_encoded_picture_is_decoded_coarsely_and_gives_nearly_the_same_box(turn: int) -> None:
    rng = random.Random(1)
    for factor, least in ((1, 1.0), (6, 0.95)):
        for _ in range(6):
            image, _ = on_backdrop(rng)
            image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
            exif = Image.Exif()
            exif[0x0112] = turn or 1
            image.save(file := io.BytesIO(), "JPEG", quality=90, exif=exif)
            picture = Picture(file.getvalue())
            whole = core_region(Picture(file.getvalue()).image(), BARE)
            found = core_region(picture, BARE)
            assert found.detector == whole.detector == "backdrop"
            assert iou(found.box, whole.box) >= least
            assert picture._source._whole is None


def test_same_picture_same_region() -> None:
    image = clutter(np.random.default_rng(3))
    assert core_region(image, BARE) == core_region(image.copy(), BARE)


@pytest.mark.parametrize("detector", PLAIN)
@pytest.mark.parametrize("size", [(2, 2), (3, 700), (900, 4), (64, 64)])
def test_region_lies_inside_whatever_the_picture(detector: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for image in (Image.new("RGB", size, (9, 200, 30)), Image.fromarray(noise)):
        found = core_region(image, RegionsParams(detector=detector, pad=0.5))
        assert 0 <= found.box.x0 < found.box.x1 <= size[0] and 0 <= found.box.y0 < found.box.y1 <= size[1]
        assert 0 <= found.score <= 1
        assert min(image.crop(crop_pixels(image.size, found.box)).size) >= 1


def test_nothing_to_see_falls_back_to_the_whole_picture() -> None:
    found = core_region(Image.new("RGB", (50, 40), "white"), BARE)
    assert (found.box, found.score, found.detector) == (Box(0, 0, 50, 40), 0.0, FULL)


def test_limits_reject_a_box() -> None:
    image, _ = on_backdrop(random.Random(1))
    share = core_region(image, RegionsParams(detector="backdrop", pad=0.0)).box.area / (200 * 150)
    for limits in ({"min_area": share + 0.01}, {"max_area": share - 0.01}, {"min_score": 1.01}):
        assert core_region(image, RegionsParams(detector="backdrop", **limits)).detector == FULL


def test_padding_applies_to_the_found_box() -> None:
    image, _ = on_backdrop(random.Random(2))
    bare = core_region(image, BARE).box
    assert core_region(image, RegionsParams(pad=0.05)).box == bare.padded(0.05, *image.size)


def test_unknown_detector_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="nearest is 'saliency'"):
        core_region(Image.new("RGB", (8, 8)), RegionsParams(detector="salient"))


@pytest.mark.parametrize("detector", WEIGHTED)
def test_missing_weights_are_asked_for(detector: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="set regions.weights"):
        core_region(image, RegionsParams(detector=detector))
    with pytest.raises(ValueError, match="nothing-here"):
        core_region(image, RegionsParams(detector=detector, weights=str(tmp_path / "nothing-here")))


def test_several_pictures_are_answered_as_one_by_one() -> None:
    rng = random.Random(5)
    images = [on_backdrop(rng)[0], clutter(np.random.default_rng(1)), Image.new("RGB", (30, 30)), on_backdrop(rng)[0]]
    for batch in (1, 3):
        params = RegionsParams(batch=batch)
        found = core_regions(images, params)
        assert found == [core_region(image, params) for image in images]
    assert [one.detector for one in found] == ["backdrop", "saliency", FULL, "backdrop"]
    assert core_regions([], BARE) == []


def test_detectors_are_loaded_once() -> None:
    assert load(BARE) is load(RegionsParams(pad=0.3))


def test_no_detector_imports_its_libraries_before_it_is_asked() -> None:
    heavy = "{'torch', 'transformers', 'onnxruntime'}"
    code = f"import sys, moon.vision.detectors; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saliency_beats_the_centred_box_on_real_photos() -> None:
    folder = outside("MOON_DATASETS", "freiburg_boxes")
    rows = [json.loads(line) for line in (folder / "items.jsonl").open() if '"train"' in line][::12]
    ours, centre = [], []
    for row in rows:
        left, top, right, bottom = (round(value) for value in row["content_box"])
        image = Image.open(folder / row["image"]).convert("RGB").crop((left, top, right, bottom))
        boxes = [Box(*item["box"]) for item in row["boxes"]]
        truths = [Box(b.x0 - left, b.y0 - top, b.x1 - left, b.y1 - top).clamp(*image.size) for b in boxes]
        w, h = image.size
        ours.append((core_region(image, BARE).box, truths))
        centre.append((Box(w / 8, h / 8, w * 7 / 8, h * 7 / 8), truths))
    mine, theirs = score_regions(ours), score_regions(centre)
    assert (mine.mean_iou or 0) > (theirs.mean_iou or 1)
    assert (mine.corloc or 0) > (theirs.corloc or 1)
