"""The copies of one picture, asked of an editor in turn, checked and encoded.

This is what worker processes run, so it imports no model: they start quickly and stay small.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from PIL import Image

from moon.config import AugmentParams
from moon.vision.augment.background import surroundings
from moon.vision.augment.base import Edited, Editor
from moon.vision.augment.pillow import PillowEditor
from moon.vision.boxes import Box
from moon.vision.decode import decode_stored, encode_jpeg

MAX_SIDE: Final = 1024
"""A larger picture is reduced before it is edited; training reads fewer pixels than that."""


@dataclass(frozen=True)
class Job:
    """One picture of a product, to be edited."""

    image_id: str
    product_id: str
    title: str
    data: bytes
    """Encoded."""
    box: Box
    scene: tuple[str, bytes, Box] | None
    """Another picture with its id and box, whose surroundings may become a background."""


@dataclass(frozen=True)
class Copy:
    """One edited copy."""

    data: bytes
    """JPEG."""
    width: int
    height: int
    box: Box


@dataclass(frozen=True)
class Made:
    """The copies of one job, with None for one that could not be made."""

    job: Job
    copies: list[Copy | None]


def make_copies(job: Job, params: AugmentParams, editor: Editor | None) -> Made:
    """Makes the copies of one picture; without an ``editor``, by a `PillowEditor` in the scene of the job.

    Raises:
        ValueError: a picture cannot be decoded, or the editor gave what it must not.
    """
    if editor is None:
        editor = PillowEditor(surroundings(decode_stored(*job.scene[:2]), job.scene[2]) if job.scene else None)
    copies = edited_copies(editor, decode_stored(job.image_id, job.data), job.box, job.title, params, job.image_id)
    return Made(job, [Copy(encode_jpeg(one.picture), *one.picture.size, one.box) if one else None for one in copies])


def edit_of(params: AugmentParams, number: int) -> str:
    """The edit that copy ``number`` of a picture is asked for."""
    return params.edits[number % len(params.edits)]


def edited_copies(
    editor: Editor, picture: Image.Image, box: Box, title: str, params: AugmentParams, key: str
) -> list[Edited | None]:
    """``params.copies`` edited copies of an RGB picture, None where the editor cannot make one.

    Args:
        editor: who makes them.
        picture: the product picture; one larger than `MAX_SIDE` is reduced first.
        box: the product in it.
        title: the product's title.
        params: the edits, and the seed.
        key: with the seed and the copy's number, seeds the chance of a copy: the picture's id.

    Raises:
        ValueError: the editor gave something else than a picture and a box inside it.
    """
    width, height = picture.size
    if max(width, height) > MAX_SIDE:
        picture = picture.copy()
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        box = box.scaled(picture.width / width, picture.height / height)
    copies = []
    for number in range(params.copies):
        edit, rng = edit_of(params, number), random.Random(f"{params.seed}/{key}/{number}")
        copies.append(_checked(editor.edit(picture, box, title, edit, rng), params.editor, edit))
    return copies


def _checked(edited: object, editor: str, edit: str) -> Edited | None:
    """What an editor gave, as RGB and with its box inside the picture."""
    if edited is None:
        return None
    if not isinstance(edited, Edited) or not isinstance(edited.picture, Image.Image):
        raise ValueError(
            f"the editor '{editor}' gave {type(edited).__name__} for the edit '{edit}'; "
            "expected moon.vision.augment.Edited or None"
        )
    box = Box(*edited.box).clamp(*edited.picture.size)
    if not box.area:
        raise ValueError(f"the editor '{editor}' gave a box outside of its picture for the edit '{edit}': {edited.box}")
    return Edited(edited.picture.convert("RGB"), box)
