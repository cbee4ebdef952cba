from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from moon.config import RegionsParams
from moon.vision.boxes import Box, iou
from moon.vision.detectors import core_region
from moon.vision.detectors.grabcut import refine


def photo(seed: int = 0) -> tuple[Image.Image, Box]:
    """A red disc on a wooden-looking ground."""
    rng = np.random.default_rng(seed)
    stripes = 120 + 25 * np.sin(np.arange(200) / 6)[:, None] + rng.normal(0, 6, (200, 240))
    image = Image.fromarray(np.stack([stripes, stripes * 0.8, stripes * 0.5], -1).clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).ellipse((70, 50, 159, 149), fill=(200, 30, 40))
    return image, Box(70, 50, 160, 150)


def test_a_loose_box_becomes_tight() -> None:
    image, truth = photo()
    loose = Box(50, 30, 190, 175)
    refined = refine(image, loose)
    assert iou(refined, truth) > 0.9 > iou(loose, truth)
    assert refine(image, loose) == refined


@pytest.mark.parametrize("start", [Box(0, 0, 240, 200), Box(3, 3, 4, 4), Box(20, 20, 21, 180)])
def test_a_cut_that_fails_leaves_the_box(start: Box) -> None:
    image, _ = photo()
    assert iou(refine(image, start), start) >= 0.4
    flat = Image.new("RGB", (240, 200), (90, 90, 90))
    assert iou(refine(flat, start), start) >= 0.4


def test_it_starts_from_what_auto_finds() -> None:
    image, truth = photo()
    found = core_region(image, RegionsParams(detector="grabcut", pad=0.0))
    assert found.detector == "grabcut" and iou(found.box, truth) > 0.85
