"""`PillowEditor`: edits by arithmetic on pixels, without a model."""

from __future__ import annotations

import difflib
import random
from typing import Final

from PIL import Image

from moon.vision.augment.background import moved
from moon.vision.augment.base import Edited
from moon.vision.augment.clean import normalised, on_white
from moon.vision.augment.cutout import CutOut, cut_out
from moon.vision.augment.lighting import relit
from moon.vision.augment.perspective import turned
from moon.vision.boxes import Box


class PillowEditor:
    """Cuts the product out, normalises it on white, and makes every other edit from that (MOON2.0, two stages).

    MOON2.0 has these edits made by a generative model; doing them without one is our reconstruction [R].

    Args:
        scene: surroundings of another picture, a possible background; None has all backgrounds drawn.
    """

    EDITS: Final = ("clean", "background", "lighting", "perspective")

    def __init__(self, scene: Image.Image | None = None) -> None:
        self._scene = scene
        self._last: tuple[Image.Image, Box, CutOut | None] | None = None

    @classmethod
    def check(cls, edits: tuple[str, ...]) -> None:
        """Refuses what this editor cannot do.

        Raises:
            ValueError: an unknown edit.
        """
        for edit in edits:
            if edit not in cls.EDITS:
                near = difflib.get_close_matches(edit, cls.EDITS, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"unknown edit '{edit}' in augment.edits; the editor pillow knows {', '.join(cls.EDITS)}, "
                    f"the nearest is '{near}'"
                )

    def edit(self, picture: Image.Image, box: Box, title: str, edit: str, rng: random.Random) -> Edited | None:
        """One edited copy (see `Editor`); None for a picture in which nobody found the product."""
        del title  # arithmetic does not read
        self.check((edit,))
        anchor = self._anchor(picture, box)
        return None if anchor is None else self._edited(anchor, edit, rng)

    def _anchor(self, picture: Image.Image, box: Box) -> CutOut | None:
        """The normalised product; kept, because the edits of one picture are asked for one after the other."""
        if self._last is None or self._last[0] is not picture or self._last[1] != box:
            product = cut_out(picture, box)
            self._last = picture, box, normalised(product) if product else None
        return self._last[2]

    def _edited(self, anchor: CutOut, edit: str, rng: random.Random) -> Edited:
        if edit == "background":
            return moved(anchor, self._scene, rng)
        if edit == "lighting":
            return relit(on_white(anchor), rng)
        return on_white(turned(anchor, rng) if edit == "perspective" else anchor)
