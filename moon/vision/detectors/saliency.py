"""Products on cluttered backgrounds: what stands out, weighed with where products usually are."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from moon.vision.boxes import Box
from moon.vision.detectors.base import Detection
from moon.vision.detectors.maps import OVERSAMPLED, Map, best_iou_box, blur, inside_sum, lab, ring, stretch, to_pixels

_SIDE: Final = 48
_PRIOR_X: Final = 0.27
_PRIOR_Y: Final = 0.45
"""Spread of the centre prior as shares of the picture's sides."""
_FLOOR_CLEAR, _FLOOR_VAGUE = 0.1, 0.4
"""Membership at the centre of a cell that does not stand out at all: where the map is clear, and where it is not."""
_CLEAR: Final = 0.35
"""A map is clear where its mean inside the box is this much above that outside."""
_SEGMENTS: Final = 24
_COLOUR_SPREAD: Final = 15.0
"""Colour distance at which a cell no longer looks like a part of the border."""
_FLAT: Final = 1.0
"""A picture whose colours spread less than this (CIE76) shows nothing."""


class SaliencyDetector:
    """Boxes the cells that differ from the border, carry detail and stand out from the spectrum.

    The maps: unlikeness to the colours of the border, density of colour edges (packages are printed), chroma, and the
    spectral residual of Hou and Zhang (CVPR 2007). Their mean, times a Gaussian centre prior, is taken for each
    cell's chance to belong to the product; the answer is the box of highest soft IoU with that map. Where the map
    does not tell inside from outside, the prior weighs more.
    """

    name: Final = "saliency"
    least_side: Final = OVERSAMPLED * _SIDE

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The box that best matches the saliency map, with their soft IoU as score; None for a flat picture."""
        picture = lab(image, _SIDE)
        if picture.std(axis=(0, 1)).max() < _FLAT:
            return None
        smooth = blur(picture, 1)
        maps = [_unlike_border(smooth), _detail(picture), np.hypot(smooth[..., 1], smooth[..., 2]), _residual(picture)]
        salient = stretch(np.mean([stretch(values) for values in maps], axis=0))
        prior = _centre_prior(*salient.shape)
        box, score = best_iou_box((_FLOOR_CLEAR + (1 - _FLOOR_CLEAR) * salient) * prior)
        if _separation(salient, box) < _CLEAR:
            box, score = best_iou_box((_FLOOR_VAGUE + (1 - _FLOOR_VAGUE) * salient) * prior)
        return Detection(to_pixels(box, salient, image), score, self.name)


def _separation(salient: Map, box: Box) -> float:
    """Mean of the map inside the box minus that outside it."""
    inside = inside_sum(salient, box)
    return inside / box.area - (float(salient.sum()) - inside) / max(salient.size - box.area, 1.0)


def _unlike_border(picture: Map) -> Map:
    """Minus the log-likelihood of each cell's colour under a mixture of the border's colours."""
    segments = np.array_split(ring(picture), _SEGMENTS)
    colours = np.stack([segment.mean(axis=0) for segment in segments])
    squares = sum((picture[..., channel, None] - colours[:, channel]) ** 2 for channel in range(3))
    likelihood = np.exp(-squares / (2 * _COLOUR_SPREAD**2)).mean(axis=-1)
    unlikeness: Map = -np.log(likelihood + 1e-4).astype(np.float32)
    return unlikeness


def _detail(picture: Map) -> Map:
    """Local density of colour edges; the root keeps one strong edge from outweighing print."""
    edges = np.zeros(picture.shape[:2], dtype=np.float32)
    edges[:, 1:] += np.abs(np.diff(picture, axis=1)).sum(axis=-1)
    edges[1:] += np.abs(np.diff(picture, axis=0)).sum(axis=-1)
    return blur(blur(np.sqrt(edges), 2), 2)


def _residual(picture: Map) -> Map:
    """Spectral residual of lightness: what the smooth part of the log amplitude spectrum does not explain."""
    spectrum = np.fft.fft2(picture[..., 0])
    amplitude = np.log(np.abs(spectrum) + 1e-6).astype(np.float32)
    unexpected = np.exp(amplitude - blur(amplitude, 1) + 1j * np.angle(spectrum))
    return blur(blur((np.abs(np.fft.ifft2(unexpected)) ** 2).astype(np.float32), 3), 3)


def _centre_prior(height: int, width: int) -> Map:
    y = (np.arange(height)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width)[None] + 0.5) / width - 0.5
    return np.exp(-(x**2) / (2 * _PRIOR_X**2) - y**2 / (2 * _PRIOR_Y**2)).astype(np.float32)
