from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from moon.vision.hashing import WINDOWS, fingerprint, near_pairs
from moon.vision.likeness import candidates, difference, is_flat
from tests.vision.test_decode import encode
from tests.vision.test_resize import scene


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8])
def test_the_search_is_brute_force_only_faster(radius: int) -> None:
    rng = np.random.default_rng(radius)
    hashes = rng.integers(0, 2**63, 150, dtype=np.uint64)
    flips = np.array([sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 11), False)) for _ in range(400)])
    index = hashes[rng.integers(0, 150, 400)] ^ flips.astype(np.uint64)
    close = np.bitwise_count(hashes[:, None] ^ index[None]) <= radius
    parts = [np.stack(part, axis=1) for part in near_pairs(hashes, index, radius)]
    found = {tuple(pair) for pair in np.concatenate(parts).tolist()}
    assert found == {tuple(pair) for pair in np.argwhere(close).tolist()} and found


def test_a_radius_that_the_search_is_not_exact_for_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 8 bits, got 9"):
        next(near_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), 9))


def test_a_copy_is_a_candidate_once_and_alike_and_another_picture_is_not() -> None:
    original, other = scene(seed=1), scene(seed=2)
    copies = [encode(original, "JPEG", quality=50), encode(original.crop((8, 6, 400, 300)), "PNG")]
    prints = [fingerprint(data) for data in [encode(original, "PNG"), encode(other, "PNG"), *copies]]
    found = candidates(np.stack([one.hashes_V for one in prints]), np.stack([one.thumb for one in prints]), 8)
    pairs = list(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True))
    assert {(0, 2), (0, 3)} <= set(pairs) and len(pairs) == len(set(pairs))
    assert not any(1 in pair for pair in pairs)
    thumbs = [one.thumb for one in prints]
    assert max(difference(thumbs[0], thumbs[2], 12), difference(thumbs[0], thumbs[3], 12)) <= 12
    assert difference(thumbs[0], thumbs[1], 12) > 30


def test_a_small_product_of_another_colour_is_another_product() -> None:
    pictures = [np.full((200, 200, 3), 220, np.uint8) for _ in range(2)]
    for picture, colour in zip(pictures, ((200, 30, 30), (30, 30, 200)), strict=True):
        picture[90:115, 80:125] = colour
    one, other = (fingerprint(encode(Image.fromarray(picture), "PNG")) for picture in pictures)
    assert difference(one.thumb, other.thumb, 12) > 12


def test_a_picture_of_nothing_is_flat() -> None:
    assert is_flat(fingerprint(encode(Image.new("RGB", (90, 90), "white"), "JPEG")).thumb)
    found = fingerprint(encode(scene(), "JPEG"))
    assert not is_flat(found.thumb) and found.hashes_V.shape == (len(WINDOWS),)
