"""Boxes in pixels and how well detected ones match the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Box(NamedTuple):
    """A box in pixels, exclusive at the far edge: a picture's own box is ``0, 0, width, height``."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Pixels inside; 0 where the corners are swapped."""
        return max(self.x1 - self.x0, 0.0) * max(self.y1 - self.y0, 0.0)

    def clamp(self, width: float, height: float) -> Box:
        """The part that lies inside a picture of this size."""
        return Box(
            min(max(self.x0, 0.0), width),
            min(max(self.y0, 0.0), height),
            min(max(self.x1, 0.0), width),
            min(max(self.y1, 0.0), height),
        )

    def padded(self, share: float, width: float, height: float) -> Box:
        """The box grown on every side by ``share`` of its own side, kept inside the picture."""
        dx, dy = share * (self.x1 - self.x0), share * (self.y1 - self.y0)
        return Box(self.x0 - dx, self.y0 - dy, self.x1 + dx, self.y1 + dy).clamp(width, height)

    def scaled(self, x: float, y: float) -> Box:
        """The box in a picture resized by these factors."""
        return Box(self.x0 * x, self.y0 * y, self.x1 * x, self.y1 * y)


def iou(a: Box, b: Box) -> float:
    """Intersection over union in [0, 1]; 0 where both are empty."""
    inside = Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)).area
    union = a.area + b.area - inside
    return inside / union if union > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class RegionScores:
    """Quality of detected regions over pictures with known boxes; None where there was no such picture."""

    images: int
    mean_iou: float | None
    corloc: float | None
    """Share of pictures with an IoU of at least 0.5 (correct localisation, CorLoc)."""
    accuracy_75: float | None
    """Share of pictures with an IoU of at least 0.75."""


def score_regions(pairs: Iterable[tuple[Box, Sequence[Box]]]) -> RegionScores:
    """Scores one detected box a picture against its true boxes; the best matching true box counts."""
    best = [max(iou(found, truth) for truth in truths) for found, truths in pairs if truths]
    if not best:
        return RegionScores(images=0, mean_iou=None, corloc=None, accuracy_75=None)
    return RegionScores(
        images=len(best),
        mean_iou=sum(best) / len(best),
        corloc=sum(value >= 0.5 for value in best) / len(best),
        accuracy_75=sum(value >= 0.75 for value in best) / len(best),
    )
