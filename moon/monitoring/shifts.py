"""Known changes of traffic, to show that the monitoring sees what it should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SHIFTS: Final = ("dark-photos", "new-categories")

_EXPOSURE: Final = 0.55
_CAST: Final = (1.0, 0.85, 0.6)
"""Gain of red, green and blue: lamp light."""
_BLUR: Final = 0.008
"""Blur radius as a share of the longer side: a shaken hand."""
_KEPT: Final = 0.25
"""Share of the categories that ``new-categories`` asks for."""


def dark_photo(photo: Image.Image) -> Image.Image:
    """An RGB photo as if taken by lamp light with a shaking hand: darker, warmer, blurred."""
    dark = ImageEnhance.Brightness(photo).enhance(_EXPOSURE)
    cast = [round(level * gain) for gain in _CAST for level in range(256)]
    return dark.point(cast).filter(ImageFilter.GaussianBlur(_BLUR * max(photo.size)))


def few_categories(categories: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Positions of the rows in a quarter of the categories (at least one), which ``rng`` picks."""
    names = np.unique(np.asarray(categories))
    kept = rng.choice(names, size=max(1, round(_KEPT * len(names))), replace=False)
    return np.flatnonzero(np.isin(categories, kept))
