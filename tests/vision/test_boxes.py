from __future__ import annotations

import random

import pytest

from moon.vision.boxes import Box, iou, score_regions


def random_box(rng: random.Random) -> Box:
    x0, x1 = sorted(rng.sample(range(40), 2))
    y0, y1 = sorted(rng.sample(range(30), 2))
    return Box(x0, y0, x1, y1)


def test_iou_agrees_with_counting_pixels() -> None:
    rng = random.Random(0)
    for _ in range(60):
        a, b = random_box(rng), random_box(rng)
        pixels = [{(x, y) for x in range(c.x0, c.x1) for y in range(c.y0, c.y1)} for c in (a, b)]  # type: ignore[arg-type]
        assert iou(a, b) == pytest.approx(len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1]))
        assert iou(a, b) == iou(b, a) and iou(a, a) == 1.0


def test_empty_boxes_match_nothing() -> None:
    assert iou(Box(3, 3, 3, 3), Box(3, 3, 3, 3)) == 0.0
    assert Box(5, 0, 2, 9).area == 0.0


def test_padding_grows_by_the_boxs_own_side_and_stays_inside() -> None:
    assert Box(10, 10, 30, 20).padded(0.1, 100, 100) == Box(8, 9, 32, 21)
    assert Box(0, 10, 95, 20).padded(0.5, 100, 22) == Box(0, 5, 100, 22)
    assert Box(-5, -5, 500, 3).clamp(20, 10) == Box(0, 0, 20, 3)


def test_scores_take_the_best_truth_and_count_thresholds() -> None:
    found = Box(0, 0, 10, 10)
    scores = score_regions(
        [
            (found, [Box(50, 50, 60, 60), found]),  # IoU 1
            (found, [Box(0, 0, 10, 5)]),  # exactly 0.5
            (found, [Box(20, 20, 30, 30)]),  # 0
            (found, []),  # no truth: not scored
        ]
    )
    assert (scores.images, scores.mean_iou) == (3, pytest.approx(0.5))
    assert (scores.corloc, scores.accuracy_75) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_no_truth_scores_nothing() -> None:
    assert score_regions([(Box(0, 0, 1, 1), [])]).mean_iou is None
