"""Takes a picture of a drawn product: a place, a pose, things around it, light, a lens."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from moon.catalog.render import backgrounds, props

Box = tuple[int, int, int, int]
Matrix = list[list[float]]

_VISIBLE: Final = 128
"""A pixel belongs to the product from this much coverage, of 255."""
_ASPECTS: Final = ((1.0, 1.0), (1.0, 1.0), (0.8, 1.0), (0.75, 1.0), (1.0, 0.8))


@dataclass(frozen=True, eq=False)
class Photo:
    """A finished picture and where the product is in it."""

    image: Image.Image
    """RGB."""
    visible: Image.Image
    """Coverage of the product's visible pixels, mode L, as large as the picture."""

    @property
    def box(self) -> Box:
        """The tight box of the visible product, exclusive at the far edge."""
        found = product_mask(self.visible).getbbox()
        assert found is not None, "a product is always in its picture"
        return found


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a photographer decides before looking through the lens."""

    size: int
    """Longer side of the picture, pixels."""
    lying: bool
    """The product lies or hangs before a flat background instead of standing in a room."""
    extent: float
    """Length of the product's longer side, as a share of the usual."""
    studio: bool
    """A plain backdrop and nothing else."""
    customer: bool
    """Taken by somebody with a telephone: less care, worse light."""


def product_mask(visible: Image.Image) -> Image.Image:
    """The pixels that count as product, 0 or 255."""
    return visible.point([0] * _VISIBLE + [255] * (256 - _VISIBLE))


def photograph(drawing: Image.Image, setting: Setting, rng: random.Random) -> Photo:
    """Composes a picture around a product drawing (RGBA)."""
    wide, high = (1.0, 1.0) if setting.studio else rng.choice(_ASPECTS)
    width, height = round(setting.size * wide), round(setting.size * high)
    product, lit_from_left = _posed(drawing, setting, (width, height), rng)
    left, top = _placed(product, setting, (width, height), rng)
    foot = min(top + product.height, height)
    if setting.studio:
        picture = backgrounds.studio((width, height), rng)
    elif setting.lying:
        picture = backgrounds.flat((width, height), rng)
    else:
        horizon = round(min(height * 0.82, foot - product.height * rng.uniform(0.08, 0.34)))
        picture = backgrounds.room((width, height), max(horizon, height // 4), rng)
    if not setting.studio:
        for _ in range(rng.randint(1, 4 if setting.customer else 3)):
            _clutter(picture, setting, (left + product.width // 2, foot), lit_from_left, rng)
    _shadow(picture, product, (left, top), setting.lying and not setting.studio, lit_from_left)
    picture.paste(product, (left, top), product)
    visible = Image.new("L", picture.size)
    visible.paste(product.getchannel("A"), (left, top))
    if setting.customer and rng.random() < 0.3:
        _overlap(picture, visible, setting, (left, top, left + product.width, foot), rng)
    return Photo(_developed(picture, setting, lit_from_left, rng), visible)


def _posed(
    drawing: Image.Image, setting: Setting, size: tuple[int, int], rng: random.Random
) -> tuple[Image.Image, bool]:
    """The product at its size, turned and tilted; and whether the light still comes from the left."""
    lit_from_left = rng.random() < 0.7
    if not lit_from_left:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    share = rng.uniform(0.7, 0.8) if setting.studio else rng.uniform(0.54, 0.8)
    reach = min(share * setting.extent, 0.9)
    scale = min(reach * min(size) / max(drawing.size), 0.86 * size[0] / drawing.width, 0.86 * size[1] / drawing.height)
    yaw = rng.uniform(0.97, 1.0) if setting.studio else rng.uniform(0.84, 1.0)
    target = (max(4, round(drawing.width * scale * yaw)), max(4, round(drawing.height * scale)))
    small = drawing.resize(target, Image.Resampling.BICUBIC, reducing_gap=2.0)
    most = 2.0 if setting.studio else 24.0 if setting.lying and setting.customer else 12.0 if setting.lying else 4.0
    turn = math.radians(rng.uniform(-most, most))
    bend = 0.0 if setting.studio else rng.uniform(-0.14, 0.14)
    return _tilted(small, turn, shear=bend * 0.5, depth=bend), lit_from_left


def _tilted(image: Image.Image, turn: float, shear: float, depth: float) -> Image.Image:
    """Turns a layer in its plane and leans it away from the lens; the result is cut to its outline."""
    cos, sin = math.cos(turn), math.sin(turn)
    side = math.ceil(math.hypot(*image.size) * 1.08)
    to_centre: Matrix = [[1, 0, -side / 2], [0, 1, -side / 2], [0, 0, 1]]
    lean: Matrix = [[1, 0, 0], [0, 1, 0], [0, depth / side, 1]]
    rotate: Matrix = [[cos, sin + shear, 0], [-sin, cos, 0], [0, 0, 1]]
    from_centre: Matrix = [[1, 0, image.width / 2], [0, 1, image.height / 2], [0, 0, 1]]
    matrix = functools.reduce(_product, (from_centre, rotate, lean, to_centre))
    last = matrix[2][2]
    terms = [term / last for row in matrix for term in row][:8]
    turned = image.transform((side, side), Image.Transform.PERSPECTIVE, terms, Image.Resampling.BICUBIC)
    return turned.crop(product_mask(turned.getchannel("A")).getbbox() or turned.getbbox())


def _product(left: Matrix, right: Matrix) -> Matrix:
    columns = list(zip(*right, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]


def _placed(product: Image.Image, setting: Setting, size: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    """The upper left corner of the product; a customer cuts a little off now and then."""
    free = (size[0] - product.width, size[1] - product.height)
    if setting.studio:
        return free[0] // 2, round(free[1] * (0.5 if setting.lying else 0.62))
    if setting.customer and rng.random() < 0.12:
        over = round(product.width * rng.uniform(0.04, 0.14))
        return rng.choice((-over, free[0] + over)), round(free[1] * rng.uniform(0.35, 0.75))
    across, down = rng.uniform(0.12, 0.88), rng.uniform(0.2, 0.8) if setting.lying else rng.uniform(0.5, 0.86)
    return round(free[0] * across), round(free[1] * down)


def _clutter(
    picture: Image.Image, setting: Setting, product_foot: tuple[int, int], lit_from_left: bool, rng: random.Random
) -> None:
    """Something beside or behind the product."""
    width, height = picture.size
    thing = props.prop(setting.lying, round(setting.size * rng.uniform(0.16, 0.34)), rng)
    if setting.lying:
        thing = thing.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR, expand=True)
        x, y = (
            rng.randint(-thing.width // 2, width - thing.width // 2),
            rng.randint(-thing.height // 2, height - thing.height // 2),
        )
    else:
        side = rng.choice((-1, 1))
        x = product_foot[0] + side * round(width * rng.uniform(0.16, 0.5)) - thing.width // 2
        y = product_foot[1] - round(height * rng.uniform(0.02, 0.1)) - thing.height
        thing = thing.filter(ImageFilter.GaussianBlur(setting.size * rng.uniform(0.0, 0.006)))
    _shadow(picture, thing, (x, y), setting.lying, lit_from_left)
    picture.paste(thing, (x, y), thing)


def _overlap(picture: Image.Image, visible: Image.Image, setting: Setting, product: Box, rng: random.Random) -> None:
    """Something in front that hides a corner of the product."""
    x0, _, x1, y1 = product
    thing = props.prop(setting.lying, round(setting.size * rng.uniform(0.14, 0.24)), rng)
    x = (x0 if rng.random() < 0.5 else x1) - thing.width // 2
    y = y1 - round(thing.height * rng.uniform(0.3, 0.7))
    if not setting.lying:
        _shadow(picture, thing, (x, y), False, True)
    picture.paste(thing, (x, y), thing)
    visible.paste(0, (x, y), thing.getchannel("A"))


def _shadow(
    picture: Image.Image, thing: Image.Image, corner: tuple[int, int], lying: bool, lit_from_left: bool
) -> None:
    """The shadow a thing throws on what it lies or stands on."""
    alpha = thing.getchannel("A")
    side = max(picture.size)
    away = 1 if lit_from_left else -1
    if lying:
        layers = [
            (alpha, (away * side // 48, side // 40), side / 60, 0.5),
            (alpha, (away * side // 160, side // 120), side / 200, 0.5),
        ]
    else:
        cast = alpha.resize((round(alpha.width * 1.1), max(3, alpha.height // 6)), Image.Resampling.BILINEAR)
        strip = alpha.crop((0, alpha.height - max(3, alpha.height // 10), alpha.width, alpha.height))
        touch = strip.resize((alpha.width, max(3, alpha.height // 24)), Image.Resampling.BILINEAR)
        fall = (away * alpha.width // 7 - alpha.width // 20, alpha.height - cast.height * 3 // 4)
        layers = [
            (cast, fall, side / 44, 0.5),
            (touch, (away * side // 160, alpha.height - touch.height * 2 // 3), side / 110, 0.75),
        ]
    for shape, (dx, dy), blur, strength in layers:
        margin = round(blur * 3)
        mask = Image.new("L", (shape.width + 2 * margin, shape.height + 2 * margin))
        mask.paste(shape.point(_curve(strength)), (margin, margin))
        mask = mask.filter(ImageFilter.GaussianBlur(blur))
        picture.paste((24, 20, 18), (corner[0] + dx - margin, corner[1] + dy - margin), mask)


def _developed(picture: Image.Image, setting: Setting, lit_from_left: bool, rng: random.Random) -> Image.Image:
    """Light, lens and sensor."""
    careless = 1.0 if setting.customer else 0.35
    fade = Image.linear_gradient("L").transpose(
        Image.Transpose.ROTATE_90 if lit_from_left else Image.Transpose.ROTATE_270
    )
    dark = round(255 * rng.uniform(0.0, 0.3) * careless)
    fade = fade.resize(picture.size).point(_curve(-dark / 255, 255))
    picture = ImageChops.multiply(picture, Image.merge("RGB", (fade, fade, fade)))
    warmth, tint = rng.uniform(-0.1, 0.12) * careless, rng.uniform(-0.025, 0.025) * careless
    exposure, contrast = 1 + rng.uniform(-0.22, 0.16) * careless, 1 + rng.uniform(-0.14, 0.12) * careless
    base = 128 * (1 - contrast) * exposure
    gains = (1 + warmth, 1 + tint, 1 - warmth)
    curve = [level for gain in gains for level in _curve(contrast * exposure * gain, base * gain)]
    picture = picture.point(curve)
    if setting.customer and rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(setting.size / 192 * rng.uniform(0.3, 0.9)))
    grainy = _sensor(setting.size, rng.randrange(3 if setting.customer else 1), rng.randrange(4))
    return ImageChops.add(picture, grainy.crop((0, 0, *picture.size)), 1.0, -128)


def _curve(gain: float, offset: float = 0.0) -> list[int]:
    """A straight tone curve: what each of 256 levels becomes."""
    return np.clip(np.arange(256) * gain + (offset + 0.5), 0, 255).astype(np.int64).tolist()


@functools.lru_cache(maxsize=32)
def _sensor(side: int, strength: int, variant: int) -> Image.Image:
    """Sensor noise around 128."""
    half = 2 + 2 * strength
    draws = np.random.default_rng(variant).integers(-half, half + 1, (2, side, side))
    grey = Image.fromarray((128 + draws[0] + draws[1]).astype(np.uint8))
    return Image.merge("RGB", (grey, grey, grey))
