from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from moon.model import Embedder
from moon.model.item import Item, TokenType
from moon.model.relevance import picture_relevance, plain


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    return Embedder.load(tiny_model)


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def direction(embedder: Embedder, seed: int = 0) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(embedder.dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


ITEM = Item(images=(noise(56, 56, 1), noise(28, 84, 2)), crops=(noise(56, 28, 3),), title="red mug")


def test_the_patches_add_up_to_the_change_of_the_score(embedder):
    target = direction(embedder)
    found = picture_relevance(embedder, ITEM, target, steps=64)
    assert found.score == pytest.approx(float(embedder.embed([ITEM])[0] @ target), abs=1e-5)
    total = sum(float(picture.values.sum()) for picture in found.pictures)
    assert abs(found.score - found.blank) > 1e-3, "the pictures must matter for the sum to say anything"
    assert total == pytest.approx(found.score - found.blank, rel=0.03, abs=2e-4)


def test_each_map_has_the_shape_of_its_picture_in_sequence_order(embedder):
    found = picture_relevance(embedder, ITEM, direction(embedder), steps=2)
    encoded = embedder.processor.encode(ITEM)
    patch = embedder.processor.image_processor.patch_size
    assert [picture.values.shape for picture in found.pictures] == [
        (picture.shape[0] // patch, picture.shape[1] // patch) for picture in encoded.pictures
    ]
    assert [(picture.kind, picture.number) for picture in found.pictures] == [
        (TokenType.IMAGE, 0),
        (TokenType.IMAGE, 1),
        (TokenType.CROP, 0),
    ]


@pytest.mark.parametrize("row", [0, 1, 2, 3])
@pytest.mark.parametrize("column", [0, 3])
def test_only_the_patch_that_differs_from_the_plain_picture_is_relevant(embedder, row, column):
    pixels = np.full((56, 56, 3), 100, np.uint8)
    pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14] = [101, 100, 99]  # the mean rounds to 100
    pixels[14 * row : 14 * row + 7, 14 * column : 14 * column + 14] = [180, 20, 100]
    pixels[14 * row + 7 : 14 * row + 14, 14 * column : 14 * column + 14] = [20, 180, 100]
    [picture] = picture_relevance(
        embedder, Item(images=(Image.fromarray(pixels),)), direction(embedder), steps=4
    ).pictures
    assert np.argwhere(picture.values != 0).tolist() == [[row, column]]


def test_a_plain_picture_has_no_relevant_region(embedder):
    item = Item(images=(Image.new("RGB", (56, 56), (40, 90, 200)),))
    found = picture_relevance(embedder, item, direction(embedder), steps=2)
    assert found.score == pytest.approx(found.blank, abs=1e-6) and not found.pictures[0].values.any()


def test_taking_away_what_is_most_relevant_costs_more_than_the_least(embedder):
    own = embedder.embed([ITEM])[0]
    found = picture_relevance(embedder, ITEM, own)
    assert found.score == pytest.approx(1.0, abs=1e-5)
    assert found.without_most < found.without_least


def test_the_model_is_left_as_it_was(embedder):
    before = embedder.embed([ITEM])
    picture_relevance(embedder, ITEM, direction(embedder), steps=1)
    assert np.array_equal(before, embedder.embed([ITEM]))
    assert all(parameter.grad is None for parameter in embedder.model.parameters())


def test_plain_keeps_each_pictures_own_colour():
    pixels = torch.tensor([[0, 10, 20] * 4, [10, 20, 30] * 4, [200, 0, 0] * 4], dtype=torch.uint8)
    assert plain(pixels, [2, 1]).tolist() == [[5, 15, 25] * 4] * 2 + [[200, 0, 0] * 4]


def test_what_cannot_be_attributed_is_refused(embedder):
    with pytest.raises(ValueError, match="without"):
        picture_relevance(embedder, Item(title="red mug"), direction(embedder))
    with pytest.raises(ValueError, match="dimensions"):
        picture_relevance(embedder, ITEM, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="steps"):
        picture_relevance(embedder, dataclasses.replace(ITEM, crops=()), direction(embedder), steps=0)
