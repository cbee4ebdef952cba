"""Arithmetic on small maps of a picture that the detectors share.

Shapes: a picture is [H, W, 3], a map [H, W]; boxes here are ``x0, y0, x1, y1`` in cells of the map.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.vision.boxes import Box

Map = npt.NDArray[np.float32]

SIDE: Final = 64
"""Longer side of the copy that detectors look at: finer costs time and finds no better boxes."""
OVERSAMPLED: Final = 3
"""A cell is the mean of at least so many pixels a side, where the picture has them."""
_MIN_CELLS: Final = 8
_BYTES: Final = np.arange(256, dtype=np.float32) / 255.0
_LINEAR: Final = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)
"""A byte of sRGB to its linear value."""
_XYZ: Final = (
    np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    / np.array([[0.95047], [1.0], [1.08883]])
).astype(np.float32)
"""Linear sRGB to XYZ over the D65 white point."""


def lab(image: Image.Image, side: int = SIDE) -> Map:
    """A small copy of an RGB picture in CIE L*a*b* (D65): [H, W, 3], L in 0..100."""
    scale = side / max(image.size)
    size = (max(round(image.width * scale), _MIN_CELLS), max(round(image.height * scale), _MIN_CELLS))
    xyz = _LINEAR[np.asarray(image.resize(size, Image.Resampling.BOX))] @ _XYZ.T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ring(picture: Map, width: int = 2) -> Map:
    """The outer ``width`` cells of a picture, clockwise from the top left corner: [N, channels].

    Neighbours in the result are neighbours in the picture.
    """
    strips = []
    for view in (picture, picture[::-1, ::-1]):  # top and right side, then bottom and left side
        strips += [view[:width, :-width].swapaxes(0, 1), view[:-width, -width:]]
    return np.concatenate([strip.reshape(-1, picture.shape[-1]) for strip in strips])


def blur(values: Map, radius: int) -> Map:
    """Mean over a window of ``2 * radius + 1`` cells each way, edges repeated; channels are kept apart."""
    side = 2 * radius + 1
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)


def stretch(values: Map) -> Map:
    """A map scaled so that its 2nd percentile is 0 and its 98th is 1; all 0 where it is flat."""
    low, high = np.percentile(values, [2, 98])
    if high - low < 1e-6:
        return np.zeros_like(values)
    stretched: Map = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return stretched


def best_sum_box(gain: Map) -> Box:
    """The box with the largest sum of a map of positive and negative gains, exactly.

    Kadane's maximum sub-array along x for every pair of rows at once, inside the box of the positive gains.
    """
    rows, columns = np.nonzero(gain > 0)
    x, y = (int(columns.min()), int(rows.min())) if rows.size else (0, 0)
    if rows.size:
        gain = gain[y : rows.max() + 1, x : columns.max() + 1]
    height, width = gain.shape
    below = np.concatenate([np.zeros((1, width)), np.cumsum(gain, axis=0, dtype=np.float64)])
    tops, bottoms = np.triu_indices(height + 1, 1)
    sums = np.zeros((len(tops), width + 1))
    np.cumsum(below[bottoms] - below[tops], axis=1, out=sums[:, 1:])
    gains = sums[:, 1:] - np.minimum.accumulate(sums[:, :-1], axis=1)
    pair, last = divmod(int(gains.argmax()), width)
    first = int(sums[pair, : last + 1].argmin())
    return Box(float(x + first), float(y + tops[pair]), float(x + last + 1), float(y + bottoms[pair]))


def best_iou_box(membership: Map, rounds: int = 8) -> tuple[Box, float]:
    """The box with the highest soft IoU with a map of values in [0, 1], and that IoU.

    Soft IoU of a box is ``inside / (area + total - inside)``. Dinkelbach's method turns its maximum into a few exact
    `best_sum_box` searches: a box beats ratio r where the sum of ``membership * (1 + r) - r`` over it exceeds
    ``r * total``.
    """
    height, width = membership.shape
    total = float(membership.sum())
    box, ratio = Box(0.0, 0.0, float(width), float(height)), total / membership.size
    for _ in range(rounds):
        found = best_sum_box(membership * (1 + ratio) - ratio)
        inside = inside_sum(membership, found)
        better = inside / (found.area + total - inside)
        if better <= ratio + 1e-6:
            break
        box, ratio = found, better
    return box, ratio


def inside_sum(values: Map, box: Box) -> float:
    """Sum of a map over a box of whole cells."""
    return float(values[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)].sum())


def to_pixels(box: Box, values: Map, image: Image.Image) -> Box:
    """A box of cells as a box of the picture's pixels."""
    return box.scaled(image.width / values.shape[1], image.height / values.shape[0])
