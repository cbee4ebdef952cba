"""The detector that was trained on known boxes, see `moon.vision.detectors.learning`."""

from __future__ import annotations

import functools
import itertools
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from moon.vision.boxes import Box
from moon.vision.detectors.base import Detection
from moon.vision.detectors.features import CELLS, SIDE, SIZE, describe
from moon.vision.detectors.maps import OVERSAMPLED

Array = npt.NDArray[np.float32]

_VERSION: Final = 1
_MIN_AREA: Final = 0.06
"""Share of the picture that the smallest candidate covers."""
_NEAR: Final = 0.02
"""Candidates whose expected IoU is this close to the best one's are averaged with it..."""
_ALIKE: Final = 0.6
"""... where their IoU with it is at least this. The average is finer than the grid."""


@functools.cache
def candidates() -> Array:
    """Boxes on the grid of cells, as shares of the picture's sides, that are not tiny: [K, 4] as x0, y0, x1, y1."""
    spans = list(itertools.combinations(range(CELLS + 1), 2))
    boxes = np.array([(x0, y0, x1, y1) for x0, x1 in spans for y0, y1 in spans]) / CELLS
    large = boxes[(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) >= _MIN_AREA]
    return large.astype(np.float32)


def best_overlap(boxes: Array, truths: Array) -> Array:
    """IoU of each box [K, 4] with the best matching of the true boxes [T, 4]: [K]."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=-1)
    area, area_truth = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=-1) for b in (boxes, truths))
    best: Array = (inside / (area[:, None] + area_truth - inside)).max(axis=1)
    return best


@dataclass(frozen=True, kw_only=True)
class LearnedWeights:
    """A linear map from a picture's description [D] to the expected IoU of every candidate box [K]."""

    centre: Array
    """[D], taken off the description."""
    weights: Array
    """[D, R]."""
    basis: Array
    """[R, K]."""
    average: Array
    """[K], mean IoU of each candidate over the pictures it was fitted on."""

    def predict(self, descriptions: Array) -> Array:
        """Expected IoU of every candidate: [N, D] -> [N, K]."""
        expected = (descriptions - self.centre) @ self.weights @ self.basis + self.average
        return expected.astype(np.float32, copy=False)

    def save(self, path: Path) -> None:
        """Writes a ``.npz`` file of arrays in half precision."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {field.name: getattr(self, field.name).astype(np.float16) for field in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, version=np.array(_VERSION), **arrays)

    @classmethod
    def load(cls, path: Path) -> LearnedWeights:
        """Reads a file that `save` wrote; nothing in it is executed.

        Raises:
            ValueError: it is no such file.
        """
        names = [field.name for field in fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as stored:
                version, arrays = int(stored["version"]), {name: stored[name].astype(np.float32) for name in names}
        except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a file of the learned detector ({error}); make one with 'moon regions train'"
            ) from None
        if version != _VERSION or arrays["weights"].shape[0] != SIZE or not np.isfinite(arrays["weights"]).all():
            raise ValueError(f"{path} is of another version of moon; make it anew with 'moon regions train'")
        return cls(**arrays)


class LearnedDetector:
    """Boxes the candidate with the highest expected IoU, smoothed over the near-best ones around it.

    Args:
        weights: what `moon regions train` found.

    Takes about two milliseconds a picture, and numpy only.
    """

    name: Final = "learned"
    least_side: Final = OVERSAMPLED * SIDE

    def __init__(self, weights: LearnedWeights) -> None:
        self._weights = weights

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The box with the highest expected IoU, which is its score."""
        expected = self._weights.predict(describe(image)[None])[0]
        score = float(np.clip(expected.max(), 0.0, 1.0))
        return Detection(Box(*_peak(expected).tolist()).scaled(*image.size), score, self.name)


def _peak(expected: Array) -> Array:
    """The best candidate, averaged with the nearly as good ones that lie like it: [4]."""
    boxes, best = candidates(), int(expected.argmax())
    weight = np.clip(expected - expected[best] + _NEAR, 0.0, None)
    near = np.flatnonzero(weight)
    near = near[best_overlap(boxes[near], boxes[best : best + 1]) >= _ALIKE]
    return np.average(boxes[near], axis=0, weights=weight[near]).astype(np.float32)
