"""Edited copies of product pictures for training: the editor interface, the built-in editor and the contact sheet."""

from __future__ import annotations

from moon.vision.augment.background import surroundings
from moon.vision.augment.base import Edited, Editor
from moon.vision.augment.copies import Copy, Job, Made, edit_of, edited_copies, make_copies
from moon.vision.augment.loading import PILLOW, load_editor
from moon.vision.augment.pillow import PillowEditor
from moon.vision.augment.sheet import contact_sheet

__all__ = [
    "PILLOW",
    "Copy",
    "Edited",
    "Editor",
    "Job",
    "Made",
    "PillowEditor",
    "contact_sheet",
    "edit_of",
    "edited_copies",
    "load_editor",
    "make_copies",
    "surroundings",
]
