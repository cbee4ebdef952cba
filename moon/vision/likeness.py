"""How much two pictures differ once one is laid over the other: the check behind a perceptual hash.

A hash knows no colour and takes products of one outline for each other. Here two thumbnails are compared pixel by
pixel after what a copy may have changed is undone, each within narrow bounds: a crop or a shift (an affine map by ECC,
Evangelidis and Psarakis, 2008), brightness and white balance, and saturation. [R]: the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moon.vision.hashing import THUMB, WINDOWS, Hashes, Ints, near_pairs
from moon.vision.resize import Pixels

Floats = NDArray[np.float32]

_SCALE, _SHEAR, _SHIFT = 0.14, 0.05, 0.08
"""Largest change of size, shear and shift of the centre, as shares of the side."""
_GAIN: Final = (0.8, 1.25)
_SATURATION: Final = (0.7, 1.4)
_CLIPPED: Final = 250.0
"""Values from here on may have been cut off and do not take part in fitting colours."""
_FITTED: Final = 8
"""Pixels below which no colours are fitted."""
_RIDGE: Final = 4.0
_STOP: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 1e-3)
_ALL: Final = np.full((THUMB, THUMB), 255, np.uint8)
"""The mask of ECC: every pixel counts."""
_TILE: Final = 7
_COARSE: Final = 8
_COARSE_DIFFERENCE: Final = 16.0
"""Coarse difference above which a pair is dropped; a copy that lost 4 % of a side stays below it 19 times in 20."""
_AVERAGED: Final = 4096
"""Pictures averaged at a time; bounds memory."""
_COMPARED: Final = 1 << 17
"""Pairs compared coarsely at a time; bounds memory."""
_FLAT: Final = 4.0
"""Standard deviation in levels below which a picture is flat."""


def difference(a: Pixels, b: Pixels, enough: float) -> float:
    """How much two (32, 32, 3) thumbnails differ where they differ most, best of unmoved and aligned.

    Args:
        a: one thumbnail.
        b: the other; it is the one that is moved and recoloured.
        enough: an unmoved difference up to this is returned without trying to align.

    Returns:
        Root mean square difference in levels of 255, in the worst of all 7 x 7 tiles: over the whole picture a small
        product would drown in its background.
    """
    first, second = (np.asarray(cv2.GaussianBlur(thumb.astype(np.float32), (3, 3), 0), np.float32) for thumb in (a, b))
    unmoved = _worst_tile(first, second, np.ones((THUMB, THUMB), bool))
    if unmoved <= enough:
        return unmoved
    move = _alignment(first.mean(axis=2), second.mean(axis=2))
    if move is None:
        return unmoved
    columns, rows = np.meshgrid(np.arange(THUMB), np.arange(THUMB))
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in move)
    inside = (x >= 0) & (x <= THUMB - 1) & (y >= 0) & (y <= THUMB - 1)
    moved = cv2.warpAffine(second, move, (THUMB, THUMB), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return min(unmoved, _worst_tile(first, np.asarray(moved, np.float32), inside))


def _worst_tile(a: Floats, b: Floats, inside: NDArray[np.bool_]) -> float:
    """Root mean square difference in the worst tile; only what is ``inside`` both pictures counts."""
    squares = np.zeros((THUMB, THUMB), np.float32)
    squares[inside] = _colour_squares(a[inside], b[inside])
    margin = _TILE // 2
    means = cv2.boxFilter(squares, -1, (_TILE, _TILE))[margin:-margin, margin:-margin]
    return float(np.sqrt(max(float(means.max()), 0.0)))


def _alignment(a: Floats, b: Floats) -> Floats | None:
    """The (2, 3) map from places in ``a`` to places in ``b``; None where there is none within the bounds."""
    try:
        _, found = cv2.findTransformECC(a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, _STOP, _ALL, 1)
    except cv2.error:  # the two do not correlate
        return None
    move = np.asarray(found, np.float32)
    centre = (THUMB - 1) / 2
    shift = move @ np.array([centre, centre, 1.0], np.float32) - centre
    off = np.abs(move[:, :2] - np.eye(2))
    within = off.diagonal().max() <= _SCALE and max(off[0, 1], off[1, 0]) <= _SHEAR
    return move if within and np.abs(shift).max() <= _SHIFT * THUMB else None


def _colour_squares(a: Floats, b: Floats) -> Floats:
    """(P,) mean squares over the channels of P pixels, after the best gain and saturation of ``b`` within bounds."""
    grey = b.mean(axis=1)
    total = np.zeros(len(a), np.float32)
    for channel in range(3):
        value, other, gain, saturation = a[:, channel], b[:, channel], 1.0, 1.0
        free = (value < _CLIPPED) & (other < _CLIPPED)
        if free.sum() > _FITTED:
            gain, saturation = _fit(grey[free], (other - grey)[free], value[free])
        rest = value - np.clip(gain * grey + saturation * (other - grey), 0.0, 255.0)
        rest = np.where(other >= _CLIPPED, np.minimum(rest, 0.0), rest)  # it was at least as bright as the model says
        rest = np.where(value >= _CLIPPED, np.maximum(rest, 0.0), rest)
        total += rest**2
    return np.asarray(total / 3, np.float32)


def _fit(grey: Floats, colour: Floats, value: Floats) -> tuple[float, float]:
    """Least squares of ``value`` on ``grey`` and ``colour``, a touch of ridge towards no change, within the bounds."""
    ridge = _RIDGE * len(grey)
    gg, gc, cc = float(grey @ grey) + ridge, float(grey @ colour), float(colour @ colour) + ridge
    gv, cv = float(grey @ value) + ridge, float(colour @ value) + ridge
    det = gg * cc - gc * gc
    gain = float(np.clip((gv * cc - cv * gc) / det, *_GAIN))
    return gain, float(np.clip((cv - gain * gc) / cc, *_SATURATION))


def coarse(thumbs: Pixels) -> Pixels:
    """(N, 32, 32, 3) thumbnails to (N, V, 192): each window of `WINDOWS` at 8 x 8, to tell most pairs apart at once."""
    weights = [(_means(top, side), _means(left, side)) for left, top, side in WINDOWS]
    made = np.empty((len(thumbs), len(WINDOWS), 3 * _COARSE**2), np.uint8)
    for start in range(0, len(thumbs), _AVERAGED):
        part = thumbs[start : start + _AVERAGED].astype(np.float32)
        for number, (down, across) in enumerate(weights):
            means = np.einsum("yh,nhwc,xw->nyxc", down, part, across, optimize=True)
            made[start : start + _AVERAGED, number] = np.rint(means).reshape(len(part), -1)
    return made


def _means(start: float, side: float) -> Floats:
    """(8, 32) weights that average a row of 32 pixels over the eighths of a window."""
    edges = (start + side * np.arange(_COARSE + 1) / _COARSE) * THUMB
    pixel = np.arange(THUMB)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.maximum(covered, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def coarse_difference(a: Pixels, b: Pixels) -> Floats:
    """(P,) root mean square differences of rows (P, 192), with each channel's mean brought together within bounds."""
    first, second = (part.astype(np.float32).reshape(len(part), -1, 3) for part in (a, b))
    gain = np.clip((first.mean(axis=1) + 1) / (second.mean(axis=1) + 1), *_GAIN)[:, None]
    return np.asarray(np.sqrt(((first - second * gain) ** 2).mean(axis=(1, 2))), np.float32)


@dataclass(frozen=True)
class Candidates:
    """Pairs of pictures worth a closer look: ``left`` below ``right``, each pair once, with the bits they differ in."""

    left_P: Ints
    right_P: Ints
    bits_P: Ints


def candidates(hashes_NV: Hashes, thumbs: Pixels, radius: int) -> Candidates:
    """Pairs of N pictures whose hashes differ in at most ``radius`` bits and whose colours agree coarsely.

    The whole of one picture is compared with the whole and each window of the other.

    Raises:
        ValueError: a radius that `near_pairs` does not take.
    """
    coarse_NV = coarse(thumbs)
    windows = hashes_NV.shape[1]
    found = [np.empty((0, 3), np.int64)]
    for left, entries in near_pairs(hashes_NV[:, 0].copy(), hashes_NV.ravel(), radius):
        right, window = np.divmod(entries, windows)
        other = left != right
        left, right, window = left[other], right[other], window[other]
        for start in range(0, len(left), _COMPARED):
            a, b, v = (
                left[start : start + _COMPARED],
                right[start : start + _COMPARED],
                window[start : start + _COMPARED],
            )
            like = coarse_difference(coarse_NV[a, 0], coarse_NV[b, v]) <= _COARSE_DIFFERENCE
            a, b, v = a[like], b[like], v[like]
            bits = np.bitwise_count(hashes_NV[a, 0] ^ hashes_NV[b, v]).astype(np.int64)
            found.append(np.stack([np.minimum(a, b), np.maximum(a, b), bits], axis=1))
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    return Candidates(*rows[first].T)


def is_flat(thumb: Pixels) -> bool:
    """Whether a picture shows next to nothing, so that its hash is noise and many others look like it."""
    return bool(thumb.reshape(-1, 3).astype(np.float32).std(axis=0).max() < _FLAT)
