"""An editor of one's own, by its name."""

from __future__ import annotations

import importlib
import inspect
import random
from typing import Final, cast

from PIL import Image

from moon.vision.augment.base import Editor
from moon.vision.boxes import Box

PILLOW: Final = "pillow"
"""Value of ``augment.editor`` for the built-in editor."""


def load_editor(name: str) -> Editor:
    """The editor called ``module:attribute``: an object with a method ``edit``, or a class of such objects.

    A class is called without arguments.

    Raises:
        ValueError: no such module or attribute, or it is no `Editor`.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"augment.editor must be '{PILLOW}' or 'module:attribute', got '{name}'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"augment.editor '{name}': cannot import {module_name} ({error}); "
            "install it or put its folder on PYTHONPATH"
        ) from None
    if not hasattr(module, attribute):
        raise ValueError(f"augment.editor '{name}': module {module_name} has no '{attribute}'")
    found = getattr(module, attribute)
    try:
        editor = found() if inspect.isclass(found) else found
    except TypeError as error:
        raise ValueError(f"augment.editor '{name}': the class must need no arguments ({error})") from None
    if not _fits(getattr(editor, "edit", None)):
        raise ValueError(
            f"augment.editor '{name}' is no editor: expected a method edit(picture, box, title, edit, rng) "
            "as in moon.vision.augment.Editor"
        )
    return cast(Editor, editor)


def _fits(method: object) -> bool:
    """Whether a method takes what an editor is given."""
    if not callable(method):
        return False
    arguments = (Image.new("RGB", (1, 1)), Box(0, 0, 1, 1), "title", "edit", random.Random(0))
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return False
    return True
