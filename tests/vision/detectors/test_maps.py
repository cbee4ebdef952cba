from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from moon.vision.boxes import Box
from moon.vision.detectors.maps import best_iou_box, best_sum_box, blur, inside_sum, lab, ring, stretch


def every_box(height: int, width: int) -> list[Box]:
    return [
        Box(x0, y0, x1, y1)
        for y0, y1 in itertools.combinations(range(height + 1), 2)
        for x0, x1 in itertools.combinations(range(width + 1), 2)
    ]


def test_best_sum_box_is_the_best_of_all_boxes() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (6, 4), (1, 9)):
        gain = rng.normal(size=shape).astype(np.float32)
        found = inside_sum(gain, best_sum_box(gain))
        assert found == pytest.approx(max(inside_sum(gain, box) for box in every_box(*shape)), abs=1e-5)


def test_best_iou_box_is_the_best_of_all_boxes() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        membership = (rng.random((6, 7)) ** 3).astype(np.float32)
        box, value = best_iou_box(membership)
        inside = {b: inside_sum(membership, b) for b in every_box(6, 7)}
        best = max(s / (b.area + float(membership.sum()) - s) for b, s in inside.items())
        assert value == pytest.approx(best, abs=1e-4)
        assert value == pytest.approx(inside[box] / (box.area + float(membership.sum()) - inside[box]), abs=1e-5)


def test_best_iou_box_of_a_rectangle_is_that_rectangle() -> None:
    membership = np.zeros((20, 30), dtype=np.float32)
    membership[4:15, 7:21] = 1.0
    assert best_iou_box(membership) == (Box(7, 4, 21, 15), pytest.approx(1.0))


def test_lab_of_known_colours() -> None:
    known = {(255, 255, 255): (100, 0, 0), (0, 0, 0): (0, 0, 0), (255, 0, 0): (53.24, 80.09, 67.20)}
    for rgb, expected in known.items():
        assert lab(Image.new("RGB", (64, 64), rgb))[5, 5] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("size", [(2, 2), (3, 900), (4000, 5), (640, 480)])
def test_lab_keeps_every_picture_small_but_not_empty(size: tuple[int, int]) -> None:
    height, width = lab(Image.new("RGB", size), side=64).shape[:2]
    assert 8 <= height <= 64 and 8 <= width <= 64


def test_ring_goes_once_around() -> None:
    rows, columns = np.mgrid[0:6, 0:9].astype(np.float32)
    around = ring(np.stack([rows, columns], axis=-1), width=1)
    assert len(around) == len({tuple(cell) for cell in around}) == 2 * (6 + 9) - 4
    steps = np.abs(np.diff(np.vstack([around, around[:1]]), axis=0)).sum(axis=1)
    assert steps.max() == 1
    assert len(ring(np.zeros((10, 12, 3), dtype=np.float32), width=2)) == 120 - 6 * 8


def test_blur_is_the_mean_of_the_window() -> None:
    values = np.random.default_rng(2).random((9, 11)).astype(np.float32)
    assert blur(values, 2)[4, 5] == pytest.approx(values[2:7, 3:8].mean(), abs=1e-5)
    assert blur(values, 1)[0, 0] == pytest.approx(np.pad(values, 1, mode="edge")[:3, :3].mean(), abs=1e-5)
    assert blur(np.full((5, 5), 3.0, dtype=np.float32), 2) == pytest.approx(3.0)


def test_stretch_of_a_flat_map_is_zero() -> None:
    assert not stretch(np.full((4, 4), 7.0, dtype=np.float32)).any()
    spread = stretch(np.arange(100, dtype=np.float32).reshape(10, 10))
    assert spread.min() == 0.0 and spread.max() == 1.0
