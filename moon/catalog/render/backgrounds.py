"""Where pictures are taken: a shop's plain studio, and tables, walls and lawns where customers stand.

Textures are drawn once a process and size; a scene takes a random part of one.
"""

from __future__ import annotations

import functools
import random
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from moon.catalog.render.materials import Array, grain, noise

Pixel = tuple[int, int, int]

WALLS: Final = ("plaster", "tiles", "brick", "panel", "shelf", "bokeh", "wallpaper", "curtain")
FLOORS: Final = ("oak", "walnut", "marble", "cloth", "concrete", "grass", "carpet", "tiles")
FLAT: Final = ("oak", "walnut", "marble", "cloth", "concrete", "grass", "carpet", "plaster", "brick", "panel")
_STUDIO: Final[tuple[Pixel, ...]] = (
    (250, 250, 248), (236, 236, 238), (222, 226, 232), (244, 236, 226), (226, 234, 228), (240, 228, 230),
    (206, 208, 210),
)  # fmt: skip
_VARIANTS: Final = 3


def studio(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A seamless paper backdrop, lit from above, darker at the corners."""
    colour = rng.choice(_STUDIO)
    shade = 1 - rng.uniform(0.06, 0.16)
    edge = tuple(round(part * shade) for part in colour)
    glow = Image.radial_gradient("L").resize((size[0] * 3 // 2, size[1] * 3 // 2))
    left, top = size[0] // 4, size[1] // 4 - rng.randint(-size[1] // 8, size[1] // 6)
    mask = glow.crop((left, top, left + size[0], top + size[1]))
    return Image.composite(Image.new("RGB", size, edge), Image.new("RGB", size, colour), mask)


def flat(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Something seen straight on: a table from above, a wall from the front."""
    return _part(rng.choice(FLAT), size, rng)


def room(size: tuple[int, int], horizon: int, rng: random.Random) -> Image.Image:
    """A wall out of focus down to ``horizon``, a floor or table before it."""
    width, height = size
    picture = Image.new("RGB", size)
    wall = _part(rng.choice(WALLS), (width, horizon), rng)
    picture.paste(wall.filter(ImageFilter.GaussianBlur(width * rng.uniform(0.004, 0.022))))
    floor = _part(rng.choice(FLOORS), (width, height - horizon), rng, stretch=2.0)
    inset, depth = floor.width * 0.26, float(floor.height)
    # The far edge of the floor shows all of the texture's width, the near edge its middle.
    quad = (0.0, 0.0, inset, depth, floor.width - inset, depth, float(floor.width), 0.0)
    near = floor.transform((width, height - horizon), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    picture.paste(near, (0, horizon))
    ImageDraw.Draw(picture).line([(0, horizon), (width, horizon)], fill=(70, 64, 60), width=max(1, width // 160))
    seam = (0, max(0, horizon - 6), width, horizon + 5)
    picture.paste(picture.crop(seam).filter(ImageFilter.GaussianBlur(1.4)), seam)
    return picture


def _part(name: str, size: tuple[int, int], rng: random.Random, stretch: float = 1.0) -> Image.Image:
    """A random part of a texture, mirrored at random and tinted a little."""
    side = max(size)
    texture = _texture(name, side, rng.randrange(_VARIANTS))
    width = min(texture.width, round(size[0] * rng.uniform(0.9, 1.25)))
    height = min(texture.height, round(width * size[1] / size[0] * stretch))
    left, top = rng.randint(0, texture.width - width), rng.randint(0, texture.height - height)
    part = texture.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    part = ImageEnhance.Color(part).enhance(rng.uniform(0.5, 1.1))
    return part if stretch != 1.0 else part.resize(size, Image.Resampling.BILINEAR)


@functools.lru_cache(maxsize=128)
def _texture(name: str, side: int, variant: int) -> Image.Image:
    """A square texture half as large again as the picture."""
    rng = random.Random(f"{name}/{variant}")
    texture = _TEXTURES[name](round(side * 1.5), rng)
    return ImageEnhance.Brightness(texture).enhance(rng.uniform(0.82, 1.12))


def _ramp(field: Array, dark: Pixel, light: Pixel) -> Image.Image:
    """Colours a field in -0.5..0.5 between two colours."""
    share = np.clip(field + np.float32(0.5), 0, 1)[..., None]
    low, high = np.asarray(dark, np.float32), np.asarray(light, np.float32)
    return Image.fromarray((low + (high - low) * share).astype(np.uint8))


def _grain_at(name: str, side: int) -> Array:
    """A grain enlarged to ``side``."""
    tile = ((grain(name) + np.float32(0.5)) * np.float32(255)).clip(0, 255).astype(np.uint8)
    large = Image.fromarray(tile).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) / np.float32(255) - np.float32(0.5)


def _planks(dark: Pixel, light: Pixel, side: int, rng: random.Random) -> Image.Image:
    picture = _ramp(_grain_at("wood", side) * np.float32(1.1), dark, light)
    count = rng.choice((3, 4, 5))
    draw = ImageDraw.Draw(picture, "RGBA")
    for board in range(count):
        top = board * side // count
        draw.rectangle((0, top, side, top + side // count), fill=(0, 0, 0, rng.randint(0, 46)))
        draw.line([(0, top), (side, top)], fill=(20, 12, 6, 170), width=max(1, side // 140))
    return picture


def _oak(side: int, rng: random.Random) -> Image.Image:
    return _planks((150, 108, 66), (214, 172, 122), side, rng)


def _walnut(side: int, rng: random.Random) -> Image.Image:
    return _planks((66, 44, 30), (122, 86, 60), side, rng)


def _panel(side: int, rng: random.Random) -> Image.Image:
    tone = rng.choice(((196, 204, 206), (206, 196, 180), (150, 166, 160)))
    dark = tuple(part - 24 for part in tone)
    return _planks((dark[0], dark[1], dark[2]), tone, side, rng).transpose(Image.Transpose.ROTATE_90)


def _marble(side: int, rng: random.Random) -> Image.Image:
    field = noise(rng.getrandbits(30), 5, side) + noise(rng.getrandbits(30), 13, side) * np.float32(0.4)
    veins = np.clip(np.float32(0.5) - np.abs(field) * np.float32(5), 0, 1)
    cloud = noise(rng.getrandbits(30), 4, side) * np.float32(0.5)
    return _ramp(np.float32(0.4) - veins * np.float32(0.7) + cloud * np.float32(0.4), (146, 148, 154), (244, 243, 240))


def _cloth(side: int, rng: random.Random) -> Image.Image:
    red, green, blue = rng.choice(((196, 186, 170), (120, 134, 150), (168, 132, 120), (110, 120, 100)))
    folds = noise(rng.getrandbits(30), 4, side) + noise(rng.getrandbits(30), 8, side) * np.float32(0.3)
    field = folds + _grain_at("weave", side) * np.float32(0.22)
    return _ramp(
        field, (red // 2, green // 2, blue // 2), (min(red + 40, 255), min(green + 40, 255), min(blue + 40, 255))
    )


def _concrete(side: int, rng: random.Random) -> Image.Image:
    field = noise(rng.getrandbits(30), 6, side) * np.float32(0.5) + noise(rng.getrandbits(30), 90, side) * np.float32(
        0.4
    )
    return _ramp(field, (116, 116, 118), (192, 190, 186))


def _grass(side: int, rng: random.Random) -> Image.Image:
    picture = _ramp(noise(rng.getrandbits(30), 10, side), (38, 78, 26), (92, 138, 52))
    draw = ImageDraw.Draw(picture)
    for _ in range(900):
        x, y = rng.randrange(side), rng.randrange(side)
        length, shade = rng.randint(side // 50, side // 18), rng.randint(-30, 50)
        tone = (70 + shade, 122 + shade, 42 + shade // 2)
        draw.line(
            [(x, y), (x + rng.randint(-length // 2, length // 2), y - length)], fill=tone, width=max(1, side // 180)
        )
    return picture


def _carpet(side: int, rng: random.Random) -> Image.Image:
    tone, other = rng.sample(((150, 66, 58), (62, 84, 116), (196, 176, 140), (98, 104, 98), (56, 60, 72)), 2)
    picture = _ramp(noise(rng.getrandbits(30), 100, side), tuple(p // 2 for p in tone), tone)  # type: ignore[arg-type]
    draw = ImageDraw.Draw(picture, "RGBA")
    step = side // rng.choice((3, 4, 5))
    for x in range(0, side, step):
        for y in range(0, side, step):
            half = step // 2
            draw.polygon(
                [(x + half, y), (x + step, y + half), (x + half, y + step), (x, y + half)],
                outline=(*other, 200),
                width=max(2, side // 60),
            )
    return picture


def _plaster(side: int, rng: random.Random) -> Image.Image:
    red, green, blue = rng.choice(((222, 214, 200), (186, 200, 206), (206, 190, 186), (196, 204, 184)))
    field = noise(rng.getrandbits(30), 5, side) * np.float32(0.6) + noise(rng.getrandbits(30), 60, side) * np.float32(
        0.25
    )
    return _ramp(
        field, (red - 40, green - 40, blue - 40), (min(red + 20, 255), min(green + 20, 255), min(blue + 20, 255))
    )


def _tiles(side: int, rng: random.Random) -> Image.Image:
    tone = rng.choice(((228, 232, 230), (150, 186, 190), (206, 196, 170), (120, 140, 170)))
    return _blocks(side, rng, tone, joint=(190, 188, 182), columns=rng.choice((4, 5, 6)), ratio=1.0, spread=14)


def _brick(side: int, rng: random.Random) -> Image.Image:
    return _blocks(side, rng, rng.choice(((166, 88, 66), (190, 178, 166), (136, 92, 80))), (170, 162, 152), 4, 0.42, 30)


def _blocks(
    side: int, rng: random.Random, tone: Pixel, joint: Pixel, columns: int, ratio: float, spread: int
) -> Image.Image:
    """Rows of bricks or tiles, every second row shifted where they are flat."""
    picture = Image.new("RGB", (side, side), joint)
    draw = ImageDraw.Draw(picture)
    width = side / columns
    height, gap = width * ratio, max(1, side // 120)
    for row in range(round(side / height) + 1):
        shift = width / 2 if ratio < 1 and row % 2 else 0.0
        for column in range(-1, columns + 1):
            change = rng.randint(-spread, spread)
            fill = tuple(max(0, min(255, part + change)) for part in tone)
            x, y = column * width + shift, row * height
            draw.rectangle((x + gap, y + gap, x + width - gap, y + height - gap), fill=fill)
    texture = _ramp(noise(rng.getrandbits(30), 70, side) * np.float32(0.5), (200, 200, 200), (255, 255, 255))
    return ImageChops.multiply(picture, texture)


def _bokeh(side: int, rng: random.Random) -> Image.Image:
    """Somewhere outdoors, far out of focus."""
    dark, light = rng.choice(
        (((34, 62, 30), (150, 182, 110)), ((40, 44, 66), (150, 140, 160)), ((96, 66, 40), (226, 190, 140)))
    )
    picture = _ramp(noise(rng.getrandbits(30), 6, side), dark, light)
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(46):
        x, y, radius = rng.randrange(side), rng.randrange(side), rng.randint(side // 40, side // 12)
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=(255, rng.randint(214, 250), rng.randint(160, 230), rng.randint(20, 90)),
        )
    return picture.filter(ImageFilter.GaussianBlur(side / 130))


def _shelf(side: int, rng: random.Random) -> Image.Image:
    """Books and boxes on boards."""
    picture = Image.new("RGB", (side, side), rng.choice(((226, 220, 210), (92, 84, 80), (160, 150, 138))))
    draw = ImageDraw.Draw(picture)
    for board in range(3):
        foot, x = (board + 1) * side // 3 - side // 50, 0
        while x < side:
            width, height = rng.randint(side // 36 + 1, side // 12 + 1), rng.randint(side // 6, side * 2 // 7)
            if rng.random() < 0.82:
                tone = tuple(rng.randint(50, 215) for _ in range(3))
                draw.rectangle((x, foot - height, x + width - side // 120 - 1, foot), fill=tone)
                draw.line(
                    [(x, foot - height * 3 // 4), (x + width - side // 120 - 1, foot - height * 3 // 4)],
                    fill=(235, 225, 200),
                    width=max(1, side // 140),
                )
            x += width
        draw.rectangle((0, foot, side, foot + side // 40), fill=(146, 108, 72))
    return picture


def _wallpaper(side: int, rng: random.Random) -> Image.Image:
    tone = rng.choice(((206, 200, 186), (170, 186, 180), (214, 190, 186), (120, 128, 150)))
    picture = Image.new("RGB", (side, side), tone)
    draw = ImageDraw.Draw(picture, "RGBA")
    step, stripes = side // 12, rng.random() < 0.5
    for x in range(0, side, step):
        if stripes:
            draw.rectangle((x, 0, x + step // 2, side), fill=(255, 255, 255, 46))
            continue
        for y in range(0, side, step):
            draw.ellipse((x + step // 4, y + step // 4, x + step * 3 // 5, y + step * 3 // 5), fill=(255, 255, 255, 70))
    return picture


def _curtain(side: int, rng: random.Random) -> Image.Image:
    tone = rng.choice(((200, 194, 186), (110, 128, 150), (160, 110, 104)))
    values = noise(rng.getrandbits(30), 16, side)[side // 2 : side // 2 + 1]
    return _ramp(np.repeat(values, side, axis=0), (tone[0] // 2, tone[1] // 2, tone[2] // 2), tone)


_TEXTURES: Final = {
    "oak": _oak, "walnut": _walnut, "panel": _panel, "marble": _marble, "cloth": _cloth, "concrete": _concrete,
    "grass": _grass, "carpet": _carpet, "plaster": _plaster, "tiles": _tiles, "brick": _brick, "bokeh": _bokeh,
    "shelf": _shelf, "wallpaper": _wallpaper, "curtain": _curtain,
}  # fmt: skip
