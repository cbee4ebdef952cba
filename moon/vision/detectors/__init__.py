"""Detectors of the core region: the box of the thing being sold. None of these needs weights.

A detector is one file with a class of the `Detector` protocol and one line in `CHAINS`.
"""

from __future__ import annotations

import difflib
from typing import Final

from PIL import Image

from moon.config import RegionsParams
from moon.vision.boxes import Box
from moon.vision.detectors.backdrop import BackdropDetector
from moon.vision.detectors.base import Detection, Detector
from moon.vision.detectors.saliency import SaliencyDetector

__all__ = ["CHAINS", "FULL", "Detection", "Detector", "core_region", "crop", "crop_pixels"]

FULL: Final = "full"
"""Detector name of the fall-back to the whole picture."""
CHAINS: Final[dict[str, tuple[Detector, ...]]] = {
    "auto": (BackdropDetector(), SaliencyDetector()),
    "backdrop": (BackdropDetector(),),
    "saliency": (SaliencyDetector(),),
    FULL: (),
}
"""Value of ``regions.detector`` -> the detectors asked, in order."""


def core_region(image: Image.Image, params: RegionsParams) -> Detection:
    """The core region of an RGB picture: the first acceptable answer of the chosen detectors, padded.

    Where no detector gives a box of acceptable area and score it is the whole picture, with detector ``full`` and
    score 0. The same picture and parameters always give the same region.

    Raises:
        ValueError: ``params.detector`` is unknown.
    """
    if params.detector not in CHAINS:
        near = difflib.get_close_matches(params.detector, CHAINS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown detector '{params.detector}' in regions.detector; known are {', '.join(CHAINS)}, "
            f"the nearest is '{near}'"
        )
    width, height = image.size
    for detector in CHAINS[params.detector]:
        found = detector.detect(image)
        if found is None or found.score < params.min_score:
            continue
        box = found.box.clamp(width, height)
        if params.min_area <= box.area / (width * height) <= params.max_area:
            return Detection(box.padded(params.pad, width, height), found.score, found.detector)
    return Detection(Box(0.0, 0.0, float(width), float(height)), 0.0, FULL)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of a picture inside a box, at whole pixels, at least one pixel each way."""
    return image.crop(crop_pixels(image.size, box))


def crop_pixels(size: tuple[int, int], box: Box) -> tuple[int, int, int, int]:
    """The whole pixels ``x0, y0, x1, y1`` that `crop` takes from a picture of this (width, height)."""
    width, height = size
    x0, y0 = min(round(box.x0), width - 1), min(round(box.y0), height - 1)
    return x0, y0, max(round(box.x1), x0 + 1), max(round(box.y1), y0 + 1)
