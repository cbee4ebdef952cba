"""What one embedding describes: a product, or a query of text, photo or both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal

from moon.vision.resize import AnyPicture

View = Literal["text", "image", "multimodal"]
VIEWS: Final[tuple[View, ...]] = ("text", "image", "multimodal")
OBJECTIVES: Final = (*VIEWS, "positive", "negative")
"""Objectives that the experts can serve (MOON2.0): inter-product by the query's view, intra-product by polarity."""


class TokenType(IntEnum):
    """The part of the sequence a token belongs to; it guides the experts (MOON, guided MoE)."""

    PADDING = 0
    IMAGE = 1
    CROP = 2
    TITLE = 3
    CATEGORY = 4
    ATTRIBUTE = 5


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to embed. A query is an item whose title is its text and whose picture is its photo."""

    images: tuple[AnyPicture, ...] = ()
    """Pictures, decoded or to be decoded by the processor at the size that it needs."""
    crops: tuple[AnyPicture, ...] = ()
    """Core regions of ``images``, fed beside them (MOON, core semantic region)."""
    title: str | None = None
    category: tuple[str, ...] = ()
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def view(self, view: View) -> Item:
        """The same item with its text only, its pictures only, or both (MOON2.0, the three views).

        Raises:
            ValueError: an unknown view.
        """
        if view == "multimodal":
            return self
        if view == "image":
            return Item(images=self.images, crops=self.crops)
        if view == "text":
            return dataclasses.replace(self, images=(), crops=())
        raise ValueError(f"a view is one of {', '.join(VIEWS)}, got {view!r}")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to embed."""
        return not (self.images or self.crops or self.category or self.attributes or (self.title or "").strip())
