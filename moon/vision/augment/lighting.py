"""Another light: exposure, contrast, colour temperature and a fall-off to one side.

The limits are narrow enough that a product keeps the name of its colour: the colour attribute stays true.
"""

from __future__ import annotations

import random
from typing import Final

import numpy as np
from PIL import Image

from moon.vision.augment.base import Edited

_GAMMA: Final = 0.3
"""Largest change of exposure, as the natural logarithm of the gamma."""
_CONTRAST: Final = 0.15
_WARMTH: Final = 0.06
"""Largest gain of red over blue, each way."""
_FALL_OFF: Final = 0.15
"""Largest loss of light from one side of the picture to the other."""


def relit(original: Edited, rng: random.Random) -> Edited:
    """The same picture in another light; its box does not move."""
    pixels = np.asarray(original.picture, dtype=np.float32) / 255
    gamma, contrast = np.exp(rng.uniform(-_GAMMA, _GAMMA)), 1 + rng.uniform(-_CONTRAST, _CONTRAST)
    warmth = rng.uniform(-_WARMTH, _WARMTH)
    middle = float(pixels.mean())
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    curve = np.clip((levels - middle) * contrast + middle, 0, 1) ** gamma
    lit = curve[np.asarray(original.picture)] * np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    lit *= _ramp(original.picture.size, rng.uniform(0, 2 * np.pi), rng.uniform(0, _FALL_OFF))[..., None]
    return Edited(Image.fromarray(np.rint(np.clip(lit, 0, 1) * 255).astype(np.uint8)), original.box)


def _ramp(size: tuple[int, int], angle: float, loss: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Light that falls from 1 to ``1 - loss`` along a direction."""
    x, y = np.linspace(-0.5, 0.5, size[0]), np.linspace(-0.5, 0.5, size[1])
    along = (np.cos(angle) * x[None] + np.sin(angle) * y[:, None]) / np.sqrt(2) + 0.5
    ramp: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (1 - loss * along).astype(np.float32)
    return ramp
