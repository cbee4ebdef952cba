"""Perceptual hashes of pictures, and an exact search for those that differ in few bits.

A hash is 64 bits: the signs, about their median, of the 8 x 8 lowest DCT coefficients of the picture in grey at
32 x 32 (pHash). A picture has one hash of the whole and one for each of `WINDOWS`, so that a copy that lost up to about
a tenth of a side is still found: its whole is near one of the original's windows.

Legend: N pictures, V hashes a picture, M entries of an index, P pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moon.vision.resize import Picture, Pixels, render, shrink

BITS: Final = 64
THUMB: Final = 32
"""Side of a thumbnail in pixels."""
_SIDE: Final = 128
"""Side of the picture that the hashes are taken from."""
_LOW: Final = 8
_LOST: Final = 0.05
WINDOWS: Final = (
    (0.0, 0.0, 1.0),
    (_LOST / 2, _LOST / 2, 1 - _LOST),
    *((x, y, 1 - _LOST) for x in (0.0, _LOST) for y in (0.0, _LOST)),
)
"""Left, top and side of the parts that are hashed, as shares of the picture: the whole, and 95 % of each side."""

_EXPANDED: Final = 1 << 22
"""Pairs compared at a time; bounds memory."""

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a picture to find its near-duplicates."""

    hashes_V: Hashes
    thumb: Pixels
    """(32, 32, 3) the whole picture, stretched to a square."""


def fingerprint(data: bytes, name: str = "") -> Fingerprint:
    """Decodes a picture, at a small scale where it is a JPEG, and hashes it.

    Raises:
        ImageError: the picture cannot be decoded; ``name`` is what the message calls it.
    """
    pixels = render(Picture(data, name), (_SIDE, _SIDE), "fast")
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    parts = []
    for left, top, side in WINDOWS:
        x, y, size = round(left * _SIDE), round(top * _SIDE), round(side * _SIDE)
        parts.append(perceptual_hash(grey[y : y + size, x : x + size]))
    return Fingerprint(np.array(parts, np.uint64), shrink(pixels, (THUMB, THUMB)))


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """The 64-bit hash of a grey picture (H, W)."""
    small = cv2.resize(np.ascontiguousarray(grey), (4 * _LOW, 4 * _LOW), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def near_pairs(hashes_N: Hashes, index_M: Hashes, radius: int) -> Iterator[tuple[Ints, Ints]]:
    """Every pair of a hash and an index entry that differ in at most ``radius`` bits, in parts.

    Multi-index hashing (Norouzi, Punjani and Fleet, 2012): of ``b`` bands of two hashes within ``radius`` bits at
    least one differs in no more than ``radius // b``. So each band is looked up with every such flip of its bits, and
    only what shares a band is compared. Exact; a pair may come several times.

    Args:
        hashes_N: what to look for.
        index_M: where to look.
        radius: bits, from 0 to 8.

    Yields:
        Numbers into ``hashes_N`` and into ``index_M``.

    Raises:
        ValueError: another radius.
    """
    if not 0 <= radius <= 8:
        raise ValueError(f"the radius of a hash search is 0 to 8 bits, got {radius}")
    bands = 3 if radius > 2 else radius + 1
    edges = [BITS * band // bands for band in range(bands + 1)]
    for low, high in itertools.pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        order = np.argsort(index_M >> np.uint64(low) & mask, kind="stable")
        keys_M = (index_M >> np.uint64(low) & mask)[order]
        wanted_order = np.argsort(hashes_N >> np.uint64(low) & mask, kind="stable")
        wanted_N = (hashes_N >> np.uint64(low) & mask)[wanted_order]
        for flip in _flips(high - low, radius // bands):
            keys_N = wanted_N ^ flip
            starts, ends = np.searchsorted(keys_M, keys_N, "left"), np.searchsorted(keys_M, keys_N, "right")
            for rows, places in _expanded(starts, ends):
                left, right = wanted_order[rows], order[places]
                close = np.bitwise_count(hashes_N[left] ^ index_M[right]) <= radius
                if close.any():
                    yield left[close], right[close]


def _expanded(starts: Ints, ends: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The ranges ``starts`` to ``ends`` as pairs of a range's number and a place in it, a bounded number at a time."""
    some = np.flatnonzero(ends > starts)
    if not len(some):
        return
    counts = (ends - starts)[some]
    part = np.cumsum(counts) // _EXPANDED
    for chosen in np.split(np.arange(len(some)), np.flatnonzero(np.diff(part)) + 1):
        lengths = counts[chosen]
        rows = np.repeat(some[chosen], lengths)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield rows, np.repeat(starts[some[chosen]], lengths) + offsets


def _flips(bits: int, most: int) -> list[np.uint64]:
    """All patterns of up to ``most`` set bits among ``bits``."""
    chosen = (places for size in range(most + 1) for places in itertools.combinations(range(bits), size))
    return [np.uint64(sum(1 << place for place in places)) for places in chosen]
