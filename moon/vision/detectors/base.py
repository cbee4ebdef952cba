"""What a detector is and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from PIL import Image

from moon.vision.boxes import Box


@dataclass(frozen=True)
class Detection:
    """One region of a picture."""

    box: Box
    """In pixels of the picture."""
    score: float
    """Confidence in [0, 1]; comparable within one detector only."""
    detector: str
    """Name of the detector that found it."""

    def scaled(self, x: float, y: float) -> Detection:
        """The region in the picture resized by these factors."""
        return self if x == y == 1.0 else replace(self, box=self.box.scaled(x, y))


class Detector(Protocol):
    """Finds the thing being sold."""

    @property
    def name(self) -> str:
        """Short name that goes into the regions table."""

    @property
    def least_side(self) -> int:
        """A picture may be shown to it shrunk, its longer side no less than this, in pixels; 0: not shrunk."""

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The core region of an RGB picture, or None where this detector has nothing to say about it.

        Args:
            image: the picture.
            title: words for the thing being sold, where they are known; most detectors look at the picture only.
        """


@runtime_checkable
class BatchDetector(Detector, Protocol):
    """A detector that is faster with several pictures at once."""

    def detect_batch(self, images: Sequence[Image.Image], titles: Sequence[str | None]) -> list[Detection | None]:
        """`detect` of each picture with its title."""


def detect_all(
    detector: Detector, images: Sequence[Image.Image], titles: Sequence[str | None]
) -> list[Detection | None]:
    """What a detector finds on each of several pictures, in one batch where it can."""
    if isinstance(detector, BatchDetector):
        return detector.detect_batch(images, titles)
    return [detector.detect(image, title) for image, title in zip(images, titles, strict=True)]
