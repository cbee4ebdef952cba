"""Splits a recipe, the text of a parameter file, into one canonical text a section.

A step that receives only its own section runs again only when a parameter of that section has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib

from moon.config import Params, parse_params, to_json


def run(*, recipe: str) -> dict[str, str]:
    """Section name -> its canonical JSON, and ``digest`` -> the digest of the whole recipe.

    Raises:
        ParamsError: the recipe has an unknown key or a value of the wrong type.
    """
    params = parse_params(recipe, where="recipe")
    sections = {field.name: to_json(getattr(params, field.name)) for field in dataclasses.fields(params)}
    return {**sections, "digest": digest(params)}


def digest(params: Params) -> str:
    """The name of a recipe: SHA-256 over all its values, however the file that holds them is written."""
    return hashlib.sha256(to_json(params).encode()).hexdigest()
