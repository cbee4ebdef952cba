from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from moon.config import RegionsParams
from moon.vision.boxes import Box, iou
from moon.vision.detectors import core_region
from moon.vision.detectors.features import SIZE, describe
from moon.vision.detectors.learned import LearnedWeights, best_overlap, candidates
from moon.vision.detectors.learning import Fitted, _ridge, fit, fold_of, mirrored

Sample = tuple[Image.Image, Box]


def sample(rng: np.random.Generator) -> Sample:
    """A printed rectangle somewhere on blurred ground that reaches the border."""
    image = Image.fromarray(rng.integers(60, 190, (6, 6, 3), dtype=np.uint8)).resize(
        (120, 90), Image.Resampling.BICUBIC
    )
    width, height = (int(value) for value in rng.integers(35, 70, 2))
    x, y = int(rng.integers(0, 120 - width)), int(rng.integers(0, 90 - height))
    label = Image.fromarray(rng.integers(0, 255, (14, 14, 3), dtype=np.uint8))
    image.paste(label.resize((width, height), Image.Resampling.NEAREST), (x, y))
    return image, Box(x, y, x + width, y + height)


def descriptions_of(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.stack([describe(image), describe(ImageOps.mirror(image))]) for image in images])


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    rng = np.random.default_rng(0)
    pairs = [sample(rng) for _ in range(220)]
    truths = [np.array([box.scaled(1 / 120, 1 / 90)], dtype=np.float32) for _, box in pairs]
    return fit(descriptions_of([image for image, _ in pairs]), truths, [str(place) for place in range(len(pairs))])


def test_it_finds_what_it_was_trained_on_better_than_any_fixed_box(fitted: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "learned.npz"
    fitted.weights.save(path)
    params = RegionsParams(detector="learned", weights=str(path), pad=0.0)
    rng = np.random.default_rng(99)
    pairs = [sample(rng) for _ in range(40)]
    found = [core_region(image, params) for image, _ in pairs]
    ours = np.mean([iou(one.box, truth) for one, (_, truth) in zip(found, pairs, strict=True)])
    relative = [np.array([truth.scaled(1 / 120, 1 / 90)], dtype=np.float32) for _, truth in pairs]
    fixed = np.mean([best_overlap(candidates(), truth) for truth in relative], axis=0).max()
    assert ours > fixed + 0.1 and ours > 0.6
    assert fitted.held_out_iou == pytest.approx(ours, abs=0.1)
    assert {one.detector for one in found} == {"learned"}


def test_auto_uses_it_where_the_border_is_not_plain(fitted: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "learned.npz"
    fitted.weights.save(path)
    image, _ = sample(np.random.default_rng(5))
    plain = Image.new("RGB", (120, 90), "white")
    plain.paste((200, 20, 20), (30, 20, 90, 70))
    params = RegionsParams(weights=str(path))
    assert core_region(image, params).detector == "learned"
    assert core_region(plain, params).detector == "backdrop"
    assert core_region(image, RegionsParams()).detector == "saliency"


def test_the_mirrored_picture_has_the_mirrored_box(fitted: Fitted) -> None:
    images = [sample(np.random.default_rng(seed))[0] for seed in range(6)]
    boxes, images = candidates(), [image.resize((96, 96)) for image in images]
    places = {tuple(np.round(box * 12).astype(int)): place for place, box in enumerate(boxes)}
    turned = [places[tuple(np.round(box * 12).astype(int))] for box in mirrored(boxes)]
    here, there = (fitted.weights.predict(descriptions_of(images)[:, side]) for side in (0, 1))
    # The candidates are mirrored exactly, the bins of the gradients nearly.
    assert np.abs(here - there[:, turned]).mean() < 0.02 < np.abs(here - there).mean()


def test_a_new_file_under_the_same_name_is_read(fitted: Fitted, tmp_path: Path) -> None:
    path, image = tmp_path / "learned.npz", sample(np.random.default_rng(7))[0]
    params = RegionsParams(detector="learned", weights=str(path), pad=0.0)
    fitted.weights.save(path)
    before = core_region(image, params)
    constant = np.zeros_like(fitted.weights.average)
    constant[100] = 0.9
    LearnedWeights(
        centre=fitted.weights.centre, weights=fitted.weights.weights * 0, basis=fitted.weights.basis, average=constant
    ).save(path)
    after = core_region(image, params)
    assert after.box == pytest.approx(Box(*candidates()[100].tolist()).scaled(*image.size), abs=1e-3) != before.box
    assert after.score == pytest.approx(0.9, abs=1e-3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "learned.npz"
    for content in (b"", b"junk", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="moon regions train"):
            LearnedWeights.load(path)
    with path.open("wb") as file:
        np.savez(file, version=np.array(1), centre=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="moon regions train"):
        LearnedWeights.load(path)
    small = np.zeros((3, 2), dtype=np.float32)
    LearnedWeights(centre=small[:, 0], weights=small, basis=small.T, average=small[:, 0]).save(path)
    with pytest.raises(ValueError, match="another version"):
        LearnedWeights.load(path)


@pytest.mark.parametrize("size", [(2, 2), (3, 500), (400, 2), (640, 480)])
def test_any_picture_is_described_by_finite_numbers(size: tuple[int, int]) -> None:
    for image in (Image.new("RGB", size, "black"), Image.effect_noise(size, 90).convert("RGB")):
        described = describe(image)
        assert described.shape == (SIZE,) and np.isfinite(described).all()


def test_best_overlap_is_the_iou_with_the_best_truth() -> None:
    rng = np.random.default_rng(3)
    corners = np.sort(rng.random((12, 2, 2)), axis=1).reshape(12, 4).astype(np.float32)
    boxes, truths = corners[:8], corners[8:]
    expected = [max(iou(Box(*a.tolist()), Box(*b.tolist())) for b in truths) for a in boxes]
    assert best_overlap(boxes, truths) == pytest.approx(expected, abs=1e-5)


def test_folds_keep_groups_together_and_are_even() -> None:
    groups = [f"g{place % 17}" for place in range(120)] + ["big"] * 20
    fold = fold_of(groups, 5)
    assert all(
        len({int(one) for one, name in zip(fold, groups, strict=True) if name == group}) == 1 for group in groups
    )
    sizes = np.bincount(fold, minlength=5)
    assert sizes.min() >= 21 and sizes.sum() == 140


def test_too_little_to_learn_from_is_said() -> None:
    empty = np.zeros((30, 2, SIZE), dtype=np.float32)
    truth = [np.array([[0, 0, 1, 1]], dtype=np.float32)]
    with pytest.raises(ValueError, match="5 pictures with known boxes"):
        fit(empty[:5], truth * 5, ["a"] * 5)
    with pytest.raises(ValueError, match="2 groups"):
        fit(empty, truth * 30, ["a", "b"] * 15)


def test_both_sides_of_the_ridge_solution_agree_with_the_normal_equations() -> None:
    rng = np.random.default_rng(4)
    for rows, columns in ((9, 5), (5, 9)):
        x, y = rng.normal(size=(rows, columns)), rng.normal(size=(rows, 2))
        expected = np.linalg.solve(x.T @ x + 0.3 * rows * np.eye(columns), x.T @ y)
        assert next(_ridge(x, y, [0.3])) == pytest.approx(expected)
