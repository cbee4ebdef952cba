"""Another place: a drawn backdrop, or the surroundings of another picture, behind the product."""

from __future__ import annotations

import random
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from moon.vision.augment.base import Edited
from moon.vision.augment.clean import on, placed
from moon.vision.augment.cutout import CutOut, is_plain
from moon.vision.boxes import Box
from moon.vision.detectors.backdrop import offsets_from_backdrop
from moon.vision.detectors.maps import lab

_NEAR, _FAR = 0.85, 0.5
"""Share of the picture that the product fills."""
_MIN_STRIP: Final = 0.12
"""Surroundings narrower than this share of the picture say nothing about the place."""
_SCENE: Final = 0.6
"""How often a scene is used where there is one."""
_SHADOW: Final = 90
"""Darkness of the shadow under the product, of 255."""

Pixels = npt.NDArray[np.floating]


def moved(product: CutOut, scene: Image.Image | None, rng: random.Random) -> Edited:
    """The product in another place, in a picture of the same size.

    Args:
        product: the product.
        scene: what `surroundings` of another picture gave; None has a backdrop drawn.
        rng: chooses backdrop, place and size.
    """
    size = product.picture.size
    there = placed(product, size, rng.uniform(_FAR, _NEAR), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.9))
    if scene is not None and rng.random() < _SCENE:
        background = _enlarged(scene, size, rng)
    else:
        background = rng.choice([_gradient, _clouds, _weave])(size, rng)
    return on(there, _shadowed(background, there))


def surroundings(picture: Image.Image, box: Box) -> Image.Image | None:
    """The largest strip of a picture beside the product's box.

    None where the product fills the picture, and for a plain backdrop, which is as well drawn.
    """
    width, height = picture.size
    if is_plain(offsets_from_backdrop(lab(picture))):
        return None
    strips = [
        Box(0, 0, box.x0, height),
        Box(box.x1, 0, width, height),
        Box(0, 0, width, box.y0),
        Box(0, box.y1, width, height),
    ]
    wide = [
        strip
        for strip in strips
        if strip.x1 - strip.x0 >= _MIN_STRIP * width and strip.y1 - strip.y0 >= _MIN_STRIP * height
    ]
    if not wide:
        return None
    largest = max(wide, key=lambda strip: strip.area)
    return picture.crop((round(largest.x0), round(largest.y0), round(largest.x1), round(largest.y1)))


def _enlarged(scene: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A part of a strip that covers the picture, out of focus."""
    centre = rng.random(), rng.random()
    return ImageOps.fit(scene, size, Image.Resampling.BICUBIC, centering=centre).filter(ImageFilter.GaussianBlur(1.0))


def _gradient(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A studio backdrop: two colours with a soft turn between them."""
    y = np.linspace(0, 1, size[1])[:, None, None]
    x = np.linspace(0, 1, size[0])[None, :, None]
    tilt, turn = rng.uniform(-0.5, 0.5), rng.uniform(0.3, 0.8)
    blend = 1 / (1 + np.exp(-(y + tilt * (x - 0.5) - turn) * rng.uniform(4, 20)))
    first, second = _colour(rng), _colour(rng)
    return _picture(first + (second - first) * blend)


def _clouds(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Soft patches of several scales, like plaster or stone."""
    total = np.zeros((size[1], size[0]), dtype=np.float32)
    noise = np.random.default_rng(rng.getrandbits(64))
    for cells, share in ((3, 0.5), (8, 0.3), (40, 0.2)):
        small = Image.fromarray((noise.random((cells, cells)) * 255).astype(np.uint8))
        total += share * np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
    first, second = _colour(rng), _colour(rng)
    return _picture(first + (second - first) * total[..., None] * rng.uniform(0.3, 1.0))


def _weave(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Stripes or boards in one direction with a grain, like cloth or wood."""
    angle, period = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]), rng.uniform(0.04, 0.3)
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32) / max(size)
    along = np.cos(angle) * x + np.sin(angle) * y
    noise = np.random.default_rng(rng.getrandbits(64))
    board = noise.random(int(2 / period) + 4).astype(np.float32)
    stripes = board[np.floor((along + 1) / period).astype(int) % len(board)]
    grain = noise.random((size[1], size[0])).astype(np.float32) - 0.5
    first, second = _colour(rng), _colour(rng)
    blend = stripes * rng.uniform(0.2, 0.7) + grain * 0.06
    return _picture(first + (second - first) * blend[..., None])


def _colour(rng: random.Random) -> Pixels:
    """A muted colour of any hue and lightness, RGB in [0, 1]."""
    grey = rng.uniform(0.15, 0.95)
    return np.clip([grey + rng.uniform(-0.18, 0.18) for _ in range(3)], 0, 1).astype(np.float32)


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _shadowed(background: Image.Image, product: CutOut) -> Image.Image:
    """The background with a soft shadow under a product whose outline is known."""
    if not product.exact:
        return background
    size = background.size
    radius = max(size) / 40
    shadow = Image.new("L", size)
    shadow.paste(product.picture.getchannel("A"), (0, round(radius)))
    shadow = shadow.filter(ImageFilter.GaussianBlur(radius)).point(lambda value: value * _SHADOW // 255)
    return Image.composite(Image.new("RGB", size), background, shadow)
