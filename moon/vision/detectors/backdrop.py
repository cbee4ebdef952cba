"""Products in front of a plain backdrop: what differs from the colour of the border."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from PIL import Image

from moon.vision.detectors.base import Detection
from moon.vision.detectors.maps import OVERSAMPLED, SIDE, Map, best_sum_box, blur, inside_sum, lab, ring, to_pixels

NEAR: Final = 8.0
"""Colour distance (CIE76) from the backdrop below which a border cell belongs to it."""
UNIFORM: Final = 0.9
"""Share of border cells that must belong to the backdrop."""
FAR: Final = 12.0
"""Colour distance from which a cell is foreground."""
_SPECK: Final = 0.4
"""A foreground cell needs this share of foreground around it, or it is noise."""
LIGHTNESS: Final = 0.6
"""Weight of lightness in the distance, so that a soft shadow stays with the backdrop."""
_FILL: Final = 0.2
"""A strip is added to the box while this share of it is foreground."""


class BackdropDetector:
    """Fits a plane of colour to the border and boxes what departs from it; None where the border is not plain.

    The plane (colour linear in x and y) follows lighting that falls off across the backdrop.
    """

    name: Final = "backdrop"
    least_side: Final = OVERSAMPLED * SIDE

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The box of the foreground; the score is the plain share of the border times the foreground inside the box."""
        distance = np.linalg.norm(offsets_from_backdrop(lab(image)), axis=-1)
        plain = float((ring(distance[..., None]) < NEAR).mean())
        foreground = (distance > FAR).astype(np.float32)
        foreground *= blur(foreground, 1) > _SPECK
        if plain < UNIFORM or not foreground.any():
            return None
        box = best_sum_box(foreground - _FILL)
        score = plain * inside_sum(foreground, box) / float(foreground.sum())
        return Detection(to_pixels(box, foreground, image), score, self.name)


def offsets_from_backdrop(picture: Map) -> Map:
    """What every cell of a L*a*b* picture differs by from a plane of colour fitted to the border: [H, W, 3].

    Lightness is weighted. The plane is fitted a second time without the border's outliers. Where no plane fits, all is
    infinitely far from it.
    """
    places, border_places = _places(*picture.shape[:2])
    border = ring(picture)
    keep = np.linalg.norm(border - np.median(border, axis=0), axis=-1) < 2 * FAR
    offsets = np.full_like(picture, np.inf)
    for _ in range(2):
        if keep.sum() < border.shape[0] // 4:
            break
        plane = np.linalg.lstsq(border_places[keep], border[keep], rcond=None)[0]
        offsets = ((picture - places @ plane) * np.array([LIGHTNESS, 1.0, 1.0])).astype(np.float32)
        keep = np.linalg.norm(ring(offsets), axis=-1) < NEAR
    return offsets


@functools.lru_cache(maxsize=64)
def _places(height: int, width: int) -> tuple[Map, Map]:
    """1, x and y of every cell, [H, W, 3], and those of the border's cells."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    places = np.stack([np.ones_like(x), x, y], axis=-1).astype(np.float32)
    return places, ring(places)
