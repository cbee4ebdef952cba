"""Splits a recipe, the text of a parameter file, into one canonical text a section.

A step that receives only its own section runs again only when a parameter of that section has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import yaml

from moon.config import Params, parse_params, to_dict, to_json
from moon.steps.shares import names


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A recipe taken apart."""

    sections: dict[str, str]
    """Section -> its canonical JSON, and ``digest`` -> the digest of the whole recipe."""
    text: str
    """The whole recipe as a parameter file, with every default."""
    cpu: str
    """CPUs of a training machine."""
    memory: str
    """Memory of a training machine."""
    shards: list[str]
    """Names of the shares in which the work is done."""


def run(*, recipe: str) -> Configured:
    """Reads a recipe.

    Raises:
        ParamsError: the recipe has an unknown key or a value of the wrong type.
    """
    params = parse_params(recipe, where="recipe")
    sections = {field.name: to_json(getattr(params, field.name)) for field in dataclasses.fields(params)}
    return Configured(
        sections={**sections, "digest": digest(params)},
        text=yaml.safe_dump(to_dict(params), sort_keys=False),
        cpu=params.launch.cpu,
        memory=params.launch.memory,
        shards=names(params.pipeline.shards),
    )


def digest(params: Params) -> str:
    """The name of a recipe: SHA-256 over all its values, however the file that holds them is written."""
    return hashlib.sha256(to_json(params).encode()).hexdigest()
