"""A small vocabulary for drawing things that look solid.

A canvas is a unit square, y pointing down. Every part is a mask with a surface and a normal at each pixel; one light
from the upper left shades them all.

    art.tube(arc(0.75, 0.5, 0.12, 0.2, -90, 90), 0.05, art.body)      # a handle
    art.turned([(0.2, 0.3), (0.8, 0.26)], art.body)                   # a cup, turned on a lathe
    art.fill(smooth(outline), art.body, bulge=0.1)                    # a cushion
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from moon.catalog.render.materials import Array, Surface, sample, wrinkles

T = TypeVar("T")
Point = tuple[float, float]

_OVER: Final = 2
"""Masks are drawn this much larger and reduced, for smooth edges."""
_LIGHT: Final = (-0.48, -0.56, 0.675)
_HALF: Final = (-0.262, -0.306, 0.915)
"""Halfway between the light and the eye."""


def smooth(points: Sequence[Point], closed: bool = True, steps: int = 6) -> list[Point]:
    """A Catmull-Rom curve through ``points``."""
    count = len(points)
    curve = []
    for index in range(count if closed else count - 1):
        if closed:
            p0, p1, p2, p3 = (points[(index + k) % count] for k in (-1, 0, 1, 2))
        else:
            p0, p1, p2, p3 = (points[min(max(index + k, 0), count - 1)] for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            a, b = -0.5 * t + t * t - 0.5 * t**3, 1 - 2.5 * t * t + 1.5 * t**3
            c, d = 0.5 * t + 2 * t * t - 1.5 * t**3, -0.5 * t * t + 0.5 * t**3
            curve.append((a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0], a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1]))
    return curve if closed else [*curve, points[-1]]


def arc(cx: float, cy: float, rx: float, ry: float, start: float = 0, end: float = 360, steps: int = 36) -> list[Point]:
    """Points of an ellipse from ``start`` to ``end`` degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def box(x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> list[Point]:
    """A rectangle with rounded corners."""
    if corner <= 0:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    corner = min(corner, (x1 - x0) / 2, (y1 - y0) / 2)
    centres = (
        (x1 - corner, y1 - corner, 0),
        (x0 + corner, y1 - corner, 90),
        (x0 + corner, y0 + corner, 180),
        (x1 - corner, y0 + corner, 270),
    )
    return [point for x, y, turn in centres for point in arc(x, y, corner, corner, turn, turn + 90, 6)]


def mirror(points: Sequence[Point], axis: float = 0.5) -> list[Point]:
    """Closes an outline given by its left half, from top to bottom."""
    return [*points, *flip(points, axis)[::-1]]


def flip(points: Sequence[Point], axis: float = 0.5) -> list[Point]:
    """Points on the other side of a vertical axis."""
    return [(2 * axis - x, y) for x, y in points]


@dataclass(frozen=True, eq=False)
class _Patch:
    """Coverage [h, w] in 0..1 of one part, and the canvas coordinates of its pixels."""

    left: int
    top: int
    cover: Array
    x: Array
    y: Array


class Art:
    """A canvas and what a draughtsman of one product has at hand: its surfaces, its form, its little chances."""

    def __init__(self, size: int, body: Surface, trim: Surface, form: str, rng: random.Random, mark: int = 0) -> None:
        self.size, self.body, self.trim, self.form, self._rng, self._mark = size, body, trim, form, rng, mark
        self._colour = np.zeros((size, size, 3), np.float32)
        self._alpha = np.zeros((size, size), np.float32)

    def vary(self, low: float, high: float) -> float:
        """A measure of this design."""
        return self._rng.uniform(low, high)

    def pick(self, *options: T) -> T:
        """A choice of this design."""
        return self._rng.choice(options)

    def image(self) -> Image.Image:
        """The drawing, RGBA."""
        alpha = self._alpha[..., None]
        colour = self._colour / np.maximum(alpha, np.float32(1e-4))
        pixels = np.concatenate([np.clip(colour, 0, 1), alpha], axis=2) * np.float32(255) + np.float32(0.5)
        return Image.fromarray(pixels.astype(np.uint8), "RGBA")

    def fill(
        self,
        points: Sequence[Point],
        surface: Surface,
        *,
        bulge: float = 0.05,
        holes: Sequence[Sequence[Point]] = (),
        tilt: Point = (0.0, 0.0),
    ) -> None:
        """A part with a rounded edge.

        Args:
            points: outline.
            surface: what it is made of.
            bulge: width of the rounded edge; negative makes a hollow.
            holes: outlines cut out.
            tilt: which way the whole part leans, as the x and y of its normal.
        """
        patch = self._polygon(points, holes)
        if patch is None:
            return
        reach = max(1, round(abs(bulge) * self.size * 0.6))
        slope_x, slope_y = _edge_slopes(patch.cover, reach)
        strength = np.float32(math.copysign(1.5 * reach, bulge))
        nx, ny = slope_x * strength + np.float32(tilt[0]), slope_y * strength + np.float32(tilt[1])
        if surface.finish.folds:
            fold_x, fold_y = wrinkles()
            folds = np.float32(surface.finish.folds)
            nx, ny = nx + sample(fold_x, patch.x, patch.y) * folds, ny + sample(fold_y, patch.x, patch.y) * folds
        self._paint(patch, surface, nx, ny, patch.x, patch.y)

    def disc(self, cx: float, cy: float, rx: float, ry: float, surface: Surface, bulge: float = 0.03) -> None:
        """An ellipse."""
        self.fill(arc(cx, cy, rx, ry), surface, bulge=bulge)

    def ring(self, cx: float, cy: float, rx: float, ry: float, width: float, surface: Surface) -> None:
        """An ellipse with a hole."""
        self.fill(arc(cx, cy, rx, ry), surface, bulge=width, holes=[arc(cx, cy, rx - width, ry - width)])

    def tube(self, points: Sequence[Point], width: float, surface: Surface) -> None:
        """A round bar along a line."""
        self.fill(_stroke(points, width), surface, bulge=width * 0.7)

    def line(self, points: Sequence[Point], width: float, surface: Surface) -> None:
        """A flat mark along a line: a seam, a zip, a hand of a clock."""
        self.fill(_stroke(points, width), surface, bulge=width * 0.2)

    def ball(self, cx: float, cy: float, radius: float, surface: Surface, spin: float = 0.0) -> None:
        """A sphere; its pattern is turned by ``spin``."""
        patch = self._polygon(arc(cx, cy, radius, radius, steps=60))
        if patch is None:
            return
        nx: Array = (patch.x - np.float32(cx)) / np.float32(radius)
        ny: Array = (patch.y - np.float32(cy)) / np.float32(radius)
        self._paint(
            patch,
            surface,
            nx,
            ny,
            _unroll(nx) * np.float32(radius) + np.float32(spin),
            _unroll(ny) * np.float32(radius),
        )

    def turned(
        self, profile: Sequence[Point], surface: Surface, *, cx: float = 0.5, squash: float = 0.16, soft: bool = True
    ) -> None:
        """A body turned on a lathe, seen from slightly above.

        Args:
            profile: ``(y, radius)`` from top to bottom.
            surface: what it is made of; its pattern wraps around.
            cx: the axis.
            squash: height of a horizontal circle over its width.
            soft: a smooth curve through the profile, else straight lines.
        """
        line = smooth(profile, closed=False) if soft and len(profile) > 2 else list(profile)
        y0, (y1, foot) = line[0][0], line[-1]
        left, right = [(cx - r, y) for y, r in line], [(cx + r, y) for y, r in line]
        patch = self._polygon([*left, *arc(cx, y1, foot, foot * squash, 180, 0, 24), *right[::-1]])
        if patch is None:
            return
        heights = np.asarray([y for y, _ in line])
        radii = np.interp(patch.y[:, 0], heights, [r for _, r in line]).astype(np.float32)[:, None]
        lean = np.clip(_fall(radii, max(2, self.size // 48)) * np.float32(self.size), -1.5, 1.5)
        u: Array = np.clip((patch.x - np.float32(cx)) / np.maximum(radii, np.float32(1e-3)), -1, 1)
        facing = np.sqrt(1 - u * u)
        length = np.sqrt(1 + lean * lean)
        around = _unroll(u) * np.maximum(radii, np.float32(0.02)) + np.float32(cx)
        down = patch.y - np.float32(y0) - np.float32(squash) * radii * facing
        self._paint(patch, surface, u / length, lean / length, around, down + np.float32(1))

    def opening(self, y: float, radius: float, inside: Surface, *, cx: float = 0.5, squash: float = 0.16) -> None:
        """The mouth of a turned body: a rim and the hollow behind it."""
        self.disc(cx, y, radius, radius * squash, self.body.plain(1.12), bulge=0.01)
        self.disc(cx, y + radius * 0.01, radius * 0.91, radius * squash * 0.84, inside.plain(0.62), bulge=-0.05)

    def mark(self, cx: float, cy: float, size: float, surface: Surface | None = None) -> None:
        """The brand's sign."""
        for outline in MARKS[self._mark % len(MARKS)]:
            self.fill([(cx + x * size, cy + y * size) for x, y in outline], surface or self.trim.plain(), bulge=0.004)

    def _polygon(self, points: Sequence[Point], holes: Sequence[Sequence[Point]] = ()) -> _Patch | None:
        """The mask of an outline, None where it lies outside the canvas."""
        size = self.size
        xs, ys = [x * size for x, _ in points], [y * size for _, y in points]
        left, top = max(0, int(min(xs)) - 1), max(0, int(min(ys)) - 1)
        right, bottom = min(size, int(max(xs)) + 2), min(size, int(max(ys)) + 2)
        if right <= left or bottom <= top:
            return None
        mask = Image.new("L", ((right - left) * _OVER, (bottom - top) * _OVER))
        draw = ImageDraw.Draw(mask)
        for outline, value in [(points, 255), *((hole, 0) for hole in holes)]:
            draw.polygon([((x * size - left) * _OVER, (y * size - top) * _OVER) for x, y in outline], fill=value)
        cover = np.asarray(mask.reduce(_OVER), np.float32) / np.float32(255)
        y, x = (np.indices(cover.shape) + np.asarray([[[top]], [[left]]])).astype(np.float32) / np.float32(size)
        return _Patch(left, top, cover, x, y)

    def _paint(self, patch: _Patch, surface: Surface, nx: Array, ny: Array, u: Array, v: Array) -> None:
        """Lights a part and lays it over what is there."""
        excess: Array = np.sqrt(np.maximum(nx * nx + ny * ny, np.float32(1)))
        nx, ny = nx / excess, ny / excess
        nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))
        diffuse = np.maximum(nx * np.float32(_LIGHT[0]) + ny * np.float32(_LIGHT[1]) + nz * np.float32(_LIGHT[2]), 0)
        bounce = np.maximum(nx, 0) * (1 - nz) * np.float32(0.16)
        light = np.float32(0.4) + np.float32(0.88) * diffuse + bounce + np.float32(surface.glow)
        colour = surface.albedo(u, v) * light[..., None]
        finish = surface.finish
        cover = patch.cover
        if finish.gloss:
            shine = np.maximum(nx * np.float32(_HALF[0]) + ny * np.float32(_HALF[1]) + nz * np.float32(_HALF[2]), 0)
            for _ in range(finish.focus):
                shine = shine * shine
            shine *= np.float32(finish.gloss)
            colour = colour + shine[..., None]
            if finish.opacity < 1:  # a clear body is densest at its edge and in its highlight
                cover = cover * np.minimum(np.float32(finish.opacity) + (1 - nz) * np.float32(0.4) + shine, 1)
        rows, columns = cover.shape
        window = np.s_[patch.top : patch.top + rows, patch.left : patch.left + columns]
        keep = 1 - cover
        self._colour[window] = self._colour[window] * keep[..., None] + np.clip(colour, 0, 1) * cover[..., None]
        self._alpha[window] = self._alpha[window] * keep + cover


def _unroll(sine: Array) -> Array:
    """About the angle of a sine: how far around a cylinder a pixel lies."""
    square = sine * sine
    return sine * (1 + square * (np.float32(0.16) + square * np.float32(0.25)))


def _fall(radii: Array, reach: int) -> Array:
    """How fast ``radii`` [rows, 1] shrink downwards, a row, averaged over a few rows."""
    padded = np.pad(radii, ((2 * reach, 2 * reach), (0, 0)), mode="reflect", reflect_type="odd")
    slopes = (padded[: -2 * reach] - padded[2 * reach :]) / np.float32(2 * reach)
    return (slopes[: -2 * reach] + slopes[reach:-reach] + slopes[2 * reach :]) / np.float32(3)


def _stroke(points: Sequence[Point], width: float) -> list[Point]:
    """The outline of a line with round ends."""
    half = width / 2
    normals = []
    for index, _ in enumerate(points):
        (ax, ay), (bx, by) = points[max(index - 1, 0)], points[min(index + 1, len(points) - 1)]
        length = math.hypot(bx - ax, by - ay) or 1.0
        normals.append(((ay - by) / length, (bx - ax) / length))
    one_side = [(x + nx * half, y + ny * half) for (x, y), (nx, ny) in zip(points, normals, strict=True)]
    other_side = [(x - nx * half, y - ny * half) for (x, y), (nx, ny) in zip(points, normals, strict=True)]
    return [*one_side, *_cap(points[-1], normals[-1], half), *other_side[::-1], *_cap(points[0], normals[0], -half)]


def _cap(end: Point, normal: Point, half: float) -> list[Point]:
    """A half circle at the end of a stroke."""
    (x, y), (nx, ny) = end, normal
    turns = [math.radians(step * 30) for step in range(1, 6)]
    return [
        (x + half * (nx * math.cos(t) + ny * math.sin(t)), y + half * (ny * math.cos(t) - nx * math.sin(t)))
        for t in turns
    ]


def _edge_slopes(cover: Array, reach: int) -> tuple[Array, Array]:
    """How steeply a blurred mask falls along x and y: the normals of a part with a rounded edge."""
    # Integer sums are exact, so the blur is the same everywhere; what it eats is padded, all but one pixel a side.
    wide = np.pad((cover * 255).astype(np.int64), 2 * reach + 1)
    for axis in (0, 1):
        for _ in range(2):
            sums = np.cumsum(wide, axis=axis)
            width = 2 * reach
            wide = sums[width:] - sums[:-width] if axis == 0 else sums[:, width:] - sums[:, :-width]
    height = wide.astype(np.float32) / np.float32(255 * (2 * reach) ** 4)
    return height[1:-1, :-2] - height[1:-1, 2:], height[:-2, 1:-1] - height[2:, 1:-1]


def _star(points: int, inner: float) -> list[Point]:
    spokes = [(1.0 if i % 2 == 0 else inner, math.pi * i / points) for i in range(2 * points)]
    return [(r * math.sin(t), -r * math.cos(t)) for r, t in spokes]


MARKS: Final[tuple[tuple[list[Point], ...], ...]] = (
    (_star(5, 0.42),),
    ([(-1, 0.8), (0, -0.9), (1, 0.8), (0.45, 0.8), (0, 0.0), (-0.45, 0.8)],),
    (arc(0, 0, 0.9, 0.9, 40, 320, 20) + arc(0.25, 0, 0.65, 0.65, 310, 50, 20),),
    (arc(-0.45, 0, 0.42, 0.8), arc(0.45, 0, 0.42, 0.8)),
    ([(-1, -0.3), (0.1, -0.3), (-0.1, -0.9), (1, 0.15), (-0.3, 0.15), (0.1, 0.9)],),
    ([(-1, 0.7), (-1, -0.6), (-0.4, 0.1), (0, -0.9), (0.4, 0.1), (1, -0.6), (1, 0.7)],),
    (box(-0.9, -0.8, 0.9, -0.35), box(-0.9, -0.15, 0.4, 0.3), box(-0.9, 0.5, 0.9, 0.95)),
    ([(0, -1), (0.75, 0), (0, 1), (-0.75, 0)],),
    (_star(4, 0.3),),
    (smooth([(-1, 0.2), (-0.4, 0.55), (1, -0.8), (-0.3, 0.95)]),),
    (arc(0, 0.2, 0.75, 0.75), [(-0.7, 0.0), (0, -1), (0.7, 0.0)]),
    (box(-0.3, -0.95, 0.3, 0.95), box(-0.95, -0.3, 0.95, 0.3)),
)
"""Brand signs: outlines in -1..1."""
