"""A picture as one vector for the learned detector: where its edges run and where its colours change.

All parts are computed on a 96 x 96 copy in 12 x 12 cells, so that every number belongs to a place in the picture.
Mirroring the picture permutes the vector; a linear map fitted on pictures and their mirrors is therefore mirror-true.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Vector = npt.NDArray[np.float32]

CELLS: Final = 12
_CELL: Final = 8
SIDE: Final = CELLS * _CELL
"""Sides of the copy that is described, pixels."""
_BINS: Final = 9
_PARTS: Final = (CELLS * CELLS * _BINS, CELLS * CELLS * 3, *(CELLS * CELLS,) * 4)
SIZE: Final = sum(_PARTS)
COLOURS: Final = slice(_PARTS[0], _PARTS[0] + _PARTS[1])
"""The part of a description that holds the colours of the cells."""


def part_weights() -> Vector:
    """Weight of every number: the parts count alike whatever their length."""
    return np.concatenate([np.full(size, size**-0.5, dtype=np.float32) for size in _PARTS])


def describe(image: Image.Image) -> Vector:
    """Describes an RGB picture: [`SIZE`].

    The parts are histograms of oriented gradients (Dalal and Triggs, CVPR 2005; one normalised histogram a cell),
    colours (lightness and two opponent channels), and four maps: strength of edges, spread of lightness, mean
    distance of a cell's colour from those of the border and from those of the centre.
    """
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32) / 255.0
    cells = pixels.reshape(CELLS, _CELL, CELLS, _CELL, 3)
    mean, spread = cells.mean(axis=(1, 3)), cells.std(axis=(1, 3)).mean(axis=-1)
    colours = np.stack([mean.mean(-1), mean[..., 0] - mean[..., 1], mean[..., 2] - mean[..., 1]], axis=-1)
    border = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    middle = slice(CELLS // 3, CELLS - CELLS // 3)
    centre = colours[middle, middle].reshape(-1, 3)
    histograms, edges = _gradients(np.sqrt(pixels.mean(axis=-1)))
    parts = [histograms, colours, edges, spread, _distance(colours, border), _distance(colours, centre)]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _gradients(grey: Vector) -> tuple[Vector, Vector]:
    """Normalised histograms of gradient direction [cells, cells, bins] and log edge strength [cells, cells]."""
    dy, dx = np.gradient(grey)
    strength = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) % np.pi / np.pi * _BINS
    low = np.floor(angle).astype(np.intp)
    share = angle - low
    rows, columns = np.indices(grey.shape) // _CELL
    cell = (rows * CELLS + columns) * _BINS
    counts = np.bincount((cell + low % _BINS).ravel(), (strength * (1 - share)).ravel(), CELLS * CELLS * _BINS)
    counts += np.bincount((cell + (low + 1) % _BINS).ravel(), (strength * share).ravel(), CELLS * CELLS * _BINS)
    histograms = counts.reshape(CELLS, CELLS, _BINS).astype(np.float32)
    histograms /= np.sqrt((histograms**2).sum(axis=-1, keepdims=True) + 1e-3)
    edges = strength.reshape(CELLS, _CELL, CELLS, _CELL).mean(axis=(1, 3))
    return histograms, np.log(edges + 0.01)


def _distance(colours: Vector, others: Vector) -> Vector:
    """Mean distance of every cell's colour from several other colours."""
    distance: Vector = np.linalg.norm(colours[:, :, None] - others, axis=-1).mean(axis=-1)
    return distance
