"""What an editor of product pictures is and what it gives."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from moon.vision.boxes import Box


@dataclass(frozen=True)
class Edited:
    """An edited copy of a product picture."""

    picture: Image.Image
    """RGB."""
    box: Box
    """The product in it, in pixels."""


class Editor(Protocol):
    """Makes edited copies of product pictures (MOON2.0, image-text co-augmentation)."""

    def edit(self, picture: Image.Image, box: Box, title: str, edit: str, rng: random.Random) -> Edited | None:
        """One edited copy, or None where this picture does not allow the edit.

        Args:
            picture: the product picture, RGB.
            box: the product in it, in pixels.
            title: the product's title.
            edit: what is asked for, one of the names in ``augment.edits``.
            rng: the only source of chance, seeded by the picture: the same call gives the same copy.
        """
