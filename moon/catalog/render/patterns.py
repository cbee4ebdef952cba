"""Pattern tiles: small pictures that repeat without a seam."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from moon.catalog.render.materials import RGB, Array, noise

_SIDE: Final = 144
_OVER: Final = 2
Paint = tuple[int, int, int]
Painter = Callable[["_Tile"], None]


class _Tile:
    """A canvas whose shapes wrap around its edges; coordinates in tiles (0..1)."""

    def __init__(self, base: RGB, accent: RGB, second: RGB, rng: random.Random) -> None:
        self.base, self.accent, self.second = (_paint(colour) for colour in (base, accent, second))
        self.rng = rng
        self.side = _SIDE * _OVER
        self.image = Image.new("RGB", (self.side, self.side), self.base)
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[tuple[float, float]], fill: Paint) -> None:
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                self.draw.polygon([((x + dx) * self.side, (y + dy) * self.side) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Paint) -> None:
        turn = math.tau / 20
        self.polygon([(x + radius * math.cos(i * turn), y + radius * math.sin(i * turn)) for i in range(20)], fill)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: Paint) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)


def _paint(colour: RGB) -> Paint:
    red, green, blue = (round(part * 255) for part in colour)
    return red, green, blue


def _striped(tile: _Tile) -> None:
    stripes = tile.rng.choice((2, 3))
    width = tile.rng.uniform(0.3, 0.5) / stripes
    for index in range(stripes):
        y = index / stripes
        tile.rect(0, y, 1, y + width, tile.accent if index % 2 == 0 else tile.second)


def _pinstriped(tile: _Tile) -> None:
    for index in range(3):
        tile.rect(index / 3, 0, index / 3 + 0.07, 1, tile.accent)


def _dotted(tile: _Tile) -> None:
    radius = tile.rng.uniform(0.12, 0.19)
    tile.disc(0.25, 0.25, radius, tile.accent)
    tile.disc(0.75, 0.75, radius, tile.accent)


def _checked(tile: _Tile) -> None:
    middle = _blend(tile.base, tile.accent)
    tile.rect(0, 0, 0.5, 1, middle)
    tile.rect(0, 0, 1, 0.5, middle)
    tile.rect(0, 0, 0.5, 0.5, tile.accent)


def _plaid(tile: _Tile) -> None:
    middle = _blend(tile.base, tile.accent)
    tile.rect(0.1, 0, 0.5, 1, middle)
    tile.rect(0, 0.1, 1, 0.5, middle)
    tile.rect(0.1, 0.1, 0.5, 0.5, tile.accent)
    tile.rect(0.7, 0, 0.76, 1, tile.second)
    tile.rect(0, 0.7, 1, 0.76, tile.second)


def _floral(tile: _Tile) -> None:
    for x, y, size in ((0.28, 0.3, 0.15), (0.78, 0.74, 0.17), (0.8, 0.2, 0.09), (0.25, 0.8, 0.09)):
        start = tile.rng.random()
        leaf = _paint((0.25, 0.5, 0.3))
        tile.polygon([(x, y), (x + size * 1.9, y + size * 0.7), (x + size * 1.3, y + size * 1.5)], leaf)
        petals = tile.accent if size > 0.1 else tile.second
        for petal in range(5):
            angle = (petal / 5 + start) * math.tau
            tile.disc(x + size * 0.7 * math.cos(angle), y + size * 0.7 * math.sin(angle), size * 0.52, petals)
        tile.disc(x, y, size * 0.42, tile.second if size > 0.1 else tile.accent)


def _chevron(tile: _Tile) -> None:
    for level, fill in ((0.0, tile.accent), (0.5, tile.second)):
        tile.polygon(
            [(0, level), (0.5, level + 0.4), (1, level), (1, level + 0.24), (0.5, level + 0.64), (0, level + 0.24)],
            fill,
        )


def _geometric(tile: _Tile) -> None:
    fills = (tile.base, tile.accent, tile.second, tile.base)
    for column in range(3):
        for row in range(3):
            x, y, step = column / 3, row / 3, 1 / 3
            corners = [(x, y), (x + step, y), (x + step, y + step), (x, y + step)]
            skip = tile.rng.randrange(4)
            tile.polygon(corners[:skip] + corners[skip + 1 :], tile.rng.choice(fills))


def _camouflage(tile: _Tile) -> None:
    seed = tile.rng.getrandbits(30)
    for offset, fill in enumerate((tile.accent, tile.second)):
        level = noise(seed + offset, 6, tile.side)
        tile.image.paste(fill, mask=Image.fromarray(np.where(level > 0.1, 255, 0).astype(np.uint8)))


def _marbled(tile: _Tile) -> None:
    field = noise(tile.rng.getrandbits(30), 4, tile.side) + noise(3, 11, tile.side) * np.float32(0.35)
    vein = np.clip(1 - np.abs(field) * np.float32(9), 0, 1) * np.float32(255)
    tile.image.paste(tile.accent, mask=Image.fromarray(vein.astype(np.uint8)))


def _starry(tile: _Tile) -> None:
    for x, y, size in ((0.25, 0.25, 0.17), (0.75, 0.75, 0.17), (0.75, 0.25, 0.07), (0.25, 0.75, 0.07)):
        star = [
            (
                x + size * (1 if i % 2 == 0 else 0.42) * math.sin(i * math.pi / 5),
                y - size * (1 if i % 2 == 0 else 0.42) * math.cos(i * math.pi / 5),
            )
            for i in range(10)
        ]
        tile.polygon(star, tile.accent)


PATTERNS: Final[dict[str, Painter | None]] = {
    "plain": None,
    "striped": _striped,
    "pinstriped": _pinstriped,
    "dotted": _dotted,
    "checked": _checked,
    "plaid": _plaid,
    "floral": _floral,
    "chevron": _chevron,
    "geometric": _geometric,
    "camouflage": _camouflage,
    "marbled": _marbled,
    "starry": _starry,
}


def pattern_tile(name: str, base: RGB, accent: RGB, second: RGB, rng: random.Random) -> Array | None:
    """The tile of a pattern, float32 RGB [side, side, 3] in 0..1; None for ``plain``."""
    painter = PATTERNS[name]
    if painter is None:
        return None
    tile = _Tile(base, accent, second, rng)
    painter(tile)
    return np.asarray(tile.image.reduce(_OVER), np.float32) / np.float32(255)


def _blend(first: Paint, second: Paint) -> Paint:
    red, green, blue = ((a + b) // 2 for a, b in zip(first, second, strict=True))
    return red, green, blue
