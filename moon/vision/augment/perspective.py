"""Another viewpoint: a small homography of the product alone, and another distance."""

from __future__ import annotations

import random
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.vision.augment.clean import placed
from moon.vision.augment.cutout import CutOut

_SHIFT: Final = 0.12
"""Largest move of a corner, as a share of the picture's side."""
_NEAR, _FAR = 0.9, 0.6
"""Share of the picture that the product fills, seen from near and from far."""

Points = npt.NDArray[np.float64]


def turned(product: CutOut, rng: random.Random) -> CutOut:
    """The product seen from slightly elsewhere, in a picture of the same size."""
    width, height = product.picture.size
    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    # Corners are pulled outwards in the source, so that the product never leaves the picture.
    moved = [(x + (2 * x - 1) * rng.uniform(0, _SHIFT), y + (2 * y - 1) * rng.uniform(0, _SHIFT)) for x, y in corners]
    scale = np.array([width, height], dtype=np.float64)
    coefficients = _homography(np.array(corners) * scale, np.array(moved) * scale)
    layer = product.picture.convert("RGBa").transform(
        (width, height), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
    )
    seen = CutOut(layer.convert("RGBA"), product.exact)
    return placed(seen, (width, height), rng.uniform(_FAR, _NEAR), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7))


def _homography(target_42: Points, source_42: Points) -> tuple[float, ...]:
    """Pillow's eight coefficients that take each target point to its source point."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target_42, source_42, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows), np.array(values)).tolist())
