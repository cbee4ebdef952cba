"""GrabCut: another detector's box, drawn tight around what differs in colour from its surroundings."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from moon.vision.boxes import Box, iou
from moon.vision.detectors.base import Detection, Detector
from moon.vision.detectors.maps import OVERSAMPLED, best_sum_box, inside_sum

_SIDE: Final = 128
"""Longer side of the copy that is cut."""
_ROUNDS: Final = 3
_GROW: Final = 0.08
"""The box is grown by this share of its sides first: GrabCut can only shrink it."""
_FILL: Final = 0.3
"""A strip is added to the box while this share of it is foreground."""
_MIN_AGREEMENT: Final = 0.4
"""A refined box with a lower IoU with the first one is a failed cut, and the first one stays."""
_MIN_CELLS: Final = 8


class GrabCutDetector:
    """Refines the box of the first of several detectors that finds one (Rother, Kolmogorov and Blake, 2004).

    Args:
        first: asked in order for the box to start from.
    """

    name: Final = "grabcut"
    least_side: Final = OVERSAMPLED * _SIDE

    def __init__(self, first: tuple[Detector, ...]) -> None:
        self._first = first

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The refined box, with the first box's score; None where there was no first box."""
        found = next((found for one in self._first if (found := one.detect(image, title))), None)
        if found is None:
            return None
        box = refine(image, found.box.clamp(*image.size))
        return Detection(box, found.score, self.name)


def refine(image: Image.Image, start: Box) -> Box:
    """The box of the foreground that GrabCut finds inside a box; the box itself where it finds none like it."""
    import cv2

    scale = min(_SIDE / max(image.size), 1.0)
    size = (max(round(image.width * scale), _MIN_CELLS), max(round(image.height * scale), _MIN_CELLS))
    x, y = size[0] / image.width, size[1] / image.height
    pixels = np.ascontiguousarray(np.asarray(image.resize(size, Image.Resampling.BOX))[..., ::-1])
    outer = start.scaled(x, y).padded(_GROW, *size)
    x0, y0, x1, y1 = int(outer.x0), int(outer.y0), int(np.ceil(outer.x1)), int(np.ceil(outer.y1))
    mask = np.full(size[::-1], cv2.GC_BGD, dtype=np.uint8)
    mask[y0:y1, x0:x1] = cv2.GC_PR_FGD
    if min(x1 - x0, y1 - y0) < 2 or not (mask == cv2.GC_BGD).any():
        return start
    cv2.setRNGSeed(0)  # its mixtures start from random centres
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, mask, (0, 0, 1, 1), background, foreground, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    kept = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    if not kept.any():
        return start
    cut = best_sum_box(kept - _FILL)
    refined = cut.scaled(1 / x, 1 / y).clamp(*image.size)
    return refined if inside_sum(kept, cut) > 0 and iou(refined, start) >= _MIN_AGREEMENT else start
