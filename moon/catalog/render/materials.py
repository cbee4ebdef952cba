"""Colours, finishes and the surfaces made of them.

Colours are RGB floats in 0..1. A grain is a tileable luminance texture, float32 [256, 256] in about -0.5..0.5.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
RGB = tuple[float, float, float]
GRAIN_SIDE: Final = 256

COLOURS: Final[dict[str, RGB]] = {
    name: (red / 255, green / 255, blue / 255)
    for name, (red, green, blue) in {
        "black": (38, 38, 42),
        "white": (242, 241, 236),
        "grey": (142, 145, 150),
        "navy": (34, 47, 96),
        "blue": (46, 112, 205),
        "teal": (20, 138, 138),
        "green": (50, 146, 74),
        "olive": (114, 118, 56),
        "yellow": (246, 203, 48),
        "orange": (238, 124, 36),
        "red": (208, 38, 44),
        "burgundy": (122, 26, 48),
        "pink": (242, 148, 178),
        "purple": (124, 76, 168),
        "brown": (118, 76, 48),
        "beige": (216, 194, 160),
    }.items()
}


@dataclass(frozen=True, kw_only=True)
class Finish:
    """How a material answers light."""

    gloss: float
    """Strength of the highlight."""
    focus: int
    """The highlight's exponent is ``2 ** focus``."""
    grain: str = ""
    """Name of the texture; empty: smooth."""
    depth: float = 0.0
    """Strength of the texture."""
    folds: float = 0.0
    """Strength of cloth-like wrinkles."""
    opacity: float = 1.0


FINISHES: Final[dict[str, Finish]] = {
    "ceramic": Finish(gloss=0.55, focus=5),
    "stoneware": Finish(gloss=0.14, focus=3, grain="speckle", depth=0.5),
    "porcelain": Finish(gloss=0.75, focus=6),
    "enamel": Finish(gloss=0.6, focus=5, grain="speckle", depth=0.16),
    "glass": Finish(gloss=0.95, focus=6, opacity=0.72),
    "steel": Finish(gloss=0.6, focus=4, grain="brushed", depth=0.14),
    "aluminium": Finish(gloss=0.42, focus=3, grain="brushed", depth=0.1),
    "plastic": Finish(gloss=0.4, focus=5),
    "rubber": Finish(gloss=0.12, focus=3),
    "silicone": Finish(gloss=0.16, focus=3),
    "cotton": Finish(gloss=0.0, focus=1, grain="weave", depth=0.18, folds=0.33),
    "linen": Finish(gloss=0.0, focus=1, grain="weave", depth=0.42, folds=0.39),
    "wool": Finish(gloss=0.0, focus=1, grain="knit", depth=0.5, folds=0.2),
    "velvet": Finish(gloss=0.16, focus=2, grain="weave", depth=0.1, folds=0.16),
    "silk": Finish(gloss=0.3, focus=3, folds=0.52),
    "denim": Finish(gloss=0.0, focus=1, grain="twill", depth=0.6, folds=0.33),
    "canvas": Finish(gloss=0.0, focus=1, grain="weave", depth=0.4, folds=0.2),
    "nylon": Finish(gloss=0.22, focus=3, grain="weave", depth=0.1, folds=0.23),
    "polyester": Finish(gloss=0.12, focus=3, grain="weave", depth=0.12, folds=0.26),
    "leather": Finish(gloss=0.28, focus=3, grain="leather", depth=0.3, folds=0.1),
    "suede": Finish(gloss=0.0, focus=1, grain="leather", depth=0.22, folds=0.1),
    "mesh": Finish(gloss=0.05, focus=2, grain="mesh", depth=0.5, folds=0.07),
    "wood": Finish(gloss=0.12, focus=3, grain="wood", depth=0.5),
    "rattan": Finish(gloss=0.1, focus=3, grain="rattan", depth=0.7),
    "concrete": Finish(gloss=0.0, focus=1, grain="speckle", depth=0.3),
    "paper": Finish(gloss=0.04, focus=2, grain="speckle", depth=0.08),
}


@dataclass(frozen=True, eq=False)
class Surface:
    """What a part is made of: a finish in one colour, or in a pattern repeated over it."""

    colour: RGB
    finish: Finish
    tile: Array | None = None
    """Pattern, RGB [side, side, 3]; None: the plain colour."""
    repeat: float = 3.0
    """Tiles across the canvas."""
    glow: float = 0.0
    """Light of its own, as a share of its colour."""

    def plain(self, shade: float = 1.0) -> Surface:
        """The same without pattern, darker or lighter."""
        red, green, blue = (min(1.0, part * shade) for part in self.colour)
        return replace(self, colour=(red, green, blue), tile=None)

    def albedo(self, u: Array, v: Array) -> Array:
        """Colour [h, w, 3] at canvas coordinates ``u``, ``v`` (each [h, w])."""
        if self.tile is None:
            colour = np.broadcast_to(np.asarray(self.colour, np.float32), (*u.shape, 3))
        else:
            colour = sample(self.tile, u * np.float32(self.repeat), v * np.float32(self.repeat))
        if not self.finish.grain:
            return colour
        texture = sample(grain(self.finish.grain), u * np.float32(2), v * np.float32(2))
        return colour * (1 + np.float32(self.finish.depth) * texture)[..., None]


def sample(tile: Array, u: Array, v: Array) -> Array:
    """Nearest entries of a tileable ``tile`` [side, side, ...] at ``u``, ``v`` counted in tiles."""
    side = tile.shape[0]
    rows = (v * np.float32(side)).astype(np.int32) % side
    columns = (u * np.float32(side)).astype(np.int32) % side
    return tile[rows, columns]


def surface(colour: str, material: str) -> Surface:
    """A plain surface by the names of its colour and material."""
    return Surface(COLOURS[colour], FINISHES[material])


CHROME: Final = Surface((0.78, 0.79, 0.82), FINISHES["steel"])
BRASS: Final = Surface((0.80, 0.64, 0.34), FINISHES["steel"])
RUBBER: Final = Surface((0.16, 0.16, 0.18), FINISHES["rubber"])
DARK: Final = Surface((0.10, 0.10, 0.11), FINISHES["plastic"])
LIGHT: Final = Surface((0.95, 0.95, 0.94), FINISHES["plastic"])
OAK: Final = Surface((0.74, 0.56, 0.36), FINISHES["wood"])
WALNUT: Final = Surface((0.42, 0.28, 0.19), FINISHES["wood"])
PAPER: Final = Surface((0.95, 0.93, 0.87), FINISHES["paper"])


def noise(seed: int, cells: int, side: int = GRAIN_SIDE) -> Array:
    """Smooth tileable noise [side, side] in -0.5..0.5 with ``cells`` random values a side."""
    values = np.random.default_rng(seed).integers(0, 256, (cells, cells), dtype=np.uint8)
    wrapped = Image.fromarray(np.tile(values, (3, 3))).resize((3 * side, 3 * side), Image.Resampling.BICUBIC)
    return np.asarray(wrapped, np.float32)[side : 2 * side, side : 2 * side] / np.float32(255) - np.float32(0.5)


@functools.cache
def grain(name: str) -> Array:
    """The texture of a finish by name."""
    row, column = np.indices((GRAIN_SIDE, GRAIN_SIDE), dtype=np.int32)
    wave = _wave
    fine, coarse = noise(1, 128), noise(2, 24)
    recipes = {
        "weave": lambda: wave(column, 4) * wave(row, 4) * 0.8 + fine * 0.4,
        "twill": lambda: wave(column + row, 6) * 0.5 + fine * 0.6 + coarse * 0.25,
        "knit": lambda: wave(column, 12) * 0.5 + wave(row + np.abs(column % 12 - 6), 8) * 0.4 + fine * 0.2,
        "leather": lambda: np.abs(noise(3, 48)) * 1.6 - 0.4 + fine * 0.3,
        "speckle": lambda: np.where(noise(4, 96) > 0.3, -0.55, 0.05) + fine * 0.2,
        "brushed": lambda: _streaks(5, rows=GRAIN_SIDE, columns=4),
        "wood": lambda: _streaks(6, rows=6, columns=64) * 0.8 + _streaks(7, rows=3, columns=GRAIN_SIDE) * 0.5,
        "rattan": lambda: wave(row + 8 * (column // 16 % 2), 16) * wave(column, 16) * 1.2,
        "mesh": lambda: np.where((column % 8 < 3) & ((row + column // 8 % 2 * 4) % 8 < 4), -0.6, 0.1),
    }
    return np.asarray(recipes[name](), np.float32)


def _wave(index: npt.NDArray[np.int32], period: int) -> Array:
    """A triangle wave in -0.5..0.5."""
    return np.abs(index % period - period // 2).astype(np.float32) / np.float32(period // 2) - np.float32(0.5)


def _streaks(seed: int, rows: int, columns: int) -> Array:
    """Noise stretched along one axis."""
    values = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    wide = Image.fromarray(values).resize((GRAIN_SIDE, GRAIN_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(wide, np.float32) / np.float32(255) - np.float32(0.5)


@functools.cache
def wrinkles() -> tuple[Array, Array]:
    """Slopes of crumpled cloth along x and y, tileable, about -1..1."""
    height = noise(8, 7) + noise(9, 13) * np.float32(0.5)
    scale = np.float32(16)
    return (height - np.roll(height, 1, 1)) * scale, (height - np.roll(height, 1, 0)) * scale
