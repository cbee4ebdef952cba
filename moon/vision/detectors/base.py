"""What a detector is and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Detector(Protocol):
    """Finds the thing being sold."""

    @property
    def name(self) -> str:
        """Short name that goes into the regions table."""

    def detect(self, image: Image.Image) -> Detection | None:
        """The core region of an RGB picture, or None where this detector has nothing to say about it."""
