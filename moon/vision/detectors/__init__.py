"""Detectors of the core region: the box of the thing being sold.

A detector is one file with a class of the `Detector` protocol and one line in `_chain`. Those that need weights load
them, and the libraries that run them, when they are first asked for.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

from moon.config import RegionsParams
from moon.vision.boxes import Box
from moon.vision.detectors.backdrop import BackdropDetector
from moon.vision.detectors.base import Detection, Detector, detect_all
from moon.vision.detectors.saliency import SaliencyDetector

if TYPE_CHECKING:
    from moon.vision.resize import AnyPicture

__all__ = [
    "DETECTORS",
    "FULL",
    "TITLED",
    "WEIGHTED",
    "Detection",
    "Detector",
    "core_region",
    "core_regions",
    "crop_pixels",
    "load",
]

FULL: Final = "full"
"""Detector name of the fall-back to the whole picture."""
PLAIN: Final = ("auto", "backdrop", "saliency", "grabcut", FULL)
"""Values of ``regions.detector`` that need no weights."""
WEIGHTED: Final = ("learned", "onnx", "grounding", "zero_shot")
"""Values of ``regions.detector`` that need ``regions.weights``; ``auto`` and ``grabcut`` take those of learned."""
TITLED: Final = ("grounding", "zero_shot")
"""Values of ``regions.detector`` that read the title. They run large models, one in a process."""
DETECTORS: Final = PLAIN + WEIGHTED


def load(params: RegionsParams) -> tuple[Detector, ...]:
    """The detectors that ``params`` asks, in order; loaded once in a process.

    ``auto`` trusts the backdrop where the border is plain, else asks the learned detector where ``params.weights``
    names its file, else saliency.

    Raises:
        ValueError: the detector is unknown, or its weights are missing or not to be read.
    """
    if params.detector not in DETECTORS:
        near = difflib.get_close_matches(params.detector, DETECTORS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown detector '{params.detector}' in regions.detector; known are {', '.join(DETECTORS)}, "
            f"the nearest is '{near}'"
        )
    if params.detector in WEIGHTED and not params.weights:
        raise ValueError(
            f"detector '{params.detector}' needs weights: set regions.weights to its file or folder"
            + (", made by 'moon regions train'" if params.detector == "learned" else "")
        )
    changed = Path(params.weights).stat().st_mtime_ns if params.weights and Path(params.weights).exists() else 0
    return _chain(params.detector, params.weights, changed)


@functools.lru_cache(maxsize=8)
def _chain(detector: str, weights: str, changed: int) -> tuple[Detector, ...]:
    """The detectors of one name; ``changed`` makes a new file under an old name be read."""
    path = Path(weights)
    match detector:
        case "backdrop":
            return (BackdropDetector(),)
        case "saliency":
            return (SaliencyDetector(),)
        case "grabcut":
            from moon.vision.detectors.grabcut import GrabCutDetector

            return (GrabCutDetector(_chain("auto", weights, changed)),)
        case "learned":
            from moon.vision.detectors.learned import LearnedDetector, LearnedWeights

            return (LearnedDetector(LearnedWeights.load(path)),)
        case "onnx":
            from moon.vision.detectors.segmenter import OnnxDetector

            return (OnnxDetector(path),)
        case "grounding":
            from moon.vision.detectors.grounding import GroundingDetector

            return (GroundingDetector(path),)
        case "zero_shot":
            from moon.vision.detectors.zero_shot import ZeroShotDetector

            return (ZeroShotDetector(path),)
        case "auto":
            return (*_chain("backdrop", "", 0), *_chain("learned" if weights else "saliency", weights, changed))
        case _:
            return ()


def core_region(picture: AnyPicture, params: RegionsParams, title: str | None = None) -> Detection:
    """The core region of one RGB picture; see `core_regions`."""
    return core_regions([picture], params, [title])[0]


def core_regions(
    pictures: Sequence[AnyPicture], params: RegionsParams, titles: Sequence[str | None] | None = None
) -> list[Detection]:
    """The core region of each RGB picture: the first acceptable answer of the chosen detectors, padded.

    Where no detector gives a box of acceptable area and score it is the whole picture, with detector ``full`` and
    score 0. The same picture, title and parameters always give the same region. An encoded picture is decoded no finer
    than the chosen detectors look at it.

    Args:
        pictures: decoded or encoded.
        params: which detectors, and what they may answer.
        titles: words for the thing being sold on each picture, where they are known.

    Raises:
        ValueError: as `load`.
        ImageError: the pixels of an encoded picture are damaged.
    """
    words = list(titles) if titles is not None else [None] * len(pictures)
    detectors = load(params)
    least = [detector.least_side for detector in detectors]
    images = [_seen(picture, max(least) if least and all(least) else 0) for picture in pictures]
    found: list[Detection | None] = [None] * len(pictures)
    for detector in detectors:
        open_ = [place for place, one in enumerate(found) if one is None]
        for start in range(0, len(open_), params.batch):
            places = open_[start : start + params.batch]
            answers = detect_all(detector, [images[place] for place in places], [words[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                found[place] = _accepted(answer, images[place].size, params)
    return [
        _whole(picture) if one is None else one.scaled(picture.size[0] / image.width, picture.size[1] / image.height)
        for one, image, picture in zip(found, images, pictures, strict=True)
    ]


def _seen(picture: AnyPicture, least_side: int) -> Image.Image:
    """The pixels that detectors look at."""
    if isinstance(picture, Image.Image):
        return picture
    if not least_side:
        return picture.image()
    width, height = picture.size
    scale = least_side / max(width, height)
    return Image.fromarray(picture.near((math.ceil(width * scale), math.ceil(height * scale))))


def _accepted(found: Detection | None, size: tuple[int, int], params: RegionsParams) -> Detection | None:
    """A detection inside the picture and padded, or None where its score or area is out of bounds."""
    if found is None or found.score < params.min_score:
        return None
    width, height = size
    box = found.box.clamp(width, height)
    if not params.min_area <= box.area / (width * height) <= params.max_area:
        return None
    return Detection(box.padded(params.pad, width, height), found.score, found.detector)


def _whole(picture: AnyPicture) -> Detection:
    width, height = picture.size
    return Detection(Box(0.0, 0.0, float(width), float(height)), 0.0, FULL)


def crop_pixels(size: tuple[int, int], box: Box) -> tuple[int, int, int, int]:
    """The whole pixels ``x0, y0, x1, y1`` inside a box on a picture of this (width, height), at least one each way."""
    width, height = size
    x0, y0 = min(round(box.x0), width - 1), min(round(box.y0), height - 1)
    return x0, y0, max(round(box.x1), x0 + 1), max(round(box.y1), y0 + 1)
